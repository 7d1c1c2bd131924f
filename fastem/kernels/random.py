"""Random numbers by counting: word j of a stream is a hash of the stream's key and j.

The words are those of splitmix64 (Steele, Lea and Flood 2014): a Weyl sequence through a
mixing function that is one to one. Nothing is carried from one word to the next, so loops
over words vectorise, and every row has a stream of its own whoever works on it. Two streams
of L words with random keys overlap with a probability of ``2 L / 2**64``.
"""

import numpy as np

from fastem.kernels._jit import jit

GAMMA = np.uint64(0x9E3779B97F4A7C15)  # odd, near 2**64 over the golden ratio
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)


@jit
def mix(x):
    """Return a 64-bit hash of a 64-bit number, one to one."""
    x = (x ^ (x >> _30)) * _FIRST
    x = (x ^ (x >> _27)) * _SECOND
    return x ^ (x >> _31)


@jit
def derive(key, number):
    """Return the key of a numbered stream below a key."""
    return mix((key + GAMMA) ^ mix(np.uint64(number) + GAMMA))


@jit
def fill_words(key, out):
    """Overwrite with the first words of a stream."""
    for j in range(len(out)):
        out[j] = mix(key + np.uint64(j) * GAMMA)


@jit
def fill_keys_of_rows(key, rows, out):
    """Overwrite with a key for every row that depends on its numbers alone.

    Parameters
    ----------
    key : uint64
    rows : array of uint64 (n_rows, n_inputs)
        The bits of the row's numbers.
    out : array of uint64 (n_rows,)
    """
    n_rows, n_inputs = rows.shape
    for i in range(n_rows):
        own = key
        for j in range(n_inputs):
            own = derive(own, rows[i, j])
        out[i] = own
