"""The rows of a comparison: repeated random splits into a training part and a test part."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.cli.tables.datasets import Dataset
from fastem.parameters import Array

_FEWEST_ROWS = 10  # training rows of numbers
_N_SEEDS = 2**32
_USUAL_EXPONENT = 300  # of two


class Split(NamedTuple):
    """One split of the rows.

    Attributes
    ----------
    seed : int
        Seed of the split, and of the starting values of the methods.
    X_train, X_test : array (n_samples, n_features)
        Features as the methods take them.
    y_train, y_test : array (n_samples,)
        Labels, numbers or counts.
    """

    seed: int
    X_train: Array
    X_test: Array
    y_train: NDArray[Any]
    y_test: NDArray[Any]


def split_rows(dataset: Dataset, test_size: float, n_splits: int, seed: int) -> Iterator[Split]:
    """Yield the splits of a comparison, whose seeds are ``seed``, ``seed + 1``, ...

    Parameters
    ----------
    dataset : Dataset
        If X is a DataFrame of raw columns, it is prepared separately for every split, with what
        the training rows of the split contain.
    test_size : float
        Share of the rows for testing; the number of test rows is rounded up. The split is
        stratified if the task is "class".
    n_splits : int
    seed : int

    Raises
    ------
    ValueError
        Before the first split: if a class has only one row, if a part has fewer rows than
        there are classes, if there are fewer than ten training rows of numbers, or if all
        training rows of a split have the same target.
    """
    (_check_classes if dataset.task == "class" else _check_numbers)(dataset, test_size)
    seeds = [(seed + k) % _N_SEEDS for k in range(n_splits)]
    parts = [_parts(dataset, test_size, s) for s in seeds]
    for s, (train, _) in zip(seeds, parts, strict=True):
        _check_targets(dataset, dataset.y[train], s)
    for s, (train, test) in zip(seeds, parts, strict=True):
        X_train, X_test = _in_usual_units(*_features(dataset, s, train, test))
        yield Split(s, X_train, X_test, dataset.y[train], dataset.y[test])


def _parts(dataset: Dataset, test_size: float, seed: int) -> list[NDArray[np.intp]]:
    from sklearn.model_selection import train_test_split

    labels = dataset.y if dataset.task == "class" else None
    rows = np.arange(len(dataset.y))
    return train_test_split(rows, test_size=test_size, random_state=seed, stratify=labels)


def _features(
    dataset: Dataset, seed: int, train: NDArray[np.intp], test: NDArray[np.intp]
) -> list[Array]:
    """Return the features of both parts, prepared with the training rows."""
    X = dataset.X
    if not hasattr(X, "iloc"):
        return [X[train], X[test]]
    from fastem.preparation import prepare

    try:
        preparation = prepare(X.iloc[train], impute=dataset.impute)
        frames = [preparation.features(X.iloc[rows]) for rows in (train, test)]
    except ValueError as error:
        raise ValueError(f"{dataset.name}: rows of the split of seed {seed}: {error}") from error
    return [np.ascontiguousarray(frame.to_numpy(dtype=np.float64)) for frame in frames]


def _in_usual_units(*parts: Array) -> list[Array]:
    """Multiply features beyond 1e90 or below 1e-90 by a power of two.

    All methods standardise their features, or do not depend on their unit. In scikit-learn the
    squares of such numbers overflow or become 0.
    """
    largest = np.max([np.abs(part).max(axis=0) for part in parts], axis=0)
    exponents = np.frexp(largest)[1]
    exponents = np.where(np.abs(exponents) > _USUAL_EXPONENT, -exponents, 0)
    return [np.ldexp(part, exponents) if exponents.any() else part for part in parts]


def _sizes(dataset: Dataset, test_size: float) -> tuple[int, int]:
    """Return the numbers of training and test rows."""
    n_test = math.ceil(test_size * len(dataset.y))
    return len(dataset.y) - n_test, n_test


def _check_classes(dataset: Dataset, test_size: float) -> None:
    classes, counts = np.unique(dataset.y, return_counts=True)
    if counts.min() < 2:
        single = classes[counts.argmin()]
        is_count = classes.dtype.kind == "i" and classes.min() >= 0 and dataset.target is not None
        remedy = "; if the values are numbers, give --task count or --task regression"
        raise ValueError(
            f"{dataset.name}: class {str(single)!r} has only one row; a comparison needs at least "
            f"one row of every class for training and one for testing{remedy if is_count else ''}"
        )
    n_train, n_test = _sizes(dataset, test_size)
    n_classes = len(classes)
    if min(n_train, n_test) < n_classes:
        # at least two rows of every class: 0.5 is always in the range
        least = math.ceil(1000 * n_classes / len(dataset.y)) / 1000
        few, part = (n_train, "training") if n_train < n_classes else (n_test, "testing")
        raise ValueError(
            f"{dataset.name}: --test-size {test_size:g} leaves {few} of {len(dataset.y)} rows for "
            f"{part}; both parts need at least {n_classes}, the number of classes: use a "
            f"--test-size from {min(least, 0.5):g} to {max(1 - least, 0.5):g}"
        )


def _check_numbers(dataset: Dataset, test_size: float) -> None:
    n_train, _ = _sizes(dataset, test_size)
    if n_train >= _FEWEST_ROWS:
        return
    n_rows = len(dataset.y)
    remedy = "use a table with more rows"
    if n_rows > _FEWEST_ROWS:
        most = math.floor(1000 * (1 - _FEWEST_ROWS / n_rows)) / 1000
        remedy = f"use a --test-size of at most {most:g}"
    raise ValueError(
        f"{dataset.name}: --test-size {test_size:g} leaves {n_train} of {n_rows} rows for "
        f"training; a comparison of regressions needs at least {_FEWEST_ROWS}: {remedy}"
    )


def _check_targets(dataset: Dataset, y_train: NDArray[Any], seed: int) -> None:
    if (y_train == y_train[0]).all():
        kind = "class" if dataset.task == "class" else "target"
        value = repr(str(y_train[0])) if dataset.task == "class" else f"{y_train[0]:g}"
        raise ValueError(
            f"{dataset.name}: with seed {seed}, all training rows have the {kind} {value}; a "
            "comparison needs different ones. Use another --seed or a smaller --test-size"
        )
