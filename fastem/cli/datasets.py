"""Read data sets: those that come with scikit-learn, and CSV files with a header."""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.parameters import Array

if TYPE_CHECKING:
    import pandas

BUILT_IN = ("iris", "wine", "breast_cancer", "digits", "diabetes")
TASKS = ("class", "regression", "count")
DEFAULT_TARGET = "label"
MOST_LABELS = 20
ROWS_PER_LABEL = 50
_WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})")  # int64 prints it as it was written
_CODE = re.compile(r"-?0[0-9]+")  # a postcode, for example
_NO_VALUE = {"na", "n/a", "nan", "null", "none", "?", "inf", "-inf"}  # among numbers
_MAX_NAMES_LISTED = 12


class Dataset(NamedTuple):
    """Features and targets: labels, numbers or counts.

    Attributes
    ----------
    name : str
        Name of the data set, or path of the file.
    X : array (n_samples, n_features)
        Finite numbers.
    y : array (n_samples,)
        Labels as written in the source, int or str; or numbers or counts, float64.
    feature_names : list of str
    target : str or None
        Name of the target column; None for built-in data.
    task : {"class", "regression", "count"}, default="class"
    """

    name: str
    X: Array
    y: NDArray[Any]
    feature_names: list[str]
    target: str | None
    task: str = "class"

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


def read_dataset(source: str, target: str | None = None, task: str | None = None) -> Dataset:
    """Read features and targets.

    Parameters
    ----------
    source : str
        One of `BUILT_IN`, or the path of a CSV file with a header.
    target : str, optional
        The target column of a CSV file, by default ``label``. Ignored for built-in data.
    task : {"class", "regression", "count"}, optional
        By default numbers are the task "regression" if they have fractions, or if there are more
        than 20 different whole numbers and, on average, fewer than 50 rows of each. All others are
        the task "class".

    Returns
    -------
    dataset : Dataset
        The features are all columns except the target, in the order of the file. Labels
        are int if all of them are whole numbers without leading zeros; otherwise they are the
        text of the file.

    Raises
    ------
    ValueError
        If the data cannot be used. The message contains the file and the column.
    OSError
        If the file cannot be read.
    ImportError
        If the source is a CSV file and pandas is not installed.
    """
    if source in BUILT_IN:
        return _read_built_in(source, task)
    wanted = DEFAULT_TARGET if target is None else target
    frame = _read_frame(source, label=wanted)
    columns = list(frame.columns)
    if wanted not in columns:
        hint = f"; name the label column with --target. {_list('Its columns are', columns)}"
        raise ValueError(f"{source} has no column {wanted!r}{hint}")
    names = [name for name in columns if name != wanted]
    if not names:
        raise ValueError(f"{source} has no column except the label {wanted!r}")
    y, task = _targets(source, wanted, frame, task)
    return Dataset(source, _numbers(source, frame, names), y, names, wanted, task)


def read_features(source: str, names: Sequence[str] | None, n_features: int) -> Array:
    """Read the features that a model was fitted on.

    Parameters
    ----------
    source : str
        As in `read_dataset`.
    names : sequence of str or None
        The columns to select; all other columns are ignored. None selects all columns in
        their order.
    n_features : int
        Required number of columns if ``names`` is None.

    Returns
    -------
    X : array (n_samples, n_features)

    Raises
    ------
    ValueError, OSError, ImportError
        As in `read_dataset`.
    """
    if source in BUILT_IN:
        dataset = _read_built_in(source)
        columns = dataset.feature_names
    else:
        frame = _read_frame(source)
        columns = list(frame.columns)
    if names is None:
        if len(columns) != n_features:
            raise ValueError(
                f"{source} has {len(columns)} columns, but the model was fitted on {n_features} "
                "without names: the file must contain exactly these columns, in the same order"
            )
        names = columns
    missing = [name for name in names if name not in columns]
    if missing:
        raise ValueError(f"{source} lacks columns of the model. {_list('Missing:', missing)}")
    if source in BUILT_IN:
        return dataset.X[:, [columns.index(name) for name in names]]
    return _numbers(source, frame, list(names))


def with_names(X: Array, names: Sequence[str]) -> Any:
    """Return X as a DataFrame, so that an estimator stores the names of its features.

    Without pandas, X is returned unchanged.
    """
    try:
        import pandas as pd
    except ImportError:
        return X
    return pd.DataFrame(X, columns=list(names), copy=False)


def _read_built_in(name: str, task: str | None = None) -> Dataset:
    from sklearn import datasets

    data = getattr(datasets, f"load_{name}")()
    names = [str(feature) for feature in data.feature_names]
    X = np.ascontiguousarray(data.data, dtype=np.float64)
    has_labels = "target_names" in data
    task = task or ("class" if has_labels else "regression")
    y = data.target_names[data.target] if has_labels else data.target
    if task == "class":
        y = y if has_labels else y.astype(np.int64)
        return Dataset(name, X, y, names, None)
    if y.dtype.kind not in "iuf":
        raise ValueError(f"{name} has the labels {y[0]!s}, ...; --task {task} needs numbers")
    y = y.astype(np.float64)
    _check_numbers(f"{name}: the target", y, task)
    return Dataset(name, X, y, names, None, task)


def _read_frame(source: str, label: str | None = None) -> "pandas.DataFrame":
    try:
        import pandas as pd
    except ImportError:
        raise ImportError("reading a CSV file needs pandas: pip install 'fastem[cli]'") from None
    # Checked first, because pandas would download a URL.
    if not Path(source).exists():
        raise ValueError(
            f"no such file or data set: {source!r}; built-in data sets: {', '.join(BUILT_IN)}"
        )
    # With a prefix, pandas does not read the labels "NA", "None" or "" as missing values.
    prefix = {label: lambda text: "=" + text} if label is not None else None
    try:
        with warnings.catch_warnings():
            # pandas drops surplus fields of a row with only a warning.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(source, converters=prefix, index_col=False, low_memory=False)
    except pd.errors.EmptyDataError:
        raise ValueError(f"{source} is empty") from None
    except pd.errors.ParserWarning:
        raise ValueError(f"{source} has rows with more fields than the header") from None
    except (OSError, MemoryError):
        raise
    except Exception as error:  # every compression format raises its own errors
        raise ValueError(f"{source} cannot be read as a CSV file: {error}") from error
    if not len(frame):
        raise ValueError(f"{source} has a header but no rows")
    if label in frame.columns:
        frame[label] = [text[1:] for text in frame[label].tolist()]
    return frame


def _targets(
    source: str, name: str, frame: "pandas.DataFrame", task: str | None
) -> tuple[NDArray[Any], str]:
    """Return the values of the target column, and the task."""
    texts = frame[name].tolist()
    empty = [row for row, text in enumerate(texts, start=1) if not text]
    if empty:
        raise ValueError(_missing(source, [(name, len(empty), empty[0])]))
    task = task or ("regression" if _are_numbers(texts) else "class")
    if task == "class":
        return _labels(source, name, texts), task
    y = _numbers(source, frame, [name])[:, 0]
    _check_numbers(f"{source}: column {name!r}", y, task)
    return y, task


def _labels(source: str, name: str, texts: list[str]) -> NDArray[Any]:
    distinct = set(texts)
    if len(distinct) < 2:
        raise ValueError(
            f"{source}: column {name!r} contains only the class {texts[0]!r}; two are needed"
        )
    if all(_WHOLE_NUMBER.fullmatch(text) and text != "-0" for text in distinct):
        return np.array([int(text) for text in texts])
    return np.array(texts)


def _are_numbers(texts: list[str]) -> bool:
    """Return whether the values are numbers to regress rather than labels."""
    import pandas as pd

    values = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce").to_numpy(np.float64)
    finite = np.isfinite(values)
    others = {text for text, is_finite in zip(texts, finite, strict=True) if not is_finite}
    if any(text.strip().lower() not in _NO_VALUE for text in others):
        return False
    if any(_CODE.fullmatch(text) for text in texts):
        return False
    numbers = values[finite]
    n_distinct = len(np.unique(numbers))
    are_many = n_distinct > MOST_LABELS and len(numbers) < ROWS_PER_LABEL * n_distinct
    return are_many or bool((numbers != np.floor(numbers)).any())


def _check_numbers(what: str, y: Array, task: str) -> None:
    """Raise ValueError if all numbers are equal, or if a count is negative or a fraction."""
    if task == "count":
        wrong = ~_is_count(y)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                f"{what} has {y[row]:g} in row {row + 1}, which is not a count (a whole number of "
                "at least 0); use --task regression"
            )
    if y.min() == y.max():
        raise ValueError(f"{what} contains only the number {y[0]:g}; two are needed")


def _is_count(y: Array) -> NDArray[np.bool_]:
    return (y >= 0.0) & (y == np.floor(y))


def are_counts(y: Array) -> bool:
    """Return whether all numbers are whole numbers of at least 0."""
    return bool(_is_count(y).all())


def reason_to_regress(y: Array) -> str:
    """Return in words why `read_dataset` takes these values for numbers."""
    fractions = y[y != np.floor(y)]
    if len(fractions) > 0:
        return f"fractions like {fractions[0]:g}"
    return f"{len(np.unique(y))} different whole numbers"


def _numbers(source: str, frame: "pandas.DataFrame", names: list[str]) -> Array:
    """Return the named columns as float64; raise a ValueError if one is not numeric."""
    import pandas as pd

    out = np.empty((len(frame), len(names)))
    missing = []
    for j, name in enumerate(names):
        column = frame[name]
        values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
        absent = column.isna().to_numpy()
        for bad, what in ((np.isnan(values) & ~absent, "a number"), (np.isinf(values), "finite")):
            if bad.any():
                row = int(np.argmax(bad))
                raise ValueError(
                    f"{source}: column {name!r} is not numeric: {str(column.iloc[row])!r} in row "
                    f"{row + 1} (row 1 is the first below the header) is not {what}"
                )
        if absent.any():
            missing.append((name, int(absent.sum()), int(np.argmax(absent)) + 1))
        out[:, j] = values
    if missing:
        raise ValueError(_missing(source, missing))
    return out


def _missing(source: str, found: list[tuple[str, int, int]]) -> str:
    columns = [f"{name!r} ({count}, the first in row {row})" for name, count, row in found]
    return f"{source} has missing values. {_list('Columns and how many:', columns)}"


def _list(intro: str, names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MAX_NAMES_LISTED])
    more = len(names) - _MAX_NAMES_LISTED
    return f"{intro} {shown}" + (f" and {more} more" if more > 0 else "")
