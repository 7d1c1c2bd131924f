"""Counter-based random numbers: word j of a stream is a hash of the stream's key and of j.

The words are those of SplitMix64 (Steele, Lea and Flood 2014): a Weyl sequence, passed through a
bijective mixing function. A word does not depend on the word before it, so loops over words
vectorise, and every row has its own stream whichever thread computes it. Two streams of L words
with random keys overlap with probability ``2 L / 2**64``.
"""

import numpy as np

from fastem.kernels._jit import jit

GAMMA = np.uint64(0x9E3779B97F4A7C15)  # odd, close to 2**64 divided by the golden ratio
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_30, _27, _31, _11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_UNIT = 2.0**-53


@jit
def mix(x):
    """Return a 64-bit hash of a 64-bit number; the map is bijective."""
    x = (x ^ (x >> _30)) * _FIRST
    x = (x ^ (x >> _27)) * _SECOND
    return x ^ (x >> _31)


@jit
def uniform(word):
    """Return the upper 53 bits of a word as a number in [0, 1)."""
    return np.int64(word >> _11) * _UNIT


@jit
def derive(key, number):
    """Return the key of stream number ``number`` that belongs to ``key``."""
    return mix((key + GAMMA) ^ mix(np.uint64(number) + GAMMA))


@jit
def fill_keys_of_rows(key, rows, out):
    """Fill a key per row, which depends on ``key`` and on the numbers of the row only.

    Parameters
    ----------
    key : uint64
    rows : array of uint64 (n_rows, n_inputs)
        Numbers of the row, reinterpreted as integers.
    out : array of uint64 (n_rows,)
        Overwritten.
    """
    n_rows, n_inputs = rows.shape
    for i in range(n_rows):
        own = key
        for j in range(n_inputs):
            own = derive(own, rows[i, j])
        out[i] = own
