"""Rows whose label is a distribution over classes, as several rows with one class each.

A distribution ``p_i`` over the classes has two readings. The one here is the expected
log-likelihood, ``sum_k p_ik log p(k | x_i)``: minus the cross-entropy, which is used to smooth
labels, to distil a network, and for rows that several people have labelled. The other one is the
log of the expected likelihood, ``log sum_k p_ik p(k | x_i)``: one class is true, and ``p_i`` says
how it was observed. The first is linear in ``p_i``, so a row is equivalent to one row per class,
with weights ``w_i p_ik``.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.parameters import Array
from fastem.runtime import finite_array

_TOLERANCE = 1e-6


class RepeatedRows(NamedTuple):
    """Rows with one class each, which stand for rows with a distribution over classes.

    Attributes
    ----------
    X : array (n_repeated, n_features)
    labels : array (n_repeated,) of int
    weights : array (n_repeated,)
        Weight of the row times the probability of the class.
    rows : array (n_repeated,) of int
        Which of the ``n_samples`` rows each of them stands for.
    shares : array (n_repeated,), probability
    n_samples : int
    """

    X: Array
    labels: NDArray[np.int64]
    weights: Array
    rows: NDArray[np.int64]
    shares: Array
    n_samples: int

    def sum_back(self, values: Array) -> Array:
        """Return ``sum_k p_ik values_ik`` for every row i, (n_samples, ...).

        Parameters
        ----------
        values : array (n_repeated, ...)
            Not weighted, as log-likelihoods, posteriors and gradients of rows are.
        """
        out = np.zeros((self.n_samples, *values.shape[1:]))
        shares = self.shares.reshape(-1, *(1,) * (values.ndim - 1))
        np.add.at(out, self.rows, shares * values)
        return out


def repeat_rows(X: Array, probabilities: ArrayLike, weights: Array) -> RepeatedRows:
    """Return every row once for each class of positive probability.

    The cost of an E-step grows by the mean number of such classes per row.

    Parameters
    ----------
    X : array (n_samples, n_features)
    probabilities : array-like (n_samples, n_classes)
        Distribution over the classes of every row.
    weights : array (n_samples,)

    Returns
    -------
    repeated : RepeatedRows

    Raises
    ------
    ValueError
        If the shape is wrong, a probability is negative or not finite, or a row does not sum to 1
        within 1e-6.
    """
    shares = finite_array("y", probabilities, 2)
    if shares.shape[0] != len(X) or shares.shape[1] < 2:
        raise ValueError(
            f"y must hold one row of at least two class probabilities for each of {len(X)} rows, "
            f"got shape {shares.shape}."
        )
    if shares.min(initial=0.0) < 0.0:
        raise ValueError(f"y must hold class probabilities, got {shares.min():g}.")
    totals = shares.sum(axis=1)
    if (np.abs(totals - 1.0) > _TOLERANCE).any():
        worst = totals[np.argmax(np.abs(totals - 1.0))]
        raise ValueError(
            f"y must hold class probabilities that sum to 1 in every row, got a sum of {worst:g}. "
            "Divide every row by its sum."
        )
    rows, labels = np.nonzero(shares)
    own = shares[rows, labels]
    return RepeatedRows(X[rows], labels, weights[rows] * own, rows, own, len(X))
