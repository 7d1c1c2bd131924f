"""Measure how the cost of E-steps grows with the size of the problem."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from fastem.engines import ENGINES
from fastem.parameters import Shape
from fastem.profiling.growth import Slope, crossings, slope_in_rows, slope_in_units
from fastem.profiling.stopwatch import ScalingRow, Stopwatch
from fastem.runtime import effective_n_jobs

_MIN_SIZES_FOR_SLOPE = 3
_ROUNDS = 2  # a disturbance of the machine affects a size in one round only


class ScalingFit(NamedTuple):
    """Growth of the time of one engine with hidden units, or with rows.

    Attributes
    ----------
    engine : str
    n_samples : int or None
        The fixed number of rows, for growth with hidden units.
    n_hidden : int or None
        The fixed number of hidden units, for growth with rows.
    slope : Slope or None
        Slope of ``log2(seconds)`` per unit, or of ``log(seconds)`` against
        ``log(n_samples)``, with its standard error and the sizes of the fit. None if fewer
        than three sizes take at least ten times the overhead. The overhead is the time of one
        unit on the same rows, or of the same units on one row per class.
    """

    engine: str
    n_samples: int | None
    n_hidden: int | None
    slope: Slope | None


class ScalingCrossing(NamedTuple):
    """A size at which two engines take the same time.

    Attributes
    ----------
    engines : tuple of two str
    n_samples : int
    n_hidden : float
        Interpolated between two measured sizes.
    seconds : float
    """

    engines: tuple[str, str]
    n_samples: int
    n_hidden: float
    seconds: float


class ScalingSkip(NamedTuple):
    """A problem that an engine rejected, with the reason."""

    engine: str
    n_samples: int
    n_hidden: int
    reason: str


class ScalingProfile(NamedTuple):
    """Result of `profile_scaling`.

    Attributes
    ----------
    rows : list of ScalingRow
    by_hidden : list of ScalingFit
        Growth with hidden units, for every engine and number of rows.
    by_samples : list of ScalingFit
        Growth with rows, for every engine and number of hidden units; empty for fewer than
        three numbers of rows.
    crossings : list of ScalingCrossing
    skipped : list of ScalingSkip

    Examples
    --------
    >>> from fastem import profile_scaling
    >>> profile = profile_scaling([2, 3], [50], n_jobs=1)
    >>> profile.by_hidden[0].slope is None  # two sizes are not enough
    True
    >>> profile.crossings, profile.skipped
    ([], [])
    """

    rows: list[ScalingRow]
    by_hidden: list[ScalingFit]
    by_samples: list[ScalingFit]
    crossings: list[ScalingCrossing]
    skipped: list[ScalingSkip]

    def to_dict(self) -> dict[str, Any]:
        """Return the profile as plain Python values that JSON can store."""
        return {
            "rows": [row._asdict() for row in self.rows],
            "by_hidden": [_fit_to_dict(fit) for fit in self.by_hidden],
            "by_samples": [_fit_to_dict(fit) for fit in self.by_samples],
            "crossings": [{**x._asdict(), "engines": list(x.engines)} for x in self.crossings],
            "skipped": [skip._asdict() for skip in self.skipped],
        }


def profile_scaling(
    hidden_layer_sizes: Iterable[int] = range(4, 17),
    n_samples: Iterable[int] = (10_000,),
    *,
    n_classes: int = 3,
    n_features: int = 20,
    engines: str | Sequence[str] = "all",
    n_jobs: int | None = None,
    random_state: int = 0,
    callback: Callable[[int, int, str], Any] | None = None,
) -> ScalingProfile:
    """Measure the time of E-steps with gradients for several sizes, and how it grows.

    Parameters
    ----------
    hidden_layer_sizes : iterable of int, default=range(4, 17)
        Sizes of the hidden layer. Every entry is a network of its own with one hidden layer.
    n_samples : iterable of int, default=(10_000,)
        Numbers of rows. Every pair of a layer size and a number of rows is one problem.
    n_classes, n_features : int, default=3 and 20
    engines : "all", str, or list of str, default="all"
        Names of engines as in the parameter ``e_step`` of `FastEMClassifier`; "all" selects
        the exact ones.
    n_jobs : int, optional
        Number of threads: None for all cores, -1 for all cores, -2 for all but one.
    random_state : int, default=0
        Seed of the networks and of the rows that are drawn from them.
    callback : callable, optional
        Called before every measurement with the number of finished measurements, the total
        number, and a description of the next problem. Called at the end with an empty
        description.

    Returns
    -------
    profile : ScalingProfile
        A problem that an engine rejects, for example because of its memory, is in ``skipped``
        with the reason.

    Raises
    ------
    ValueError
        If a size is not a positive integer, there are fewer than two classes, an engine is
        unknown, or there is nothing to measure.

    See Also
    --------
    ScalingDisplay : Plots the profile.

    Notes
    -----
    All problems are measured in two rounds. In each round a problem runs once to compile and
    to allocate its memory, and then at least twice and for 0.15 s; the result is the minimum
    time. Some work does not depend on the number of rows (the table of ``2**m``
    configurations), and some does not depend on the number of units (reading the rows).
    Slopes exclude the sizes that are dominated by such work, see `ScalingFit`.

    Examples
    --------
    >>> from fastem import profile_scaling
    >>> profile = profile_scaling(range(2, 5), [50, 100], engines="enumeration", n_jobs=1)
    >>> [(row.n_samples, row.n_hidden, row.n_configs) for row in profile.rows]
    [(50, 2, 4), (50, 3, 8), (50, 4, 16), (100, 2, 4), (100, 3, 8), (100, 4, 16)]
    >>> all(row.seconds > 0 for row in profile.rows)
    True
    """
    hidden = _sizes("hidden_layer_sizes", hidden_layer_sizes)
    samples = _sizes("n_samples", n_samples)
    n_classes = _integer("n_classes", n_classes, 2)
    names = engine_names(engines, n_classes)
    n_features = _integer("n_features", n_features, 1)
    seed = _integer("random_state", random_state, 0)
    stopwatch = Stopwatch(n_classes, n_features, effective_n_jobs(n_jobs), seed)
    grid = [(name, n, m) for name in names for n in samples for m in hidden]
    overheads = [(name, n, 1) for name in names for n in samples]
    if len(samples) >= _MIN_SIZES_FOR_SLOPE:
        overheads += [(name, n_classes, m) for name in names for m in hidden]
    problems = list(dict.fromkeys([*grid, *overheads]))
    rounds = problems * _ROUNDS
    for done, problem in enumerate(rounds):
        if callback is not None:
            callback(done, len(rounds), "{}, n = {}, m = {}".format(*problem))
        stopwatch.time(*problem)
    if callback is not None:
        callback(len(rounds), len(rounds), "")
    return _summary(stopwatch, names, samples, hidden)


def engine_names(engines: str | Sequence[str], n_classes: int) -> list[str]:
    """Return a list of engines without repetition.

    "all" is replaced by the exact engines that support this number of classes.

    Raises
    ------
    ValueError
        If a name is unknown, or there is none.
    """
    given = list(engines) if isinstance(engines, list | tuple) else [engines]
    small = Shape(n_features=1, hidden_layer_sizes=(2,), n_outputs=n_classes)
    able = [
        name
        for name, kind in ENGINES.items()
        if kind().is_exact and math.isfinite(kind().seconds(small, 1))
    ]
    names = [name for x in given for name in (able if x == "all" else [x])]
    choices = ", ".join(repr(choice) for choice in ("all", *ENGINES))
    for name in names:
        if not isinstance(name, str) or name not in ENGINES:
            raise ValueError(f"engines must be among {choices}; got {name!r}.")
    if not names:
        raise ValueError(f"engines must name at least one of {choices}; got none.")
    return list(dict.fromkeys(names))


def _summary(
    stopwatch: Stopwatch, names: list[str], samples: list[int], hidden: list[int]
) -> ScalingProfile:
    times = stopwatch.seconds
    g, problems = stopwatch.n_classes, [(e, n, m) for e in names for n in samples for m in hidden]

    def curve(name: str, n: int) -> dict[int, float]:
        return {m: times[name, n, m] for m in hidden if (name, n, m) in times}

    def fits() -> Iterator[ScalingFit]:
        for name in names:
            for n in samples:
                if known := curve(name, n):
                    slope = slope_in_units(*_unzip(known), times.get((name, n, 1), 0.0))
                    yield ScalingFit(name, n, None, slope)

    def fits_in_rows() -> Iterator[ScalingFit]:
        for name in names:
            for m in hidden:
                known = {n: times[name, n, m] for n in samples if (name, n, m) in times}
                if known:
                    slope = slope_in_rows(*_unzip(known), times.get((name, g, m), 0.0))
                    yield ScalingFit(name, None, m, slope)

    return ScalingProfile(
        [stopwatch.row(*x) for x in problems if x in times],
        list(fits()),
        list(fits_in_rows()) if len(samples) >= _MIN_SIZES_FOR_SLOPE else [],
        [
            ScalingCrossing((a, b), n, *crossing)
            for a, b in combinations(names, 2)
            for n in samples
            for crossing in crossings(curve(a, n), curve(b, n))
        ],
        [ScalingSkip(*x, stopwatch.refusals[x]) for x in problems if x in stopwatch.refusals],
    )


def _unzip(curve: dict[int, float]) -> tuple[list[int], list[float]]:
    return list(curve), list(curve.values())


def _fit_to_dict(fit: ScalingFit) -> dict[str, Any]:
    return {**fit._asdict(), "slope": None if fit.slope is None else fit.slope._asdict()}


def _sizes(name: str, sizes: Iterable[int]) -> list[int]:
    """Return sizes in ascending order without repetition."""
    if isinstance(sizes, str) or not isinstance(sizes, Iterable):
        raise ValueError(f"{name} must be a list of positive integers; got {sizes!r}.")
    found = sorted({_integer(name, size, 1) for size in sizes})
    if not found:
        raise ValueError(f"{name} must contain at least one size; it is empty.")
    return found


def _integer(name: str, value: Any, minimum: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}; got {value!r}.")
    return int(value)
