"""Sums over all states of the hidden units in plain NumPy, for predictions without closed form."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_MOST_UNITS = 20
_ENTRIES_AT_ONCE = 2**20  # of the priors of a block of rows


def states_of_rows(
    on: Array, coefs: Array, intercepts: Array
) -> Iterator[tuple[slice, Array, Array]]:
    """Yield blocks of rows with the prior of every state, and the outputs of all states.

    Parameters
    ----------
    on : array (n_samples, n_hidden), probability
        P(Z = 1 | x) of independent units.
    coefs : array (n_hidden, n_outputs)
    intercepts : array (n_outputs,)

    Yields
    ------
    rows : slice
    prior : array (n_rows, 2**n_hidden), probability
    eta : array (2**n_hidden, n_outputs)
        ``z V + c`` of every state, the same for all blocks.

    Raises
    ------
    ValueError
        If there are more than 20 hidden units.
    """
    n_samples, n_hidden = on.shape
    if n_hidden > _MOST_UNITS:
        raise ValueError(
            f"A sum over the states of {n_hidden} hidden units is too long for a prediction; use "
            f"at most {_MOST_UNITS} hidden units."
        )
    eta = intercepts[None]
    for v in coefs:
        eta = np.concatenate([eta, eta + v])
    step = max(1, _ENTRIES_AT_ONCE >> n_hidden)
    for start in range(0, n_samples, step):
        rows = slice(start, min(start + step, n_samples))
        prior = np.ones((rows.stop - start, 1))
        for u in on[rows].T:
            prior = np.concatenate([prior * (1.0 - u)[:, None], prior * u[:, None]], axis=1)
        yield rows, prior, eta
