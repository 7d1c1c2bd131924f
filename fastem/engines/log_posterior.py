"""Posteriors of single rows over all configurations, in log space; log priors of many rows."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_expit

from fastem.parameters import Array
from fastem.runtime import n_low_bits

LEAST_LOG_DENSITY = -1e300
"""Log-densities are clipped to it: sums stay finite."""

_LARGEST_LOG_ODDS = 1e300  # their sum over units is finite


class LogPosterior(NamedTuple):
    """Prior and posterior of all configurations (n_high, n_low) of one row, in nats."""

    log_prior: Array
    log_posterior: Array


def log_posterior_of(log_on: Array, log_off: Array, log_table: Array) -> LogPosterior:
    """Return prior and posterior of all configurations of one row.

    Parameters
    ----------
    log_on, log_off : arrays (n_hidden,), nats
    log_table : array (n_high, n_low), nats
    """
    n_low = n_low_bits(len(log_on))
    high, low = (np.zeros(1), np.zeros(1))
    for on, off in zip(log_on[n_low:], log_off[n_low:], strict=True):
        high = np.concatenate([high + off, high + on])
    for on, off in zip(log_on[:n_low], log_off[:n_low], strict=True):
        low = np.concatenate([low + off, low + on])
    log_prior = high[:, None] + low
    log_joint = log_prior + np.maximum(log_table, LEAST_LOG_DENSITY)
    log_joint -= log_joint.max()
    log_joint -= np.log(np.exp(log_joint).sum())
    return LogPosterior(log_prior, log_joint)


def log_probabilities(log_odds: Array) -> tuple[Array, Array]:
    """Return log P(Z = 1) and log P(Z = 0), in nats, of log-odds that are clipped to 1e300."""
    clipped = np.clip(log_odds, -_LARGEST_LOG_ODDS, _LARGEST_LOG_ODDS)
    return log_expit(clipped), log_expit(-clipped)


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


def pair_moments_of(posterior: Array) -> Array:
    """Return ``E[z_h z_k]`` (n_hidden, n_hidden) of a posterior (n_high, n_low)."""
    n_high, n_low = posterior.shape
    bits_high, bits_low = n_high.bit_length() - 1, n_low.bit_length() - 1
    high = ((np.arange(n_high)[:, None] >> np.arange(bits_high)) & 1).astype(np.float64)
    low = ((np.arange(n_low)[:, None] >> np.arange(bits_low)) & 1).astype(np.float64)
    cross = high.T @ posterior @ low
    of_low = low.T @ (posterior.sum(axis=0)[:, None] * low)
    of_high = high.T @ (posterior.sum(axis=1)[:, None] * high)
    return np.block([[of_low, cross.T], [cross, of_high]])


def fill_bits(
    states: NDArray[np.int64], out: NDArray[np.int8], positions: NDArray[np.int64]
) -> None:
    """Fill ``out[..., positions, h]`` with bit h of configurations ``states (..., n_rows)``."""
    for h in range(out.shape[-1]):
        out[..., positions, h] = (states >> h) & 1
