"""The coin example on the package's own EM loop: the loop knows nothing of networks.

Two coins of unknown bias; in each of five rounds one of them, nobody recorded which, was
tossed ten times. EM weighs each round by the probability of either coin and re-estimates.

Run: ``python examples/two_coins.py``
"""

import numpy as np
from scipy.special import expit, logsumexp

from fastem.solvers.em import run_em
from fastem.solvers.monitor import Monitor

HEADS = np.array([5, 9, 8, 4, 7])
TOSSES = 10


class TwoCoins:
    """Mixture of two binomials with equal shares; theta holds the biases of the coins."""

    def expect(self, theta):
        """Return the log-likelihood (nats) and P(coin | round), shape (rounds, 2)."""
        heads = HEADS[:, None]
        log_joint = heads * np.log(theta) + (TOSSES - heads) * np.log1p(-theta) + np.log(0.5)
        share = expit(log_joint[:, 0] - log_joint[:, 1])
        return float(logsumexp(log_joint, axis=1).sum()), np.column_stack([share, 1.0 - share])

    def maximize(self, theta, shares):
        """Return each coin's expected fraction of heads."""
        return shares.T @ HEADS / (TOSSES * shares.sum(axis=0))


def biases(max_iter):
    """Return the biases after at most ``max_iter`` iterations from 0.6 and 0.5."""
    monitor = Monitor(tol=1e-12)
    return run_em(TwoCoins(), np.array([0.6, 0.5]), monitor, max_iter), monitor


def main():
    """Print the biases after one iteration and at the end."""
    for max_iter in (1, 1000):
        theta, monitor = biases(max_iter)
        a, b = theta
        print(f"after {monitor.n_iter:>2} iteration(s): {a:.2f} and {b:.2f}")


if __name__ == "__main__":
    main()
