"""Times of single E-steps, and the rate of a matrix product as their reference."""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.linalg import blas
from threadpoolctl import threadpool_limits

from fastem.engines import ENGINES, Engine
from fastem.parameters import Parameters, Shape
from fastem.rows import TrainingRows, sort_rows
from fastem.runtime import check_memory

_PRODUCT_SIZE = 1000
_PRODUCT_REPEATS = 3
_SETTLING_SECONDS = 0.05  # BLAS threads keep spinning for about 30 ms after a product
_MIN_REPEATS = 2
_MAX_REPEATS = 500
_SECONDS_PER_SIZE = 0.15  # short calls are repeated for this time


class ScalingRow(NamedTuple):
    """Time and memory of one engine on one problem.

    Attributes
    ----------
    engine : str
    n_samples, n_hidden, n_configs, n_classes, n_threads : int
        ``n_configs`` is ``2**n_hidden`` for every engine.
    seconds : float
        Minimum time of an E-step with gradients over several runs, without compilation.
    ns_per_configuration : float
        Nanoseconds per row and configuration.
    share_of_dgemm : float or None
        Rate of ``6 n 2**m`` flops in ``seconds``, relative to ``dgemm_rate``. None for engines
        that do not enumerate configurations.
    dgemm_rate : float, flops per second
        Rate of float64 matrix products of SciPy's BLAS library on the same threads: the maximum
        over measurements between the problems.
    bytes : int
        Memory of the plan, as estimated by the engine.
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
) -> tuple[TrainingRows, Parameters]:
    """Draw a network with log-odds of order one, and rows and labels from this network."""
    hidden = tuple(rng.normal(size=size) / np.sqrt(size[0]) for size in shape.hidden_shapes)
    output = rng.normal(size=shape.output_shape)
    parameters = Parameters(hidden, output)
    X = states = rng.normal(size=(n_samples, shape.n_features))
    for weights in hidden:
        log_odds = states @ weights[:-1] + weights[-1]
        states = rng.logistic(size=log_odds.shape) < log_odds
    logits = states @ output[:-1] + output[-1]
    y = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)
    return sort_rows(X, y, np.ones(n_samples), shape), parameters


def dgemm_rate(n_threads: int) -> float:
    """Return the rate of a float64 matrix product, in flops per second.

    The product is ``dgemm`` of SciPy's BLAS library, which the compiled kernels call, on
    ``n_threads`` threads of this library. It is the yardstick of all shares of dgemm. An E-step
    that consisted only of its products would reach this rate.
    """
    A, B = np.random.default_rng(0).normal(size=(2, _PRODUCT_SIZE, _PRODUCT_SIZE))
    A, B, C = (np.asfortranarray(array) for array in (A, B, np.empty_like(A)))
    with threadpool_limits(limits=n_threads, user_api="blas"):
        seconds = _minimum_seconds(
            lambda: blas.dgemm(1.0, A, B, c=C, overwrite_c=1), _PRODUCT_REPEATS
        )
    if n_threads > 1:
        time.sleep(_SETTLING_SECONDS)
    return 2 * _PRODUCT_SIZE**3 / seconds


class Stopwatch:
    """Measures engines on problems; results by (engine, rows, hidden units).

    Parameters
    ----------
    n_classes, n_features, n_threads : int
    seed : int

    Attributes
    ----------
    seconds : dict to float
        Minimum time over all rounds.
    refusals : dict to str
        Reasons why an engine could not solve a problem.
    """

    def __init__(self, n_classes: int, n_features: int, n_threads: int, seed: int) -> None:
        self.n_classes, self.n_threads = n_classes, n_threads
        self._n_features, self._seed = n_features, seed
        self._rate = 0.0
        self.seconds: dict[tuple[str, int, int], float] = {}
        self.refusals: dict[tuple[str, int, int], str] = {}

    def time(self, name: str, n_samples: int, n_hidden: int) -> None:
        """Measure a problem, or store why the engine rejects it; later calls can lower the time."""
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
        """Return the results for a problem that was measured."""
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
        """Measure the rate of products again; the maximum is the least disturbed one."""
        self._rate = max(self._rate, dgemm_rate(self.n_threads))

    def _seconds(self, engine: Engine, shape: Shape, n_samples: int) -> float:
        check_memory(
            f"n_samples={n_samples}",
            "for the rows",
            "Use fewer rows.",
            8 * n_samples * (3 * shape.n_inputs + 3 * shape.first + 3 * shape.n_outputs),
        )
        sizes = self._seed, n_samples, shape.n_features, shape.first, shape.n_outputs
        rows, parameters = draw_problem(shape, n_samples, np.random.default_rng(sizes))
        plan = engine.seeded(self._seed).plan(rows, shape, self.n_threads)
        plan.expect(parameters)  # compiles, and allocates all memory
        return _minimum_seconds(lambda: plan.expect(parameters), _MIN_REPEATS, _SECONDS_PER_SIZE)


def _minimum_seconds(function: Callable[[], object], repeats: int, budget: float = 0.0) -> float:
    """Return the minimum time of at least ``repeats`` calls, more within ``budget`` seconds."""
    times: list[float] = []
    while len(times) < repeats or (sum(times) < budget and len(times) < _MAX_REPEATS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)
