"""What tests run in child processes: a spawned child must be able to import it by name."""

import time

import numpy as np
import reference

from fastem.engines.enumeration import Enumeration
from fastem.parameters import Shape
from fastem.rows import sort_rows
from fastem.runtime import threads
from fastem.runtime.threads import run


def small_problem(n_samples=1200):
    rng = np.random.default_rng(0)
    shape = Shape(3, (10,), 3)
    X, y = rng.normal(size=(n_samples, 3)), rng.integers(3, size=n_samples)
    rows = sort_rows(X, y, np.ones(n_samples), shape)
    return rows, shape, shape.from_lists(*reference.draw_network(rng, 3, 10, 3))


def squares_and_log_likelihood(seed):
    threads._SERIAL_SECONDS = 0.0  # wake threads in any case
    squares = np.zeros(20)

    def fill(piece, worker):
        time.sleep(1e-4)
        squares[piece] = (piece + seed) ** 2

    run(fill, 20, 3)
    rows, shape, parameters = small_problem()
    statistics = Enumeration().plan(rows, shape, 2).expect(parameters)
    return squares.tolist(), float(statistics.log_likelihood.sum())


# Kernels with versions for classes, for other outputs, and for sums in single precision.
SEVERAL_SIGNATURES = {
    "fastem.kernels.enumeration.fill_rows",
    "fastem.kernels.expected_counts.fill_counts",
    "fastem.kernels.expected_counts.fill_output_residuals",
}

LIST_SIGNATURES = """
import importlib, json, pkgutil, warnings
import fastem, fastem.kernels

def kernels():
    for module in pkgutil.iter_modules(fastem.kernels.__path__):
        module = importlib.import_module(f"fastem.kernels.{module.name}")
        for name, kernel in vars(module).items():
            if hasattr(kernel, "py_func") and kernel.__module__ == module.__name__:
                yield f"{module.__name__}.{name}", kernel

def signatures():
    return {name: [str(types) for types in kernel.signatures] for name, kernel in kernels()}
"""
