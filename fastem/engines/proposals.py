"""Proposal distribution of samples: a mixture of the prior and of the prior tilted towards y.

If the noise is small, few samples from the prior are near the target of their row. In a network
with one hidden layer and at most 32 outputs, three quarters of the samples of a row are therefore
drawn with the log-odds ``a + V g``. The tilt g is such that the mean of ``eta = z V + c`` is about
its posterior mean, in the normal approximation of the distribution of eta:

    g = (I + H C)^-1 G,     C = V' diag(u (1 - u)) V,

with the gradient ``G = (y - E[y|eta]) / s`` and the curvature ``H = Var[y|eta] / s**2`` of the
log-density at the prior mean of eta, s the dispersion. The tilted distribution has the density

    q(z) / P(z|x) = exp(z V g - K),     K = sum_h softplus(a_h + V_h g) - softplus(a_h).

The weights are ``P(z|x) p(y|z) / (share P(z|x) + (1 - share) q(z))``. The share of the prior bounds
them, however far the tilted distribution is from the posterior.

References
----------
Hesterberg (1995), Weighted average importance sampling and defensive mixture distributions,
Technometrics 37(2).
"""

import math
from typing import NamedTuple

import numpy as np

from fastem.parameters import Array, Parameters, Shape, split_intercepts
from fastem.runtime import Shapes

_PRIOR_SHARE = 0.25
_MOST_OUTPUTS = 32  # every row takes a linear system of this size
_LARGEST_CHANGE = 1e300  # of log-odds: sums with it stay finite
_RIDGE = 1e-8  # share of the trace: systems whose outputs are nearly equal become solvable


def is_tilted(shape: Shape) -> bool:
    """Return whether samples are drawn from a tilted prior."""
    return not shape.has_classes and shape.depth == 1 and shape.n_outputs <= _MOST_OUTPUTS


def n_from_prior(shape: Shape, n_samples: int) -> int:
    """Return the number of samples of a row that are drawn from the prior."""
    return math.ceil(_PRIOR_SHARE * n_samples) if is_tilted(shape) else n_samples


class Tilts(NamedTuple):
    """Tilts of some rows.

    Attributes
    ----------
    tilts : array (n_rows, n_outputs)
        Change of log-odds per unit of output weight.
    log_odds : array (n_rows, n_hidden)
        Tilted log-odds of the units.
    log_normalisers : array (n_rows,), nats
        K, plus ``intercepts . tilt``.
    """

    tilts: Array
    log_odds: Array
    log_normalisers: Array


class Proposal:
    """Tilts towards targets under given parameters."""

    def __init__(self, parameters: Parameters, shape: Shape) -> None:
        self._family, self._dispersion = shape.family, parameters.dispersion
        self._coefs, self._intercepts = split_intercepts(parameters.output, shape.last)
        self._is_tilted = is_tilted(shape)
        if self._is_tilted:
            with np.errstate(over="ignore"):  # no row is tilted then
                squares = self._coefs[:, :, None] * self._coefs[:, None, :]
                self._reach = np.abs(parameters.output).sum(axis=0)
            self._squares = squares.reshape(shape.last, -1)

    @staticmethod
    def temporaries(shape: Shape, n_workers: int, n_rows: int) -> Shapes:
        """Declare the arrays of tilts, for ``n_rows`` rows per worker."""
        if not is_tilted(shape):
            return {}
        d, m = shape.n_outputs, shape.last
        return {"squares": (2, m, d, d), "tilts": (n_workers, n_rows, 4 * d * d + 8 * d + 6 * m)}

    def tilts(self, log_odds: Array, targets: Array) -> Tilts:
        """Return the tilts of rows: zero without tilted samples, or where they are not finite.

        Parameters
        ----------
        log_odds : array (n_rows, n_hidden)
        targets : array (n_rows, n_outputs)
        """
        if not self._is_tilted:
            return Tilts(np.zeros_like(targets), log_odds, np.zeros(len(targets)))
        n_rows, d = targets.shape
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            on = 1.0 / (1.0 + np.exp(-log_odds))
            eta = on @ self._coefs + self._intercepts
            curvature = self._family.curvature(eta) / self._dispersion
            gradient = (targets - self._family.mean(eta)) / self._dispersion
            spread = ((on * (1.0 - on)) @ self._squares).reshape(n_rows, d, d)
            systems = curvature[:, :, None] * spread
            usable = np.isfinite(systems).all(axis=(1, 2)) & np.isfinite(gradient).all(axis=1)
            systems[~usable], gradient[~usable] = 0.0, 0.0
            trace, diagonal = np.trace(systems, axis1=1, axis2=2), np.arange(d)
            systems[:, diagonal, diagonal] += 1.0 + _RIDGE * trace[:, None]
            tilts = np.linalg.solve(systems, gradient[:, :, None])[:, :, 0]
            # a bound on what the tilt adds to log-odds and to their normaliser
            tilts[~(np.abs(tilts) @ self._reach < _LARGEST_CHANGE)] = 0.0
        moved = tilts @ self._coefs.T
        # log(1 - u + u exp(moved)) of every unit
        off, is_on = -np.logaddexp(0.0, log_odds), -np.logaddexp(0.0, -log_odds)
        log_normalisers = np.logaddexp(off, is_on + moved).sum(axis=1)
        return Tilts(tilts, log_odds + moved, log_normalisers + tilts @ self._intercepts)
