"""Tables over the configurations of a layer, as NumPy handles them: states, and sums over states.

A configuration s of m units is split into a high and a low part: a table has the shape
(n_high, n_low). These functions take ``O(2**m)`` operations or fewer and are not compiled, because
compiling them takes longer than all their calls in a fit.
"""

import numpy as np

from fastem.parameters import Array


def states_of(n_units: int) -> Array:
    """Return the states of all units in all configurations, (n_units, 2**n_units)."""
    states = np.arange(2**n_units)
    return ((states >> np.arange(n_units)[:, None]) & 1).astype(np.float64)


def half_sums(coefs: Array, intercepts: Array, n_low_units: int) -> tuple[Array, Array]:
    """Split ``s coefs + intercepts`` of all configurations into a high and a low part.

    Parameters
    ----------
    coefs : array (n_hidden, n_outputs)
    intercepts : array (n_outputs,)
    n_low_units : int

    Returns
    -------
    high, low : arrays (n_outputs, n_high), (n_outputs, n_low)
        Output d has the value ``high[d, hi] + low[d, lo]``.
    """
    low = coefs[:n_low_units].T @ states_of(n_low_units)
    high = coefs[n_low_units:].T @ states_of(len(coefs) - n_low_units)
    return high + intercepts[:, None], low


def first_moments(high_sums: Array, low_sums: Array) -> Array:
    """Return ``sum_s D(s) (s, 1)`` of several tables D.

    Parameters
    ----------
    high_sums, low_sums : arrays (n_tables, n_high), (n_tables, n_low)
        Sums of each table over low parts and over high parts.

    Returns
    -------
    moments : array (n_hidden + 1, n_tables)
    """
    high, low = (states_of(_n_units(sums.shape[1])) for sums in (high_sums, low_sums))
    return np.vstack([low @ low_sums.T, high @ high_sums.T, low_sums.sum(axis=1)])


def second_moments(table: Array) -> Array:
    """Return ``sum_s D(s) (s, 1) (s, 1)'`` of a table D, (n_hidden + 1, n_hidden + 1)."""
    bit_sums = states_of(_n_units(len(table))) @ table
    sums = table.sum(axis=1), table.sum(axis=0), bit_sums
    return second_moments_of_sums(*(x[None] for x in sums))[0]


def second_moments_of_sums(high_sums: Array, low_sums: Array, bit_sums: Array) -> Array:
    """Return ``sum_s D(s) (s, 1) (s, 1)'`` of several tables D.

    Parameters
    ----------
    high_sums, low_sums : arrays (n_tables, n_high), (n_tables, n_low)
        Sums of each table over low parts and over high parts.
    bit_sums : array (n_tables, n_high_units, n_low)
        Sums over the high parts in which a unit is on.

    Returns
    -------
    moments : array (n_tables, n_hidden + 1, n_hidden + 1)
    """
    high, low = (states_of(_n_units(sums.shape[1])) for sums in (high_sums, low_sums))
    n_low, n_hidden = len(low), len(low) + len(high)
    moments = np.empty((len(low_sums), n_hidden + 1, n_hidden + 1))
    moments[:, :n_low, :n_low] = (low * low_sums[:, None]) @ low.T
    moments[:, n_low:-1, n_low:-1] = (high * high_sums[:, None]) @ high.T
    moments[:, n_low:-1, :n_low] = bit_sums @ low.T
    moments[:, :n_low, n_low:-1] = moments[:, n_low:-1, :n_low].swapaxes(1, 2)
    units = np.arange(n_hidden)
    moments[:, -1, :-1] = moments[:, :-1, -1] = moments[:, units, units]
    moments[:, -1, -1] = low_sums.sum(axis=1)
    return moments


def _n_units(size: int) -> int:
    """Return the number of units that have ``size`` configurations, a power of two."""
    return size.bit_length() - 1
