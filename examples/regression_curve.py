"""Compare solvers, activations and batch sizes for a 1-150-150-1 network on a noisy sine.

The network and the grid of settings are from the report "Perceptron". The data of the report are
not available, so the script draws its own. The report multiplied the mean input of a batch by the
mean error. This is not the gradient of the mean loss. The report found batches of eight rows worse
than single rows. Here a batch has the exact gradient.

The noise has variance 0.01, which is the smallest mean squared error that a model can be expected
to reach on the test rows. The best straight line reaches 0.18.

Run: ``python examples/regression_curve.py``
"""

import time
import warnings
from itertools import product

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import train_test_split

from fastem import FastMLPRegressor

SOLVERS = ("sgd", "adam")
ACTIVATIONS = ("logistic", "tanh", "relu", "leaky_relu")
BATCH_SIZES = (1, 8)
RATES = {("sgd", 1): 0.01, ("sgd", 8): 0.03, ("adam", 1): 0.0005, ("adam", 8): 0.003}
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


def main():
    """Train the network with every combination of settings; print one line for each."""
    X_train, X_test, y_train, y_test = curve()
    train("sgd", "relu", 8, max_iter=1)  # compiles the kernels before times are measured
    columns = f"{'rate':>6} {'train':>7} {'test':>7} epochs seconds"
    print(f"{'solver':6} {'activation':10} {'batch':>5} {columns}")
    for solver, activation, batch_size in product(SOLVERS, ACTIVATIONS, BATCH_SIZES):
        network, seconds = train(solver, activation, batch_size)
        errors = (
            mean_squared_error(y, network.predict(X))
            for X, y in ((X_train, y_train), (X_test, y_test))
        )
        cells = " ".join(f"{error:7.4f}" for error in errors)
        row = f"{solver:6} {activation:10} {batch_size:5} {RATES[solver, batch_size]:6} {cells}"
        print(f"{row} {network.n_iter_:6} {seconds:7.2f}", flush=True)


if __name__ == "__main__":
    main()
