"""Times of single E-steps, and the plain product beside which they are held."""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastem.engines import ENGINES, Engine
from fastem.parameters import Parameters, Shape
from fastem.rows import ClassSortedRows, sort_by_class
from fastem.runtime import check_memory, run, single_threaded_blas

_PRODUCT_SIZE = 1000
_PRODUCT_REPEATS = 3
_LEAST_REPEATS = 2
_MOST_REPEATS = 500
_SECONDS_PER_SIZE = 0.15  # of repeats, where each of them takes less


class ScalingRow(NamedTuple):
    """One engine on one problem.

    Attributes
    ----------
    engine : str
    n_samples, n_hidden, n_configs, n_classes, n_threads : int
        ``n_configs`` is ``2**n_hidden``, whatever the engine.
    seconds : float
        Of an E-step with gradients: the least of several, compilation left out.
    ns_per_configuration : float
        Nanoseconds per row and configuration.
    share_of_dgemm : float or None
        ``6 n 2**m`` flops over ``seconds`` and ``dgemm_rate``; None of engines that do without
        these products.
    dgemm_rate : float, flops per second
        Of plain float64 products with the same threads: the best rate of those measured
        between the problems.
    bytes : int
        What the engine says that its plan needs.
    """

    engine: str
    n_samples: int
    n_hidden: int
    n_configs: int
    n_classes: int
    n_threads: int
    seconds: float
    ns_per_configuration: float
    share_of_dgemm: float | None
    dgemm_rate: float
    bytes: int


def draw_problem(
    shape: Shape, n_samples: int, rng: np.random.Generator
) -> tuple[ClassSortedRows, Parameters]:
    """Draw a network with log-odds of order one, then rows and labels from it."""
    hidden = tuple(rng.normal(size=size) / np.sqrt(size[0]) for size in shape.hidden_shapes)
    output = rng.normal(size=shape.output_shape)
    parameters = Parameters(hidden, output)
    X = states = rng.normal(size=(n_samples, shape.n_features))
    for weights in hidden:
        log_odds = states @ weights[:-1] + weights[-1]
        states = rng.logistic(size=log_odds.shape) < log_odds
    logits = states @ output[:-1] + output[-1]
    y = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)
    return sort_by_class(X, y, np.ones(n_samples), shape), parameters


def dgemm_rate(n_threads: int) -> float:
    """Return the rate of plain float64 products, one per thread at once, in flops per second.

    The products are NumPy's, and the threads those of the package: what an E-step would reach
    that did nothing beside its products.
    """
    A, B = np.random.default_rng(0).normal(size=(2, _PRODUCT_SIZE, _PRODUCT_SIZE))
    products = np.empty((n_threads, *A.shape))

    def multiply(piece: int, worker: int) -> None:
        np.dot(A, B, out=products[piece])

    with single_threaded_blas():
        seconds = _least_seconds(lambda: run(multiply, n_threads, n_threads), _PRODUCT_REPEATS)
    return n_threads * 2 * _PRODUCT_SIZE**3 / seconds


class Stopwatch:
    """Times of engines on problems, and what was refused, by (engine, rows, hidden units).

    Parameters
    ----------
    n_classes, n_features, n_threads : int
    seed : int

    Attributes
    ----------
    seconds : dict to float
        The least of all rounds.
    refusals : dict to str
        The reasons.
    """

    def __init__(self, n_classes: int, n_features: int, n_threads: int, seed: int) -> None:
        self.n_classes, self.n_threads = n_classes, n_threads
        self._n_features, self._seed = n_features, seed
        self._rate = 0.0
        self.seconds: dict[tuple[str, int, int], float] = {}
        self.refusals: dict[tuple[str, int, int], str] = {}

    def time(self, name: str, n_samples: int, n_hidden: int) -> None:
        """Time a problem, once more if it was before, or note why the engine refuses it."""
        shape = Shape(self._n_features, (n_hidden,), self.n_classes)
        try:
            seconds = self._seconds(ENGINES[name](), shape, n_samples)
        except (ValueError, MemoryError) as error:
            self.refusals[name, n_samples, n_hidden] = str(error) or "out of memory"
            return
        known = self.seconds.get((name, n_samples, n_hidden), math.inf)
        self.seconds[name, n_samples, n_hidden] = min(seconds, known)
        self._take_rate()

    def row(self, name: str, n_samples: int, n_hidden: int) -> ScalingRow:
        """Return what is known of a problem that was timed."""
        seconds = self.seconds[name, n_samples, n_hidden]
        shape = Shape(self._n_features, (n_hidden,), self.n_classes)
        n_terms, engine = n_samples * 2**n_hidden, ENGINES[name]()
        share = 6 * n_terms / seconds / self._rate if engine.statistics == "counts" else None
        return ScalingRow(
            name,
            n_samples,
            n_hidden,
            2**n_hidden,
            self.n_classes,
            self.n_threads,
            seconds,
            1e9 * seconds / n_terms,
            share,
            self._rate,
            engine.bytes_needed(shape, n_samples, self.n_threads),
        )

    def _take_rate(self) -> None:
        """Measure the rate of products again: the best one is the machine undisturbed."""
        self._rate = max(self._rate, dgemm_rate(self.n_threads))

    def _seconds(self, engine: Engine, shape: Shape, n_samples: int) -> float:
        check_memory(
            f"samples={n_samples}",
            "for the rows themselves",
            "Use fewer rows.",
            8 * n_samples * (3 * shape.n_inputs + 3 * shape.first + 3 * shape.n_classes),
        )
        sizes = self._seed, n_samples, shape.n_features, shape.first, shape.n_classes
        rows, parameters = draw_problem(shape, n_samples, np.random.default_rng(sizes))
        plan = engine.seeded(self._seed).plan(rows, shape, self.n_threads)
        plan.expect(parameters)  # compiles, and touches every page
        return _least_seconds(lambda: plan.expect(parameters), _LEAST_REPEATS, _SECONDS_PER_SIZE)


def _least_seconds(function: Callable[[], object], repeats: int, budget: float = 0.0) -> float:
    """Return the least time of so many calls, and of more while they stay in the budget."""
    times: list[float] = []
    while len(times) < repeats or (sum(times) < budget and len(times) < _MOST_REPEATS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)
