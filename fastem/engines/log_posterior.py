"""Posteriors of single rows over all configurations, in log space; log priors of many rows."""

from typing import Any, NamedTuple

import numpy as np

from fastem.engines.row_tables import RowTable
from fastem.kernels import posterior as kernels
from fastem.parameters import Array

_LEAST_LOG_DENSITY = -1e300  # log-densities are clipped to it: sums stay finite
_LARGEST_LOG_ODDS = 1e300  # their sum over units is finite


class LogPosterior(NamedTuple):
    """Prior and posterior of all configurations (n_high, n_low) of one row, in nats."""

    log_prior: Array
    log_posterior: Array


def finite_log_table(table: RowTable, target: Any) -> Array:
    """Return ``log p(target | configuration)`` (nats), (n_high, n_low), without infinities."""
    return np.maximum(table.log_table(target), _LEAST_LOG_DENSITY)


def log_posterior_of(log_on: Array, log_off: Array, log_table: Array) -> LogPosterior:
    """Return prior and posterior of all configurations of one row.

    Parameters
    ----------
    log_on, log_off : arrays (n_hidden,), nats
    log_table : array (n_high, n_low), nats
        Finite: see `finite_log_table`.
    """
    found = LogPosterior(np.empty(log_table.shape), np.empty(log_table.shape))
    kernels.fill_log_posterior(log_on, log_off, log_table, *found)
    return found


def log_probabilities(log_odds: Array) -> tuple[Array, Array]:
    """Return log P(Z = 1) and log P(Z = 0), in nats, of log-odds that are clipped to 1e300."""
    clipped = np.clip(log_odds, -_LARGEST_LOG_ODDS, _LARGEST_LOG_ODDS)
    rest = np.log1p(np.exp(-np.abs(clipped)))
    return np.minimum(clipped, 0.0) - rest, np.minimum(-clipped, 0.0) - rest


def expected_log_prior(q: Array, log_odds: Array) -> Array:
    """Return ``E[log P(z | x)]`` (n_samples,), in nats.

    Parameters
    ----------
    q : array (n_hidden, n_samples), probability
        P(Z = 1 | x, y).
    log_odds : array (n_hidden, n_samples)
        Of the prior.
    """
    log_on, log_off = log_probabilities(log_odds)
    return (q * log_on + (1.0 - q) * log_off).sum(axis=0)
