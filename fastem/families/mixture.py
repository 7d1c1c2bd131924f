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
_ENTRIES_OF_TABLE = 2**22  # of distribution functions of states or rows at consecutive values
_FIRST_VALUES = 16  # whole numbers in the first table; the next ones are twice as long
_MOST_VALUES = 1024  # for larger whole numbers bisection is faster
_STEPS_OF_BISECTION = 8  # per quantile, of about this size
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
        below = [self._sum(self._cdf_of_states(y[:, d], d)) for d in range(y.shape[1])]
        return np.clip(np.stack(below, axis=1), 0.0, 1.0)

    def quantiles(self, q: Array) -> Array:
        """Return the quantiles (n_samples, n_outputs, n_quantiles) of every output by itself.

        Parameters
        ----------
        q : array (n_quantiles,), probability
            From 1e-300 to 1 - 1e-15. For a discrete family the quantile is the smallest y with
            ``P(Y <= y) >= q``.
        """
        if self.family.is_discrete:
            outputs = [self._whole_quantiles(d, q) for d in range(self.eta.shape[-1])]
            return np.stack(outputs, axis=1)
        out = np.empty((len(self.prior), self.eta.shape[-1], len(q)))
        means, variances = self.moments()
        mirrored = self._replace(eta=-self.eta)  # with normal noise: the mixture of -Y
        for k, level in enumerate(q):
            if level > 0.5 and self.family.has_variance:  # P(Y > y) has more digits than P(Y <= y)
                out[:, :, k] = -mirrored._search(1.0 - level, -means, np.sqrt(variances))
            else:
                out[:, :, k] = self._search(level, means, np.sqrt(variances))
        return out

    def _expected(self, values: Array) -> Array:
        if values.ndim == 2:
            return self.prior @ values
        return np.einsum("ns,nsd->nd", self.prior, values)

    def _cdf_of_states(self, y: Array, d: int) -> Array:
        """Return ``P(Y_d <= y | z)`` (n_samples, n_states) of output d at one y per row."""
        variance = self.variance[d : d + 1]
        if self.eta.ndim == 3:
            return self.family.cdf(y[:, None], self.eta[:, :, d], variance)
        distinct, positions = np.unique(y, return_inverse=True)
        return self.family.cdf(distinct[:, None], self.eta[:, d], variance)[positions]

    def _sum(self, values: Array) -> Array:
        """Return the expectation (n_samples,) of values (n_samples, n_states)."""
        return np.einsum("ns,ns->n", self.prior, values)

    def _search(self, level: float, means: Array, deviations: Array) -> Array:
        """Return where the distribution functions reach a level."""
        low, high = _bounds(level)
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

    def _whole_quantiles(self, d: int, q: Array) -> Array:
        """Return quantiles (n_samples, n_quantiles) of output d, which takes whole numbers."""
        out = np.full((len(self.prior), len(q)), np.nan)
        is_count = not self.family.cdf(np.array(-1.0), self.eta[..., d], self.variance[d]).any()
        if is_count and self.eta.ndim == 2:
            self._count(d, q, out)
        left = np.flatnonzero(np.isnan(out).any(axis=1))
        if len(left) > 0:
            eta = self.eta if self.eta.ndim == 2 else self.eta[left]
            chosen = eta[..., d : d + 1], self.variance[d : d + 1]
            rows = Mixture(self.family, self.prior[left], *chosen)
            out[left] = rows._bisect(q, -1.0 if is_count else -np.inf)
        return out

    def _count(self, d: int, q: Array, out: Array) -> None:
        """Fill in quantiles of output d, from tables of the distribution functions of all states.

        The values of a table are consecutive whole numbers. Rows with quantiles above the last
        table are left as they are.

        Parameters
        ----------
        d : int
        q : array (n_quantiles,)
        out : array (n_samples, n_quantiles)
            NaN where the quantile is unknown; modified in place.
        """
        most = min(_MOST_VALUES, _STEPS_OF_BISECTION * out.size)
        means = self.prior @ self.family.mean(self.eta[:, d])
        rows = np.flatnonzero(means < 0.5 * most)  # most quantiles of the others are too large
        start, n_values = 0, _FIRST_VALUES
        while start < most and len(rows) > 0:
            n_values = min(n_values, max(1, _ENTRIES_OF_TABLE // max(len(self.eta), len(rows))))
            values = np.arange(start, start + n_values, dtype=np.float64)
            table = self.family.cdf(values, self.eta[:, d, None], self.variance[d])
            prior = self.prior if len(rows) == len(self.prior) else self.prior[rows]
            for levels in (q <= 0.5, q > 0.5):
                if levels.any():
                    tails = prior @ _tail(table, q[levels][0])
                for k in np.flatnonzero(levels):
                    reached = _is_reached(tails, q[k])
                    is_new = reached.any(axis=1) & np.isnan(out[rows, k])
                    out[rows[is_new], k] = start + reached[is_new].argmax(axis=1)
            rows = rows[np.isnan(out[rows]).any(axis=1)]
            start, n_values = start + n_values, 2 * n_values

    def _bisect(self, q: Array, lowest: float) -> Array:
        """Return quantiles (n_samples, n_quantiles) of the only output, which takes whole numbers.

        Parameters
        ----------
        q : array (n_quantiles,)
        lowest : float
            A whole number that has no probability, nor have smaller ones; or minus infinity.
        """
        mean, variance = (values[:, 0] for values in self.moments())
        out = np.empty((len(self.prior), len(q)))
        for k, level in enumerate(q):
            low, high = _bounds(level)
            below = np.maximum(np.floor(mean + low * np.sqrt(variance)) - 1.0, lowest)
            above = np.ceil(mean + high * np.sqrt(variance)) + 1.0
            while True:
                middle = np.floor(0.5 * below + 0.5 * above)
                between = (below < middle) & (middle < above)  # false too where numbers are sparse
                if not between.any():
                    break
                tails = self._sum(_tail(self._cdf_of_states(middle, 0), level))
                reached = _is_reached(tails, level)
                above = np.where(between & reached, middle, above)
                below = np.where(between & ~reached, middle, below)
            out[:, k] = above
        return out


def _bounds(level: float) -> tuple[float, float]:
    """Return an interval that contains a quantile, in standard deviations from the mean.

    The ends are those of Cantelli's inequality.
    """
    return -np.sqrt((1.0 - level) / level), np.sqrt(level / (1.0 - level))


def _tail(below: Array, level: float) -> Array:
    """Return the smaller tail at a level: ``P(Y <= y)``, or ``P(Y > y)`` for levels above 1/2.

    By rounding errors, sums of ``P(Y <= y)`` over states can stay below a level close to 1. Sums of
    ``P(Y > y)`` fall to 0.
    """
    return below if level <= 0.5 else 1.0 - below


def _is_reached(tails: Array, level: float) -> NDArray[np.bool_]:
    """Return whether ``P(Y <= y)`` is at least the level, given sums of `_tail` over states."""
    return tails >= level if level <= 0.5 else tails <= 1.0 - level


def mixtures_of_rows(
    family: Any, on: Array, off: Array, coefs: Array, intercepts: Array, variance: Array
) -> Iterator[tuple[slice, Mixture]]:
    """Yield the distributions of blocks of rows, with all states of one hidden layer.

    Parameters
    ----------
    family : IndependentOutputs
    on, off : arrays (n_samples, n_hidden), probability
        P(Z = 1 | x) and P(Z = 0 | x) of independent units. Tails need all digits of both.
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
        for u, v in zip(on[rows].T, off[rows].T, strict=True):
            prior = np.concatenate([prior * v[:, None], prior * u[:, None]], axis=1)
        yield rows, Mixture(family, prior, eta, variance)


def blocks(n_samples: int, n_states: int) -> Iterator[slice]:
    """Yield blocks of rows whose priors take at most 8 MiB."""
    step = max(1, _ENTRIES_AT_ONCE // n_states)
    for start in range(0, n_samples, step):
        yield slice(start, min(start + step, n_samples))
