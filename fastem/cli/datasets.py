"""Reading data: the sets that ship with scikit-learn, and CSV files with a header."""

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

BUILT_IN = ("iris", "wine", "breast_cancer", "digits")
DEFAULT_TARGET = "label"
_WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})")  # what int64 holds and prints alike
_MOST_NAMES_LISTED = 12


class Table(NamedTuple):
    """Labelled rows.

    Attributes
    ----------
    name : str
        Name of the data set, or path of the file.
    X : array (n_samples, n_features)
        Finite numbers.
    y : array (n_samples,) of int or str
        Labels as they stand in the source.
    feature_names : list of str
    target : str or None
        Name of the label column; None for a built-in data set.
    """

    name: str
    X: Array
    y: NDArray[Any]
    feature_names: list[str]
    target: str | None

    def describe(self) -> dict[str, Any]:
        """Return name, sizes and classes in plain Python values, as JSON takes them."""
        n_rows, n_features = self.X.shape
        classes = np.unique(self.y).tolist()
        return {"name": self.name, "rows": n_rows, "features": n_features, "classes": classes}


def read_table(source: str, target: str | None = None) -> Table:
    """Read features and labels.

    Parameters
    ----------
    source : str
        One of `BUILT_IN`, or the path of a CSV file with a header.
    target : str, optional
        The label column of a CSV file, by default ``label``. A built-in data set has its
        labels built in, and ignores it.

    Returns
    -------
    table : Table
        All columns but the label, in the order of the file. Labels that are all whole
        numbers, written the usual way, are int; all others are the text of the file.

    Raises
    ------
    ValueError
        If the data cannot be used as they are: the message names the file and the column.
    OSError
        If the file cannot be read.
    ImportError
        If the source is a CSV file and pandas is not installed.
    """
    if source in BUILT_IN:
        return _read_built_in(source)
    wanted = DEFAULT_TARGET if target is None else target
    frame = _read_frame(source, label=wanted)
    columns = list(frame.columns)
    if wanted not in columns:
        hint = f"; name the label column with --target. {_list('Its columns are', columns)}"
        raise ValueError(f"{source} has no column {wanted!r}{hint}")
    names = [name for name in columns if name != wanted]
    if not names:
        raise ValueError(f"{source} has no column beside the label {wanted!r}")
    y = _labels(source, wanted, frame.pop(wanted).tolist())
    return Table(source, _numbers(source, frame, names), y, names, wanted)


def read_features(source: str, names: Sequence[str] | None, n_features: int) -> Array:
    """Read the features that a model was fitted on.

    Parameters
    ----------
    source : str
        As in `read_table`.
    names : sequence of str or None
        The columns to take, found by name; all other columns are ignored. None takes all
        columns as they stand.
    n_features : int
        How many columns there must be where the names are not known.

    Returns
    -------
    X : array (n_samples, n_features)

    Raises
    ------
    ValueError, OSError, ImportError
        As in `read_table`.
    """
    if source in BUILT_IN:
        table = _read_built_in(source)
        columns = table.feature_names
    else:
        frame = _read_frame(source)
        columns = list(frame.columns)
    if names is None:
        if len(columns) != n_features:
            raise ValueError(
                f"{source} has {len(columns)} columns, and the model was fitted on {n_features} "
                "without names: give exactly its feature columns, in their order"
            )
        names = columns
    missing = [name for name in names if name not in columns]
    if missing:
        raise ValueError(f"{source} lacks columns of the model. {_list('Missing are', missing)}")
    if source in BUILT_IN:
        return table.X[:, [columns.index(name) for name in names]]
    return _numbers(source, frame, list(names))


def with_names(X: Array, names: Sequence[str]) -> Any:
    """Return X as a DataFrame, which lets an estimator learn the names of its features.

    Without pandas there are no CSV files either, and X is returned as it is.
    """
    try:
        import pandas as pd
    except ImportError:
        return X
    return pd.DataFrame(X, columns=list(names), copy=False)


def _read_built_in(name: str) -> Table:
    from sklearn import datasets

    data = getattr(datasets, f"load_{name}")()
    names = [str(feature) for feature in data.feature_names]
    X = np.ascontiguousarray(data.data, dtype=np.float64)
    return Table(name, X, data.target_names[data.target], names, None)


def _read_frame(source: str, label: str | None = None) -> "pandas.DataFrame":
    try:
        import pandas as pd
    except ImportError:
        raise ImportError("reading a CSV file needs pandas: pip install 'fastem[cli]'") from None
    # Asked first because pandas would take an address on the web for a file.
    if not Path(source).exists():
        raise ValueError(
            f"no such file or data set: {source!r}; built in are {', '.join(BUILT_IN)}"
        )
    # The mark keeps pandas from reading the labels "NA", "None" or "" as missing values.
    mark = {label: lambda text: "=" + text} if label is not None else None
    try:
        with warnings.catch_warnings():
            # pandas only warns when it drops the surplus fields of a row.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(source, converters=mark, index_col=False, low_memory=False)
    except pd.errors.EmptyDataError:
        raise ValueError(f"{source} is empty") from None
    except pd.errors.ParserWarning:
        raise ValueError(f"{source} has more fields in its rows than in its header") from None
    except (OSError, MemoryError):
        raise
    except Exception as error:  # each compression has its own family of errors
        raise ValueError(f"{source} cannot be read as a CSV file: {error}") from error
    if not len(frame):
        raise ValueError(f"{source} has a header and no rows")
    if label in frame.columns:
        frame[label] = [text[1:] for text in frame[label].tolist()]
    return frame


def _labels(source: str, name: str, texts: list[str]) -> NDArray[Any]:
    empty = [row for row, text in enumerate(texts, start=1) if not text]
    if empty:
        raise ValueError(_missing(source, [(name, len(empty), empty[0])]))
    distinct = set(texts)
    if len(distinct) < 2:
        raise ValueError(
            f"{source}: column {name!r} holds one class only, {texts[0]!r}; two are needed"
        )
    if all(_WHOLE_NUMBER.fullmatch(text) and text != "-0" for text in distinct):
        return np.array([int(text) for text in texts])
    fraction = next((text for text in texts if _is_fraction(text)), None)
    if fraction is not None and all(_is_number(text) for text in distinct):
        raise ValueError(
            f"{source}: column {name!r} holds measurements like {fraction}, not class labels"
        )
    return np.array(texts)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_fraction(text: str) -> bool:
    return _is_number(text) and not float(text).is_integer()


def _numbers(source: str, frame: "pandas.DataFrame", names: list[str]) -> Array:
    """Return the named columns as float64; raise a ValueError that names a bad one."""
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
                    f"{row + 1} (the first below the header is row 1) is not {what}"
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
    shown = ", ".join(names[:_MOST_NAMES_LISTED])
    more = len(names) - _MOST_NAMES_LISTED
    return f"{intro} {shown}" + (f" and {more} more" if more > 0 else "")
