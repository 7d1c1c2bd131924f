"""The cost of E-steps against the size of the problem, measured on this machine."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from fastem.engines import ENGINES
from fastem.parameters import Shape
from fastem.profiling.growth import Slope, crossings, slope_in_rows, slope_in_units
from fastem.profiling.stopwatch import ScalingRow, Stopwatch
from fastem.runtime import effective_n_jobs

_FEWEST_FOR_A_SLOPE = 3
_ROUNDS = 2  # over all sizes: what slows the machine for a while hits one of them alone


class ScalingFit(NamedTuple):
    """How the time of one engine grows along one direction.

    Attributes
    ----------
    engine : str
    n_samples : int or None
        The rows at which time was followed along hidden units.
    n_hidden : int or None
        The hidden units at which it was followed along rows.
    slope : Slope or None
        Of ``log2(seconds)`` per unit, or of ``log(seconds)`` against ``log(n_samples)``; with
        its standard error and the sizes it rests on. None where fewer than three sizes take
        ten times the overhead: the time of one unit on as many rows, or of as many units on
        one row per class.
    """

    engine: str
    n_samples: int | None
    n_hidden: int | None
    slope: Slope | None


class ScalingCrossing(NamedTuple):
    """Where two engines take the same time.

    Attributes
    ----------
    engines : tuple of two str
    n_samples : int
    n_hidden : float
        Between two sizes that were measured.
    seconds : float
    """

    engines: tuple[str, str]
    n_samples: int
    n_hidden: float
    seconds: float


class ScalingSkip(NamedTuple):
    """A problem that an engine refused, and its reason."""

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
        Growth with hidden units, one per engine and number of rows.
    by_samples : list of ScalingFit
        Growth with rows, one per engine and number of hidden units; empty where fewer than
        three numbers of rows were asked for.
    crossings : list of ScalingCrossing
    skipped : list of ScalingSkip

    Examples
    --------
    >>> from fastem import profile_scaling
    >>> profile = profile_scaling(hidden=[2, 3], samples=[50], n_threads=1)
    >>> profile.by_hidden[0].slope is None  # two sizes are too few
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
        """Return the same in plain Python values, as JSON takes them."""
        return {
            "rows": [row._asdict() for row in self.rows],
            "by_hidden": [_fit_to_dict(fit) for fit in self.by_hidden],
            "by_samples": [_fit_to_dict(fit) for fit in self.by_samples],
            "crossings": [{**x._asdict(), "engines": list(x.engines)} for x in self.crossings],
            "skipped": [skip._asdict() for skip in self.skipped],
        }


def profile_scaling(
    hidden: Iterable[int] = range(4, 17),
    samples: Iterable[int] = (10_000,),
    classes: int = 3,
    n_features: int = 20,
    engines: str | Sequence[str] = "all",
    n_threads: int | None = None,
    seed: int = 0,
    callback: Callable[[int, int, str], Any] | None = None,
) -> ScalingProfile:
    """Time E-steps with gradients over sizes, and fit how the times grow.

    Parameters
    ----------
    hidden, samples : iterable of int
        Hidden units and rows; every pair of them is a problem.
    classes, n_features : int
    engines : "all", str, or list of str
        Names as in ``e_step``; "all" are the exact ones.
    n_threads : int, optional
        None for all cores.
    seed : int
        Of the networks, and of the rows that are drawn from them.
    callback : callable, optional
        Called with the number of timings done, that of all, and the problem that comes next
        in words; at the end with an empty string.

    Returns
    -------
    profile : ScalingProfile
        A problem that an engine refuses, as where its tables exceed the memory, is in
        ``skipped`` with the reason.

    Raises
    ------
    ValueError
        If a size is not a positive integer, there are fewer than two classes, an engine is
        unknown, or there is nothing to measure.

    See Also
    --------
    ScalingDisplay : Draws the profile.

    Notes
    -----
    In each of two rounds over all sizes, a size is run once to compile and to touch its
    memory, and then for 0.15 s, at least twice; the least time counts. A table of ``2**m``
    configurations is filled whatever the number of rows, and rows are read whatever the number
    of units: slopes leave out the sizes that still show that. See `ScalingFit`.

    Examples
    --------
    >>> from fastem import profile_scaling
    >>> profile = profile_scaling(range(2, 5), [50, 100], engines="enumeration", n_threads=1)
    >>> [(row.n_samples, row.n_hidden, row.n_configs) for row in profile.rows]
    [(50, 2, 4), (50, 3, 8), (50, 4, 16), (100, 2, 4), (100, 3, 8), (100, 4, 16)]
    >>> all(row.seconds > 0 for row in profile.rows)
    True
    """
    hidden, samples = _sizes("hidden", hidden), _sizes("samples", samples)
    classes = _integer("classes", classes, 2)
    names = engine_names(engines, classes)
    n_features = _integer("n_features", n_features, 1)
    seed = _integer("seed", seed, 0)
    if n_threads is not None:
        _integer("n_threads", n_threads, 1)
    stopwatch = Stopwatch(classes, n_features, effective_n_jobs(n_threads), seed)
    grid = [(name, n, m) for name in names for n in samples for m in hidden]
    overheads = [(name, n, 1) for name in names for n in samples]
    if len(samples) >= _FEWEST_FOR_A_SLOPE:
        overheads += [(name, classes, m) for name in names for m in hidden]
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
    """Return the names that "all", a name, or several stand for, each once.

    "all" are the exact ones that can do so many classes.

    Raises
    ------
    ValueError
        If one is unknown, or there is none.
    """
    given = list(engines) if isinstance(engines, list | tuple) else [engines]
    small = Shape(n_features=1, hidden_layer_sizes=(2,), n_classes=n_classes)
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
    g, asked = stopwatch.n_classes, [(e, n, m) for e in names for n in samples for m in hidden]

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
        [stopwatch.row(*x) for x in asked if x in times],
        list(fits()),
        list(fits_in_rows()) if len(samples) >= _FEWEST_FOR_A_SLOPE else [],
        [
            ScalingCrossing((a, b), n, *crossing)
            for a, b in combinations(names, 2)
            for n in samples
            for crossing in crossings(curve(a, n), curve(b, n))
        ],
        [ScalingSkip(*x, stopwatch.refusals[x]) for x in asked if x in stopwatch.refusals],
    )


def _unzip(curve: dict[int, float]) -> tuple[list[int], list[float]]:
    return list(curve), list(curve.values())


def _fit_to_dict(fit: ScalingFit) -> dict[str, Any]:
    return {**fit._asdict(), "slope": None if fit.slope is None else fit.slope._asdict()}


def _sizes(name: str, sizes: Iterable[int]) -> list[int]:
    """Return sizes in ascending order, each once."""
    if isinstance(sizes, str) or not isinstance(sizes, Iterable):
        raise ValueError(f"{name} must be a list of positive integers; got {sizes!r}.")
    found = sorted({_integer(name, size, 1) for size in sizes})
    if not found:
        raise ValueError(f"{name} must hold at least one size; it is empty.")
    return found


def _integer(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < least:
        raise ValueError(f"{name} must be an integer of at least {least}; got {value!r}.")
    return int(value)
