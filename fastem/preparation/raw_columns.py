"""Columns of a table in three kinds: numbers, text and booleans."""

import numbers
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas

KINDS = ("number", "text", "boolean")
_NUMBERS = ("integer", "floating", "mixed-integer-float", "decimal")  # names by pandas
_WANTED = {"number": "a finite number", "text": "text", "boolean": "True or False"}


def kinds_of(X: "pandas.DataFrame") -> dict[str, str]:
    """Return the kind of every column; a column of objects without any value is text.

    Raises
    ------
    ValueError
        If names are not text or occur twice, or if columns are of no kind, for example dates. The
        message lists all of them.
    """
    frame = _frame(X)
    odd = [name for name in frame.columns if not isinstance(name, str) or "\0" in name]
    if odd:
        raise ValueError(f"Names of columns must be text without NUL characters, got {odd[0]!r}.")
    twice = frame.columns[frame.columns.duplicated()].unique()
    if len(twice):
        raise ValueError(f"Names of columns occur twice: {_quoted(twice)}.")
    found = {
        name: "floating" if dtype == np.float64 else _pandas_kind(frame[name])
        for name, dtype in frame.dtypes.items()
    }
    others = [
        f"{name!r} ({kind})"
        for name, kind in found.items()
        if kind not in (*_NUMBERS, "boolean", "string", "empty")
    ]
    if others:
        raise ValueError(
            "Columns must hold numbers, text or booleans. Convert or drop these columns: "
            f"{', '.join(others)}."
        )
    kinds = {"boolean": "boolean", "string": "text", "empty": "text"}
    return {name: kinds.get(kind, "number") for name, kind in found.items()}


def raw_columns(
    X: "pandas.DataFrame", kinds: Mapping[str, str], impute: bool
) -> "pandas.DataFrame":
    """Return the named columns in one type for each kind, numbers first.

    Parameters
    ----------
    X : DataFrame (n_rows, any)
        Columns of any type that holds the right values: nullable and categorical types, booleans
        as 0 and 1. Columns without a kind are ignored.
    kinds : dict of str to {"number", "text", "boolean"}
    impute : bool
        Whether values may be missing.

    Returns
    -------
    frame : DataFrame (n_rows, n_columns)
        With the index of X. Numbers as float64. Text without blanks around it, and booleans as
        "False" and "True", as objects. NaN is a missing value in all of them. Text without other
        characters than blanks is a missing value.

    Raises
    ------
    ValueError
        If columns are absent, or hold values of another kind, or miss values and ``impute`` is
        False. The message lists all such columns.
    """
    import pandas as pd

    frame = _frame(X)
    absent = [name for name in kinds if name not in frame.columns]
    if absent:
        raise ValueError(f"The table lacks columns of the model: {_quoted(absent)}.")
    repeated = set(frame.columns[frame.columns.duplicated()])
    twice = [name for name in kinds if name in repeated]
    if twice:
        raise ValueError(f"Names of columns occur twice: {_quoted(twice)}.")
    numbers = [name for name, kind in kinds.items() if kind == "number"]
    values, wrong = _numbers(frame, numbers)
    others = {name: _CONVERSIONS[k](frame[name]) for name, k in kinds.items() if k != "number"}
    wrong += [name for name, column in others.items() if column is None]
    if wrong:
        complaints = [_complaint(name, kinds[name], frame[name]) for name in kinds if name in wrong]
        raise ValueError(f"Columns hold values of another kind: {'; '.join(complaints)}.")
    out = pd.DataFrame(values, index=frame.index, columns=numbers, copy=False)
    if others:
        # A Series of objects keeps its type; pandas may convert arrays of objects to strings.
        columns = {n: pd.Series(x, index=frame.index, dtype=object) for n, x in others.items()}
        out = pd.concat([out, pd.DataFrame(columns, index=frame.index)], axis=1)
    if not impute:
        refuse_entries(missing_entries(out[list(kinds)]))
    return out


def _frame(X: Any) -> "pandas.DataFrame":
    """Return X as a pandas DataFrame; other tables with named columns are copied."""
    import pandas as pd

    if isinstance(X, pd.DataFrame):
        return X
    if hasattr(X, "columns") and hasattr(X, "__getitem__"):
        return pd.DataFrame({name: np.asarray(X[name]) for name in X.columns})
    raise ValueError(
        f"X must be a pandas DataFrame with the columns of the model, got {type(X).__name__}."
    )


def _pandas_kind(column: "pandas.Series") -> str:
    from pandas.api.types import infer_dtype

    if not isinstance(column.dtype, np.dtype):  # nullable, categorical, ...
        column = column.astype(object)
    return infer_dtype(column, skipna=True)


def _numbers(frame: "pandas.DataFrame", names: list[str]) -> tuple[NDArray[np.float64], list[str]]:
    """Return number columns (n_rows, n_names), and the names of those that are not numbers."""
    chosen = frame[names]
    if (chosen.dtypes == np.float64).all():
        values = chosen.to_numpy(dtype=np.float64)
        infinite = np.isinf(values).any(axis=0)
        return values, [names[j] for j in np.flatnonzero(infinite)]
    columns = [_number(chosen[name]) for name in names]
    wrong = [name for name, column in zip(names, columns, strict=True) if column is None]
    return (np.empty((0, 0)) if wrong else np.column_stack(columns)), wrong


def _number(column: "pandas.Series") -> NDArray[np.float64] | None:
    if not _has_numbers("number", column):
        return None
    if not isinstance(column.dtype, np.dtype) or column.dtype.kind in "mM":  # only NaT, here
        column = column.astype(object)
    try:
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    except OverflowError:  # an integer above 1e308
        return None
    return None if np.isinf(values).any() else values


def _text(column: "pandas.Series") -> NDArray[np.object_] | None:
    import pandas as pd

    if _pandas_kind(column) not in ("string", "empty") and not column.isna().all():
        return None
    codes, different = pd.factorize(column.astype(object))  # the code of a missing value is -1
    texts = [text.strip() or np.nan for text in different]
    return np.array([*texts, np.nan], dtype=object)[codes]


def _boolean(column: "pandas.Series") -> NDArray[np.object_] | None:
    if not _has_numbers("boolean", column):
        return None
    missing = column.isna().to_numpy()
    present = column.astype(object).to_numpy()[~missing]
    if not all(value in (0, 1) for value in set(present)):
        return None
    out = np.full(len(column), np.nan, dtype=object)
    out[~missing] = np.array(["False", "True"], dtype=object)[present.astype(bool).astype(int)]
    return out


_CONVERSIONS = {"text": _text, "boolean": _boolean}


def _has_numbers(kind: str, column: "pandas.Series") -> bool:
    """Return whether all values are numbers or booleans, also if they have several types."""
    if _pandas_kind(column) in (*_NUMBERS, "boolean", "empty"):
        return True
    return all(_fits(kind, value) for value in column.dropna())


def _complaint(name: str, kind: str, column: "pandas.Series") -> str:
    """Describe the first value that is not of the kind of its column."""
    rows = zip(column.astype(object), column.isna(), strict=True)
    for row, (value, is_missing) in enumerate(rows, start=1):
        if not is_missing and not _fits(kind, value):
            text = f"{name!r} has {value!r} in row {row}, which is not {_WANTED[kind]}"
            is_code = kind == "text" and isinstance(value, numbers.Real)
            return f"{text} (read this column as text)" if is_code else text
    raise AssertionError("every value is of the kind of the column")


def _fits(kind: str, value: Any) -> bool:
    if kind == "text":
        return isinstance(value, str)
    if not isinstance(value, numbers.Real | Decimal | np.bool_):
        return False
    if kind == "boolean":
        return value in (0, 1)
    try:
        return bool(np.isfinite(float(value)))
    except OverflowError:
        return False


def missing_entries(frame: "pandas.DataFrame") -> list[tuple[str, int, int]]:
    """Return name, number of missing values and their first row for columns that have some."""
    missing = frame.isna().to_numpy()
    counts = missing.sum(axis=0)
    return [
        (frame.columns[j], int(counts[j]), int(np.argmax(missing[:, j])) + 1)
        for j in np.flatnonzero(counts)
    ]


def refuse_entries(entries: list[tuple[str, int, int]]) -> None:
    """Raise ValueError if there are missing values, as `missing_entries` returns them."""
    if entries:
        found = [f"{name!r} ({n}, the first in row {row})" for name, n, row in entries]
        raise ValueError(
            f"Values are missing in {', '.join(found)}. The model does not impute them: fit "
            "it with imputation (--impute), or remove these rows."
        )


def _quoted(names: Any) -> str:
    return ", ".join(map(repr, names))
