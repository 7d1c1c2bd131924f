"""Sums over configurations as matrix products of two halves, for any table.

A table over the configurations of m units has the shape (n_high, n_low). With the priors
``A (n_high, n_rows)`` and ``B (n_low, n_rows)`` of the two halves of the units, its expectation is
the column sum of ``(table' A) * B``.
"""

import numpy as np

from fastem.kernels.configurations import fill_prior
from fastem.parameters import Array
from fastem.runtime import n_low_bits, run


def half_priors(on: Array, off: Array) -> tuple[Array, Array]:
    """Return the probabilities (n_high, n_rows) and (n_low, n_rows) of all states of both halves.

    Parameters
    ----------
    on, off : arrays (n_hidden, n_rows), probability
        P(Z = 1) and P(Z = 0) of independent units, unit 0 first.
    """
    n_low = n_low_bits(len(on))
    high, low = (np.empty((2**m, on.shape[1])) for m in (len(on) - n_low, n_low))
    fill_prior(np.ascontiguousarray(on[n_low:]), np.ascontiguousarray(off[n_low:]), high)
    fill_prior(np.ascontiguousarray(on[:n_low]), np.ascontiguousarray(off[:n_low]), low)
    return high, low


def fill_expected(
    on: Array,
    off: Array,
    table: Array,
    pieces: list[tuple[int, int]],
    n_threads: int,
    out: Array,
) -> None:
    """Fill the expectation of a table under independent units, in the rows of the pieces.

    Parameters
    ----------
    on, off : arrays (n_hidden, n_rows), probability
        As for `half_priors`.
    table : array (n_high, n_low)
    pieces : list of (start, stop)
    n_threads : int
    out : array (n_rows,)
        Overwritten in the rows of the pieces.

    Notes
    -----
    Costs ``2 * 2**n_hidden`` flops per row.
    """

    def fill_piece(piece: int, worker: int) -> None:
        start, stop = pieces[piece]
        high, low = half_priors(on[:, start:stop], off[:, start:stop])
        joint = table.T @ high
        joint *= low
        joint.sum(axis=0, out=out[start:stop])

    run(fill_piece, len(pieces), n_threads)
