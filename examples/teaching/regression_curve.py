"""Compare solvers, activations and batch sizes for a 1-150-150-1 network on a noisy sine.

Two last rows show stochastic hidden units, trained by exact EM on all rows at once.

The network and the grid of settings are from the report "Perceptron". The data of the report are
not available, so the script draws its own. The report multiplied the mean input of a batch by the
mean error. This is not the gradient of the mean loss. The report found batches of eight rows worse
than single rows. Here a batch has the exact gradient.

The noise has variance 0.01, which is the smallest mean squared error that a model can be expected
to reach on the test rows. The best straight line reaches 0.18.

The column "log p" is the mean log-density of the test rows, in nats. EM predicts a density. A
network of the report predicts a mean; its density is normal, with the mean squared error of the
training rows as its variance. Noise of constant variance is the case that suits such a density: the
density of the data reaches 0.88 on average. Stochastic units add variance where they switch.
two_branches.py has data of the opposite kind.

Run: ``python examples/regression_curve.py``
"""

import time
import warnings
from itertools import product

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import train_test_split

from fastem import FastEMRegressor, FastMLPRegressor

SOLVERS = ("sgd", "adam")
ACTIVATIONS = ("logistic", "tanh", "relu", "leaky_relu")
BATCH_SIZES = (1, 8)
RATES = {("sgd", 1): 0.01, ("sgd", 8): 0.03, ("adam", 1): 0.0005, ("adam", 8): 0.003}
UNITS = (5, 10)  # stochastic hidden units
NOISE = 0.1


def curve(n_samples=250, seed=0):
    """Return X_train, X_test, y_train, y_test of a sine; a fifth of the rows is for testing."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3.0, 3.0, size=n_samples)
    y = np.sin(x) + rng.normal(scale=NOISE, size=n_samples)
    return train_test_split(x[:, None], y, test_size=0.2, random_state=seed)


def train(solver, activation, batch_size, max_iter=100):
    """Return the fitted network and the time of the fit (s).

    Training stops before ``max_iter`` if the loss no longer decreases.
    """
    X, _, y, _ = curve()
    network = FastMLPRegressor(
        hidden_layer_sizes=(150, 150),
        activation=activation,
        solver=solver,
        alpha=0.0,
        batch_size=batch_size,
        learning_rate_init=RATES[solver, batch_size],
        max_iter=max_iter,
        tol=1e-5,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the table shows the number of epochs
        start = time.perf_counter()
        network.fit(X, y)
        return network, time.perf_counter() - start


def train_by_em(n_hidden, max_iter=1000):
    """Return the fitted network with stochastic hidden units and the time of the fit (s).

    The fit runs from three starts. The start with the highest training objective is kept.
    """
    X, _, y, _ = curve()
    network = FastEMRegressor((n_hidden,), n_init=3, max_iter=max_iter, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = time.perf_counter()
        network.fit(X, y)
        return network, time.perf_counter() - start


def figures(network):
    """Return the mean squared errors of training and test rows, and the test log-density."""
    X_train, X_test, y_train, y_test = curve()
    train_error = mean_squared_error(y_train, network.predict(X_train))
    test_error = mean_squared_error(y_test, network.predict(X_test))
    if isinstance(network, FastEMRegressor):
        return train_error, test_error, network.log_density(X_test, y_test).mean()
    log_density = -0.5 * (np.log(2.0 * np.pi * train_error) + test_error / train_error)
    return train_error, test_error, log_density


def show(solver, units, batch, rate, network, seconds):
    """Print one line of the table."""
    train_error, test_error, log_density = figures(network)
    cells = f"{train_error:7.4f} {test_error:7.4f} {log_density:6.2f}"
    row = f"{solver:6} {units:10} {batch:>5} {rate:>6} {cells}"
    print(f"{row} {network.n_iter_:6} {seconds:7.2f}", flush=True)


def main():
    """Train the network with every combination of settings; print one line for each."""
    train("sgd", "relu", 8, max_iter=1)  # compiles the kernels before times are measured
    train_by_em(2, max_iter=15)
    columns = f"{'rate':>6} {'train':>7} {'test':>7} {'log p':>6} epochs seconds"
    print(f"{'solver':6} {'activation':10} {'batch':>5} {columns}")
    for solver, activation, batch_size in product(SOLVERS, ACTIVATIONS, BATCH_SIZES):
        network, seconds = train(solver, activation, batch_size)
        show(solver, activation, batch_size, RATES[solver, batch_size], network, seconds)
    for n_hidden in UNITS:
        network, seconds = train_by_em(n_hidden)
        show("em", f"{n_hidden}-binary", "all", "-", network, seconds)


if __name__ == "__main__":
    main()
