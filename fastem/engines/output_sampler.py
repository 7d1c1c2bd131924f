"""Samples of rows whose outputs are independent given z: numbers, counts or several labels.

The kernels that draw states and add up samples are shared with classes. The family of the outputs
is evaluated by NumPy, in blocks of rows. `Sampling` therefore supports every family, also one that
is not part of the package.
"""

from typing import Any

import numpy as np

from fastem.engines.proposals import Proposal, n_from_prior
from fastem.engines.sampler import Sampler, rows_at_once
from fastem.kernels import sampled_outputs
from fastem.parameters import Array, Parameters, Shape

_LARGEST_SUM = 1e300  # sums over codes and pieces stay finite


class OutputSampler(Sampler):
    """`Sampler` for families other than classes.

    The last entries of `sums` are the squared residuals of outputs with a variance.
    """

    def __init__(self, shape: Shape, n_samples: int, n_workers: int) -> None:
        super().__init__(shape, n_samples, n_workers)
        self._family, self._step = shape.family, rows_at_once(shape, n_samples)
        per_worker = n_workers, self._step, -1
        self._samples = self._codes.reshape(per_worker), self._values.reshape(per_worker)
        self._shape, self._n_untilted = shape, n_from_prior(shape, n_samples)

    def fill_tables(self, parameters: Parameters) -> None:
        """Fill the tables, and set the dispersion and the proposal distribution."""
        super().fill_tables(parameters)
        self._proposal = Proposal(parameters, self._shape)
        self._dispersion = parameters.dispersion

    def add_rows(
        self, worker: int, rows: tuple[int, int], per_row: tuple[Any, ...], out: tuple[Any, ...]
    ) -> None:
        """Sample rows; add to the `sums` of the worker."""
        log_odds, targets, weights, keys = per_row
        log_likelihood, effective, probability, posterior = out
        codes, values = (samples[worker] for samples in self._samples)
        squares = self.sums[worker, self._cuts[-1] :]
        for start in range(*rows, self._step):
            stop = min(start + self._step, rows[1])
            own = targets[start:stop]
            eta = self._eta[worker, : own.size * self.n_samples]
            eta = eta.reshape(own.shape[1], len(own), self.n_samples)
            log_weights = self._log_weights[worker, : len(own) * self.n_samples]
            log_weights = log_weights.reshape(len(own), self.n_samples)
            proposal = self._proposal.tilts(log_odds[start:stop], own)
            sampled_outputs.fill_samples(
                log_odds, proposal.log_odds, proposal.tilts, proposal.log_normalisers,
                self._n_untilted, keys, start, stop, self.n_samples, self.sizes, self._tables,
                self._thresholds[worker], codes, values, probability, eta, log_weights,
            )  # fmt: skip
            residuals = self._add_log_densities(eta, own, log_weights)
            sampled_outputs.add_weighted_samples(
                log_weights, residuals, targets, weights, start, self.sizes, codes, values,
                self._work[worker], self.sums[worker], squares, log_likelihood, effective,
                posterior,
            )  # fmt: skip
            largest = self._family.log_largest(own, self._dispersion)
            log_likelihood[start:stop] += largest.sum(axis=1)

    def _add_log_densities(self, eta: Array, targets: Array, log_weights: Array) -> Array:
        """Add the log-densities of samples to their log-weights (nats); return the residuals.

        The log-densities are relative to the largest one. The residuals are divided by the
        dispersion. They overwrite ``eta``.
        """
        family = self._family
        # if weights of the network are huge, the density of a sample underflows to zero
        with np.errstate(over="ignore", invalid="ignore"):
            for d, of_output in enumerate(eta):
                y = targets[:, d, None]
                relative = family.relative_log_density(of_output, y)
                log_weights += relative / self._dispersion[d] if family.has_variance else relative
                np.subtract(y, family.mean(of_output), out=of_output)
                if family.has_variance:
                    of_output /= self._dispersion[d]
        return eta

    def folded(self, sums: Array) -> list[Array]:
        """Return sums by unit for every hidden layer, and the squared residuals.

        Raises
        ------
        FloatingPointError
            If residuals times weights overflow.
        """
        if not (np.abs(sums) < _LARGEST_SUM).all():
            raise FloatingPointError(
                f"The residuals of the outputs overflow (family={self._family!r}): the output "
                "weights are too large, or the noise variance is too small. Use smaller weights "
                "(a larger alpha) or rescale y."
            )
        return [*super().folded(sums), sums[self._cuts[-1] :].copy()]


def sampler_of(shape: Shape, n_samples: int, n_workers: int) -> Sampler:
    """Return the sampler for the family of a shape."""
    kind = Sampler if shape.has_classes else OutputSampler
    return kind(shape, n_samples, n_workers)
