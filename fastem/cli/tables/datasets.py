"""Data sets of the command line: those that come with scikit-learn, and tables in files."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.cli.messages import listed
from fastem.cli.tables.columns import ROW, are_empty, feature_frame
from fastem.cli.tables.headers import REMOVE_ABOVE
from fastem.cli.tables.labels import check_numbers, missing_values, targets
from fastem.cli.tables.reading import TableOptions
from fastem.cli.tables.sources import BUILT_IN, shown_name
from fastem.cli.tables.table import (
    Table,
    as_text,
    feature_errors,
    of_kinds,
    read_table,
    without_index,
)
from fastem.cli.tables.text_notes import announce_texts
from fastem.cli.tables.thousands import check_thousands
from fastem.parameters import Array
from fastem.preparation import missing_entries

if TYPE_CHECKING:
    import pandas

DEFAULT_TARGET = "label"
_AS_WRITTEN = TableOptions()


class Dataset(NamedTuple):
    """Features and targets: labels, numbers or counts.

    Attributes
    ----------
    name : str
        Name of the data set, or path of the file.
    X : array or DataFrame (n_samples, n_features)
        Built-in data: finite numbers. Tables: a DataFrame whose columns are numbers (float64, NaN
        is missing), text (object with str, NaN is missing) or booleans (bool, or object with bool
        and NaN). Values are missing only if ``impute`` is True.
    y : array (n_samples,)
        Labels as written in the source, int or str; or numbers or counts, float64.
    feature_names : list of str
    target : str or None
        Name of the target column; None for built-in data.
    task : {"class", "regression", "count"}, default="class"
    impute : bool, default=False
        Whether missing values are to be replaced.
    """

    name: str
    X: Any
    y: NDArray[Any]
    feature_names: list[str]
    target: str | None
    task: str = "class"
    impute: bool = False

    def describe(self) -> dict[str, Any]:
        """Return name, sizes and the targets as plain Python values that JSON can store."""
        n_rows, n_features = self.X.shape
        sizes = {"name": self.name, "rows": n_rows, "features": n_features}
        if self.task == "class":
            return sizes | {"classes": np.unique(self.y).tolist()}
        figures = {
            "minimum": self.y.min(),
            "maximum": self.y.max(),
            "mean": self.y.mean(),
            "standard_deviation": self.y.std(),
        }
        return sizes | {
            "task": self.task,
            "y": {name: float(value) for name, value in figures.items()},
        }


def read_dataset(
    source: str,
    target: str | None = None,
    task: str | None = None,
    table: TableOptions = _AS_WRITTEN,
) -> Dataset:
    """Read features and targets.

    Parameters
    ----------
    source : str
        One of `BUILT_IN`, the path of a table (text or parquet), or ``-`` for standard input.
    target : str, optional
        The target column of a table, by default ``label``. Ignored for built-in data.
    task : {"class", "regression", "count"}, optional
        By default as `fastem.cli.tables.labels.targets` chooses.
    table : TableOptions, optional
        Only ``drop`` concerns built-in data.

    Returns
    -------
    dataset : Dataset
        The features are all columns except the target, in the order of the file, without columns
        that count the rows. Labels are int if all of them are whole numbers without leading
        zeros; otherwise they are the text of the file.

    Raises
    ------
    ValueError
        If the data cannot be used. The message contains the file and all columns that are at
        fault.
    OSError
        If the file cannot be read.
    ImportError
        If the source is a table and pandas is not installed, or parquet without pyarrow.
    """
    if source in BUILT_IN:
        return _read_built_in(source, task, table.drop)
    name, wanted = shown_name(source), DEFAULT_TARGET if target is None else target.strip()

    def read_as_text(names: list[str], separated_by: str) -> set[str]:
        if wanted not in names:
            raise ValueError(
                f"{name} has no column {wanted!r}; name the label column with --target. Its "
                f"columns are {listed(names)}{separated_by}"
                f"{'' if separated_by.endswith(REMOVE_ABOVE) else _hint(names, table)}"
            )
        return {wanted}

    found = read_table(source, table, read_as_text)
    frame = found.frame
    names = [column for column in frame.columns if column != wanted]
    dropped = dropped_columns(name, table.drop, names, wanted)
    names = [column for column in names if column not in dropped]
    if not names:
        left = f" after --drop {', '.join(table.drop)}" if dropped else ""
        raise ValueError(f"{name} has no column except the label {wanted!r}{left}")
    _check_empty_rows(name, frame, wanted)
    X, problems = feature_frame(frame[names], table.mark, typed=found.typed)
    used = names if task == "class" else [*names, wanted]
    errors = check_thousands(name, found.thousands, used, likely=found.thousands_likely)
    if errors:  # a problem of the same columns is a consequence
        problems = {key: text for key, text in problems.items() if key not in found.thousands}
    errors += feature_errors(name, X, problems, table.impute, table.mark)
    try:
        y, task = targets(name, wanted, as_text(frame[wanted]), task, table.mark)
    except ValueError as error:
        errors.insert(0, str(error))
    if errors:
        raise ValueError(". ".join(errors))
    X = without_index(X)
    announce_texts(X, table.mark)
    return Dataset(name, X, y, list(X.columns), wanted, task, table.impute)


def read_rows(
    source: str,
    kinds: Mapping[str, str],
    table: TableOptions = _AS_WRITTEN,
    choose: Callable[[list[str]], list[str]] = lambda names: [],
) -> tuple["pandas.DataFrame", "pandas.DataFrame"]:
    """Read the rows of a table for predictions of a model.

    Parameters
    ----------
    source : str
        The path of a table, or ``-`` for standard input.
    kinds : dict of str to {"number", "text", "boolean"}
        Kinds of the columns of the model, by their names.
    table : TableOptions, optional
        ``drop`` and ``impute`` have no effect.
    choose : callable, optional
        Returns, from the names of the columns of the table, those of ``written``.

    Returns
    -------
    frame : DataFrame (n_samples, n_columns)
        One row for every row of the table. It contains all columns of the table that have names.
        Columns of the model have the kind that the model expects; NaN is a missing value. All
        others contain the text of the table; empty fields are "".
    written : DataFrame (n_samples, n_chosen)
        The chosen columns as they are written in the table.

    Raises
    ------
    ValueError
        As in `read_dataset`; and if columns of the model are missing, or have values that are
        not of the expected kind.
    OSError, ImportError
        As in `read_dataset`.
    """
    name = shown_name(source)

    def read_as_text(names: list[str], separated_by: str) -> set[str]:
        hint = _hint(names, table) if table.decimal == "," else ""
        check_columns(name, kinds, names, separated_by + hint)
        return {column for column in names if kinds.get(column, "text") == "text"}

    found = read_table(source, table, read_as_text, kinds, choose)
    numbers = [column for column, kind in kinds.items() if kind == "number"]
    _refuse_thousands(name, found, numbers)
    return of_kinds(name, found.frame, kinds, table.mark), found.written


def read_features(source: str, n_features: int, table: TableOptions = _AS_WRITTEN) -> Array:
    """Read the features of a model that has no names of columns.

    Parameters
    ----------
    source : str
        The path of a table, or ``-`` for standard input.
    n_features : int
        Required number of columns.
    table : TableOptions, optional
        ``drop`` and ``impute`` have no effect.

    Returns
    -------
    X : array (n_samples, n_features)
        Finite numbers, in the order of the columns.

    Raises
    ------
    ValueError, OSError, ImportError
        As in `read_dataset`.
    """
    name = shown_name(source)

    def read_as_text(found: list[str], separated_by: str) -> tuple[str, ...]:
        check_number(name, n_features, len(found), separated_by)
        return ()

    raw = read_table(source, table, read_as_text)
    frame = raw.frame
    check_number(name, n_features, frame.shape[1])  # without a column that counts the rows
    _refuse_thousands(name, raw, frame.columns)
    X = of_kinds(name, frame, dict.fromkeys(frame.columns, "number"), table.mark)
    found = missing_entries(X)
    if found:
        raise ValueError(missing_values(name, found))
    return X.to_numpy(dtype=np.float64)


def with_names(X: Array, names: Sequence[str]) -> Any:
    """Return X as a DataFrame, so that an estimator stores the names of its features.

    Without pandas, X is returned unchanged.
    """
    try:
        import pandas as pd
    except ImportError:
        return X
    return pd.DataFrame(X, columns=list(names), copy=False)


def _read_built_in(name: str, task: str | None = None, drop: tuple[str, ...] = ()) -> Dataset:
    from sklearn import datasets

    data = getattr(datasets, f"load_{name}")()
    names = [str(feature) for feature in data.feature_names]
    X = np.ascontiguousarray(data.data, dtype=np.float64)
    dropped = dropped_columns(name, drop, names)
    if dropped:
        kept = [j for j, feature in enumerate(names) if feature not in dropped]
        if not kept:
            raise ValueError(f"{name} has no feature after --drop {', '.join(drop)}")
        X, names = np.ascontiguousarray(X[:, kept]), [names[j] for j in kept]
    has_labels = "target_names" in data
    task = task or ("class" if has_labels else "regression")
    y = data.target_names[data.target] if has_labels else data.target
    if task == "class":
        y = y if has_labels else y.astype(np.int64)
        return Dataset(name, X, y, names, None)
    if y.dtype.kind not in "iuf":
        raise ValueError(f"{name} has the labels {y[0]!s}, ...; --task {task} needs numbers")
    y = y.astype(np.float64)
    check_numbers(f"{name}: the target", y, task)
    return Dataset(name, X, y, names, None, task)


def _check_empty_rows(source: str, frame: "pandas.DataFrame", target: str) -> None:
    """Raise ValueError if rows contain no value at all."""
    likely = np.flatnonzero(are_empty(frame[target]))
    is_empty = np.ones(len(likely), dtype=bool)
    for name in frame.columns:
        is_empty &= are_empty(frame[name].iloc[likely])
    rows = [str(row + 1) for row in likely[is_empty]]
    if rows:
        what = f"row {rows[0]} has" if len(rows) == 1 else f"rows {listed(rows)} have"
        raise ValueError(
            f"{source}: {what} no values {ROW}: remove {'it' if len(rows) == 1 else 'them'}"
        )


def _refuse_thousands(source: str, table: Table, used: Collection[str]) -> None:
    """Raise ValueError if points probably separate thousands in columns of numbers."""
    errors = check_thousands(source, table.thousands, used, likely=table.thousands_likely)
    if errors:
        raise ValueError(errors[0])


def _hint(names: list[str], table: TableOptions) -> str:
    """Return which option may help if these are not the names of the columns."""
    if table.decimal == "," and table.sep is None and len(names) == 1 and "," in names[0]:
        return (
            "; with --decimal , the comma cannot separate fields: leave out this option if commas "
            "separate the fields of the file"
        )
    if table.header is None and any(map(str.isdigit, names)):
        return "; if the first line contains data, give --no-header"
    if table.sep is None and len(names) == 1 and len(names[0].split()) > 1:
        return "; if blanks separate the fields, give --sep space"
    return ""


def check_number(source: str, wanted: int, found: int, separated_by: str = "") -> None:
    """Raise ValueError if a source has not the number of columns that a model needs."""
    if found != wanted:
        raise ValueError(
            f"{source} has {found} columns{separated_by}, but the model was fitted on {wanted} "
            "without names: the file must contain exactly these columns, in the same order"
        )


def check_columns(
    source: str, names: Collection[str], columns: Sequence[str], separated_by: str = ""
) -> None:
    """Raise ValueError if a source lacks columns of a model."""
    known = set(columns)
    missing = [name for name in names if name not in known]
    if missing:
        raise ValueError(
            f"{source} lacks columns of the model{separated_by}. Missing: {listed(missing)}"
        )


def dropped_columns(
    source: str, drop: tuple[str, ...], columns: Sequence[str], target: str | None = None
) -> set[str]:
    """Return the columns of ``--drop``; raise ValueError if a name is unknown or the target."""
    dropped: set[str]
    known, dropped = set(columns), set()
    for text in drop:
        dropped.update([text] if text in known else map(str.strip, text.split(",")))
    if target in dropped:
        raise ValueError(f"argument --drop: {target!r} is the target")
    unknown = sorted(dropped - known)
    if unknown:
        raise ValueError(
            f"argument --drop: {source} has no column {', '.join(map(repr, unknown))}. Its columns "
            f"are {listed(list(columns))}"
        )
    return dropped
