"""What workers do with the partitions of a table: kinds of columns, features and figures."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.cli.tables.columns import LIKE_IDENTIFIERS, column_of_kind, feature_column
from fastem.cli.tables.table import as_text
from fastem.preparation import Preparation

if TYPE_CHECKING:
    import pandas


class ColumnPart(NamedTuple):
    """A column in one partition.

    Attributes
    ----------
    kind : {"number", "boolean", "text", "empty"}
    problem : str
        Why the column cannot be a feature, or empty.
    n_given : int
        Number of rows with a value.
    first_missing : int
        First row without a value, counted from 1; 0 if there is none.
    ends : tuple of float or None
        First and last value if every value is larger by 1 than the previous one.
    """

    kind: str
    problem: str
    n_given: int
    first_missing: int
    ends: tuple[float, float] | None


class TablePart(NamedTuple):
    """The columns of one partition, and its targets as text."""

    n_rows: int
    columns: dict[str, ColumnPart]
    target: "pandas.Series"


def describe_part(
    frame: "pandas.DataFrame", names: Sequence[str], target: str, decimal: str, typed: bool
) -> TablePart:
    """Return what a partition says about the columns of its table."""
    columns = {name: _column_part(frame[name], decimal, typed) for name in names}
    return TablePart(len(frame), columns, as_text(frame[target]).reset_index(drop=True))


def _column_part(column: "pandas.Series", decimal: str, typed: bool) -> ColumnPart:
    import pandas as pd

    values, problem, _ = feature_column(column.reset_index(drop=True), decimal, typed=typed)
    missing = pd.isna(values)
    present = values[~missing]
    kind, ends = "text", None
    if not len(present):
        kind = "empty"
    elif values.dtype == np.float64:
        kind = "number"
        if len(present) == len(values) and (np.diff(values) == 1.0).all():
            ends = float(values[0]), float(values[-1])
    elif isinstance(present[0], bool | np.bool_):
        kind = "boolean"
    if problem.endswith(LIKE_IDENTIFIERS):  # depends on the number of rows
        problem = ""
    first = int(np.argmax(missing)) + 1 if missing.any() else 0
    return ColumnPart(kind, problem, len(present), first, ends)


def typed_part(
    frame: "pandas.DataFrame", kinds: Mapping[str, str], decimal: str
) -> "pandas.DataFrame":
    """Return the features of a partition in the kinds that they have in the whole table.

    Raises
    ------
    ValueError
        If a value is of another kind.
    """
    import pandas as pd

    out = {}
    for name, kind in kinds.items():
        values, problem, _ = column_of_kind(frame[name].reset_index(drop=True), kind, decimal)
        if problem:
            raise ValueError(f"column {name!r} {problem} of a partition")
        out[name] = pd.Series(values, dtype=values.dtype)
    return pd.DataFrame(out, index=range(len(frame)), copy=False)


def features_of(
    frame: "pandas.DataFrame", kinds: Mapping[str, str], decimal: str, preparation: Any
) -> "pandas.DataFrame":
    """Return the features of the model for the rows of a partition."""
    prepared = Preparation.from_json(preparation)
    return prepared.features(typed_part(frame, kinds, decimal))


def targets_of(frame: "pandas.DataFrame", target: str, dtype: str, decimal: str) -> NDArray[Any]:
    """Return the targets of a partition: labels as int or str, or numbers."""
    texts = as_text(frame[target])
    if np.dtype(dtype).kind == "i":
        return np.array([int(text) for text in texts], dtype=dtype)
    if np.dtype(dtype).kind == "f":
        if decimal == ",":
            texts = texts.str.replace(",", ".")
        return texts.str.strip().astype(float).to_numpy()
    return np.array(list(texts), dtype=dtype)


def figures_of(X: "pandas.DataFrame", y: NDArray[Any], model: Any, task: str) -> list[float]:
    """Return sums over the rows of a partition.

    They are log-losses and correct labels of classes; otherwise log densities, squared errors, and
    half deviances.
    """
    if not len(y):
        return [0.0] * 3
    if task == "class":
        from fastem.cli.comparison.compare import mean_log_loss

        correct = float((model.predict(X) == y).sum())
        return [len(y) * mean_log_loss(model, X, y), correct, 0.0]
    mean = model.predict(X)
    half = np.zeros(1)
    if task == "count":
        from scipy.special import xlogy

        half = xlogy(y, y / mean) - y + mean
    squares = ((y - mean) ** 2).sum()
    return [float(model.log_density(X, y).sum()), float(squares), float(half.sum())]
