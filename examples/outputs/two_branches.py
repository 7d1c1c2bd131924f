"""Predict a density where the mean is no answer: two branches with growing noise.

``y = s (sin x + 1.5) + noise``, where s is +1 or -1 with equal probability, and the standard
deviation of the noise grows with x. The mean of y given x is 0, but y is never near 0.

A network with deterministic hidden units predicts the mean. With the best constant variance, that
of its training errors, it is a normal density. A network with stochastic hidden units predicts a
mixture of normal densities, whose spread and number of modes depend on x. The script prints the
mean log-density of held-out rows under both, and under the density that the data were drawn from.

Run: ``python examples/two_branches.py [FILE]``; with the name of an image file it also draws the
density.
"""

import sys

import numpy as np
from scipy.stats import norm
from sklearn.model_selection import train_test_split

from fastem import DensityDisplay, FastEMRegressor, FastMLPRegressor


def branches(n_samples=1200, seed=0):
    """Return X_train, X_test, y_train, y_test; a quarter of the rows is for testing."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3.0, 3.0, size=n_samples)
    side = rng.choice([-1.0, 1.0], size=n_samples)
    y = side * (np.sin(x) + 1.5) + deviation(x) * rng.standard_normal(n_samples)
    return train_test_split(x[:, None], y, test_size=0.25, random_state=seed)


def deviation(x):
    """Return the standard deviation of the noise: from 0.05 on the left to 0.35 on the right."""
    return 0.05 + 0.05 * (x + 3.0)


def true_log_density(X, y):
    """Return the log-density that the data were drawn from, for every row (nats)."""
    x = X[:, 0]
    centre = np.sin(x) + 1.5
    upper, lower = (norm.logpdf(y, side * centre, deviation(x)) for side in (1.0, -1.0))
    return np.logaddexp(upper, lower) - np.log(2.0)


def constant_variance_log_density(X_train, y_train, X, y):
    """Return the log-density of every row under a predicted mean and one variance (nats)."""
    network = FastMLPRegressor(hidden_layer_sizes=(50, 50), max_iter=500, random_state=0).fit(
        X_train, y_train
    )
    errors = y_train - network.predict(X_train)
    return norm.logpdf(y, network.predict(X), np.sqrt(np.mean(errors**2)))


def main(path=None):
    """Fit both networks; print their held-out log-densities, and draw the density by EM."""
    X_train, X_test, y_train, y_test = branches()
    model = FastEMRegressor((8,), alpha=0.05, n_init=3, max_iter=2000, random_state=0)
    model.fit(X_train, y_train)
    rows = {
        "mean, constant variance": constant_variance_log_density(X_train, y_train, X_test, y_test),
        "stochastic hidden units": model.log_density(X_test, y_test),
        "density of the data": true_log_density(X_test, y_test),
    }
    print(f"{'model':24} nats per held-out row")
    for name, log_density in rows.items():
        print(f"{name:24} {log_density.mean():7.3f}")
    low, high = model.predict_interval(X_test, coverage=0.9).T
    inside = np.mean((low <= y_test) & (y_test <= high))
    print(f"90 % intervals contain {100 * inside:.0f} % of the held-out values")
    if path is not None:
        try:
            figure = DensityDisplay.from_estimator(model, X_test, y_test).figure_
        except ImportError as error:
            sys.exit(str(error))
        figure.savefig(path)
        print(path)


if __name__ == "__main__":
    main(*sys.argv[1:2])
