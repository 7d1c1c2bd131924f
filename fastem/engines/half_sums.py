"""Sums over configurations as matrix products of two halves, for tables of any kind.

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
    tables: Array,
    pieces: list[tuple[int, int]],
    n_threads: int,
    out: Array,
) -> None:
    """Fill the expectations of tables under independent units, in the rows of the pieces.

    Parameters
    ----------
    on, off : arrays (n_hidden, n_rows), probability
        As for `half_priors`.
    tables : array (n_tables, n_high, n_low)
    pieces : list of (start, stop)
    n_threads : int
    out : array (n_tables, n_rows)
        Overwritten in the rows of the pieces.

    Notes
    -----
    Costs ``2 * 2**n_hidden`` flops per row and table.
    """

    def fill_piece(piece: int, worker: int) -> None:
        start, stop = pieces[piece]
        high, low = half_priors(on[:, start:stop], off[:, start:stop])
        for table, expected in zip(tables, out, strict=True):
            joint = table.T @ high
            joint *= low
            joint.sum(axis=0, out=expected[start:stop])

    run(fill_piece, len(pieces), n_threads)


def pair_sums(on: Array, off: Array, table: Array) -> Array:
    """Return sums of a table over the configurations in which two units are on.

    Parameters
    ----------
    on, off : arrays (n_hidden, n_rows), probability
        As for `half_priors`.
    table : array (n_high, n_low)

    Returns
    -------
    sums : array (n_hidden, n_hidden, n_rows)
        ``sum_s P(s) table(s) s_h s_k``. Costs about ``(n_hidden / 2 + 4) 2**n_hidden`` flops per
        row.
    """
    m, n_rows = on.shape
    high, low = half_priors(on, off)
    high_bits, low_bits = (_bits(len(states)) for states in (high, low))
    n_low = len(low_bits)
    out = np.empty((m, m, n_rows))
    out[:n_low, :n_low] = _sums_of_pairs(low_bits, (table.T @ high) * low)
    out[n_low:, n_low:] = _sums_of_pairs(high_bits, (table @ low) * high)
    for h, bits in enumerate(high_bits, start=n_low):
        is_on = bits > 0.0
        joint = table[is_on].T @ high[is_on]
        joint *= low
        out[h, :n_low] = low_bits @ joint
        out[:n_low, h] = out[h, :n_low]
    return out


def pair_sums_of_row(table: Array) -> Array:
    """Return ``sum_s table(s) s_h s_k`` (n_hidden, n_hidden) of a table (n_high, n_low)."""
    high, low = (_bits(size) for size in table.shape)
    n_low, m = len(low), len(low) + len(high)
    out = np.empty((m, m))
    out[:n_low, :n_low] = (low * table.sum(axis=0)) @ low.T
    out[n_low:, n_low:] = (high * table.sum(axis=1)) @ high.T
    out[n_low:, :n_low] = high @ table @ low.T
    out[:n_low, n_low:] = out[n_low:, :n_low].T
    return out


def _sums_of_pairs(bits: Array, joint: Array) -> Array:
    """Return sums (n_units, n_units, n_rows) of ``joint (2**n_units, n_rows)`` over pairs."""
    n_units, size = bits.shape
    pairs = (bits[:, None] * bits).reshape(n_units**2, size)
    return (pairs @ joint).reshape(n_units, n_units, joint.shape[1])


def _bits(size: int) -> Array:
    """Return the states of all units of a half, (n_units, size), where size is ``2**n_units``."""
    units = np.arange(size.bit_length() - 1)
    return ((np.arange(size) >> units[:, None]) & 1).astype(np.float64)
