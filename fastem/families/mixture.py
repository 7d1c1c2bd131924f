"""Predictive distributions as mixtures over hidden states: moments, probabilities and quantiles."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import elementwise

Array = NDArray[np.float64]

MOST_UNITS_OF_A_MIXTURE = 20
"""Largest number of hidden units for which a prediction sums over all states."""

_ENTRIES_AT_ONCE = 2**20  # of the priors of a block of rows
_LARGEST_DEVIATION = 1e150  # its square is finite
# A search for a quantile ends if its last step, in standard deviations of y, is below these values,
# or if the error of the probability is below a share of the smaller tail.
_TOLERANCES = {"xatol": 1e-15, "xrtol": 4.0 * float(np.finfo(float).eps)}
_TOLERANCE_OF_TAIL = 1e-13


class Mixture(NamedTuple):
    """Distribution of the outputs of some rows, given their features.

    Attributes
    ----------
    family : IndependentOutputs
    prior : array (n_samples, n_states), probability
        Prior P(z | x) of every state; rows sum to one.
    eta : array (n_states, n_outputs) or (n_samples, n_states, n_outputs)
        Natural parameters of the outputs in every state.
    variance : array (n_outputs,)
        Dispersion of every output.
    """

    family: Any
    prior: Array
    eta: Array
    variance: Array

    def moments(self) -> tuple[Array, Array]:
        """Return mean and variance of every output, (n_samples, n_outputs)."""
        of_states = self.family.mean(self.eta)
        means = self._expected(of_states)
        variances = self._expected(self.variance * self.family.curvature(self.eta))
        for d in range(means.shape[1]):  # deviations first: squares of large means would cancel
            deviations = of_states[..., d] - means[:, d, None]
            deviations = np.clip(deviations, -_LARGEST_DEVIATION, _LARGEST_DEVIATION)
            variances[:, d] += np.einsum("ns,ns,ns->n", self.prior, deviations, deviations)
        return means, variances

    def cdf(self, y: Array) -> Array:
        """Return ``P(Y_d <= y_d | x)`` (n_samples, n_outputs) of every output by itself."""
        own = self.family.cdf(y[:, None, :], self.eta, self.variance)
        return np.clip(np.einsum("ns,nsd->nd", self.prior, own), 0.0, 1.0)

    def quantiles(self, q: Array) -> Array:
        """Return the quantiles (n_samples, n_outputs, n_quantiles) of every output by itself.

        Parameters
        ----------
        q : array (n_quantiles,), probability
            Between 0 and 1, both excluded. For a discrete family the quantile is the smallest y
            with ``P(Y <= y) >= q``.
        """
        means, variances = self.moments()
        deviations = np.sqrt(variances)
        out = np.empty((*means.shape, len(q)))
        search = self._search_whole if self.family.is_discrete else self._search
        for k, level in enumerate(q):
            # Cantelli's inequality, in standard deviations from the mean
            low, high = -np.sqrt((1.0 - level) / level), np.sqrt(level / (1.0 - level))
            out[:, :, k] = search(level, means, deviations, low, high)
        return out

    def _expected(self, values: Array) -> Array:
        if values.ndim == 2:
            return self.prior @ values
        return np.einsum("ns,nsd->nd", self.prior, values)

    def _search(
        self, level: float, means: Array, deviations: Array, low: float, high: float
    ) -> Array:
        """Return where the distribution functions reach a level, between bounds.

        The bounds are in standard deviations from the mean.
        """
        rows, outputs = np.indices(means.shape)

        def excess(t: Array, mean: Array, deviation: Array, row: Array, output: Array) -> Array:
            row, output = row.astype(int), output.astype(int)
            y = mean + deviation * t
            eta = self.eta[:, output].T if self.eta.ndim == 2 else self.eta[row, :, output]
            own = self.family.cdf(y[:, None], eta, self.variance[output][:, None])
            return (self.prior[row] * own).sum(axis=1) - level

        rounding = 1e-6 + 1e-15 * np.abs(means) / deviations
        found = elementwise.find_root(
            excess,
            ((low - rounding).ravel(), (high + rounding).ravel()),
            args=tuple(values.ravel() for values in (means, deviations, rows, outputs)),
            tolerances={**_TOLERANCES, "fatol": _TOLERANCE_OF_TAIL * min(level, 1.0 - level)},
        )
        return means + deviations * found.x.reshape(means.shape)

    def _search_whole(
        self, level: float, means: Array, deviations: Array, low: float, high: float
    ) -> Array:
        """Return the smallest whole numbers at which the distribution functions reach a level."""
        below = np.floor(means + low * deviations) - 1.0
        above = np.ceil(means + high * deviations) + 1.0
        while True:
            middle = np.floor(0.5 * below + 0.5 * above)
            between = (below < middle) & (middle < above)  # false too where numbers are sparse
            if not between.any():
                return above
            reached = self.cdf(middle) >= level
            above = np.where(between & reached, middle, above)
            below = np.where(between & ~reached, middle, below)


def mixtures_of_rows(
    family: Any, on: Array, coefs: Array, intercepts: Array, variance: Array
) -> Iterator[tuple[slice, Mixture]]:
    """Yield the distributions of blocks of rows, with all states of one hidden layer.

    Parameters
    ----------
    family : IndependentOutputs
    on : array (n_samples, n_hidden), probability
        P(Z = 1 | x) of independent units.
    coefs : array (n_hidden, n_outputs)
    intercepts, variance : arrays (n_outputs,)

    Yields
    ------
    rows : slice
    mixture : Mixture

    Raises
    ------
    ValueError
        If there are more than 20 hidden units.
    """
    n_samples, n_hidden = on.shape
    if n_hidden > MOST_UNITS_OF_A_MIXTURE:
        raise ValueError(
            f"A sum over the states of {n_hidden} hidden units is too long for a prediction; use "
            f"at most {MOST_UNITS_OF_A_MIXTURE} hidden units."
        )
    eta = intercepts[None]
    for v in coefs:
        eta = np.concatenate([eta, eta + v])
    for rows in blocks(n_samples, 2**n_hidden):
        prior = np.ones((rows.stop - rows.start, 1))
        for u in on[rows].T:
            prior = np.concatenate([prior * (1.0 - u)[:, None], prior * u[:, None]], axis=1)
        yield rows, Mixture(family, prior, eta, variance)


def blocks(n_samples: int, n_states: int) -> Iterator[slice]:
    """Yield blocks of rows whose priors take at most 8 MiB."""
    step = max(1, _ENTRIES_AT_ONCE // n_states)
    for start in range(0, n_samples, step):
        yield slice(start, min(start + step, n_samples))
