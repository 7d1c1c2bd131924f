"""Predictions of a saved model for the rows of a table, and the columns that go with them."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.cli.columns import ROW, column_of_kind
from fastem.cli.comparison import class_predictions
from fastem.cli.datasets import read_dataset, read_features, read_rows, with_names
from fastem.cli.labels import are_counts, missing_values
from fastem.cli.messages import listed, notify
from fastem.cli.reading import TableOptions
from fastem.cli.regression import number_predictions
from fastem.cli.sources import BUILT_IN, shown_name

if TYPE_CHECKING:
    import pandas

    from fastem.preparation import Preparation


class SavedModel(NamedTuple):
    """A model file.

    Attributes
    ----------
    path : str
    model : FastEMClassifier or FastEMRegressor
    preparation : Preparation or None
        How columns become features. None if the model has no names of columns.
    """

    path: str
    model: Any
    preparation: "Preparation | None"

    @property
    def task(self) -> str:
        """Return "class", "regression" or "count"."""
        if hasattr(self.model, "classes_"):
            return "class"
        return "count" if self.model.family_.is_discrete else "regression"


class Rows(NamedTuple):
    """Rows of a table for a model.

    Attributes
    ----------
    X : array or DataFrame (n_rows, n_features)
    kept : dict of str to list of str
        Columns for the output, as they are written in the table.
    y : array (n_rows,) or None
        Targets, if they are wanted.
    """

    X: Any
    kept: dict[str, list[str]]
    y: NDArray[Any] | None


def read_saved_model(path: str) -> SavedModel:
    """Read a model file.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If the file is damaged, or its model predicts several targets per row.
    ImportError
        If the model has a preparation of columns and pandas is not installed.
    """
    from fastem.estimators import load_model
    from fastem.preparation import Column, Preparation, load_preparation

    model = load_model(path)
    if len(model.intercepts_[-1]) > 1 and model.family_.name != "categorical":
        raise ValueError(
            f"{path} predicts {len(model.intercepts_[-1])} targets per row, and the command line "
            f"writes one; use {type(model).__name__}.load in Python"
        )
    preparation = load_preparation(path)
    names = getattr(model, "feature_names_in_", None)
    if preparation is None and names is not None:
        numbers = [Column(name, "number", False, None, ()) for name in names]
        preparation = Preparation(numbers, impute=False)
    return SavedModel(path, model, preparation)


def read_prediction_rows(
    saved: SavedModel, source: str, table: TableOptions, kept: Sequence[str], target: str | None
) -> Rows:
    """Read the rows to predict; notify of categories that did not occur in training.

    Parameters
    ----------
    saved : SavedModel
    source : str
        A built-in data set, or a table.
    table : TableOptions
    kept : sequence of str
        Columns for the output.
    target : str or None
        Column of the targets; any name for built-in data.

    Returns
    -------
    rows : Rows
        One for every row of the table.

    Raises
    ------
    ValueError
        If the table or a column of it cannot be used, or the model has not seen a label.
    OSError, ImportError
        If the source cannot be read.
    """
    if source in BUILT_IN:
        return _read_built_in(saved, source, table, kept, target)
    if saved.preparation is None:
        _refuse_columns(f"{saved.path} has no names of columns", kept, target)
        X = read_features(source, None, saved.model.n_features_in_, table)
        return Rows(X, {}, None)
    if target in saved.preparation.columns:
        raise ValueError(f"argument --target: {target!r} is a feature of the model")
    written = [*kept, *([] if target is None else [target])]
    frame, texts = read_rows(source, saved.preparation, table, written)
    name = shown_name(source)
    try:
        X = saved.preparation.features(frame)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    _notify_of_unseen(saved.preparation, frame)
    y = None if target is None else _targets(saved, name, texts[target], table.decimal)
    return Rows(X, {column: texts[column].tolist() for column in kept}, y)


def predict_rows(saved: SavedModel, rows: Rows) -> list[dict[str, Any]]:
    """Return the prediction for every row, with the columns that are kept, as plain values.

    Raises
    ------
    ValueError
        If a kept column has the name of a column of the output.
    """
    of_task = class_predictions if saved.task == "class" else number_predictions
    predictions = of_task(saved.model, rows.X)
    if not rows.kept:
        return predictions
    columns = zip(*rows.kept.values(), strict=True)
    return [
        {"kept": dict(zip(rows.kept, values, strict=True)), **prediction}
        for values, prediction in zip(columns, predictions, strict=True)
    ]


def check_kept(saved: SavedModel, kept: Sequence[str]) -> None:
    """Raise ValueError if a kept column occurs twice or has the name of a column of the output."""
    twice = [name for name, n in Counter(kept).items() if n > 1]
    if twice:
        raise ValueError(f"arguments --id and --keep name columns twice: {listed(twice)}")
    if saved.task == "class":
        own = {"predicted", *(f"probability_{k}" for k in saved.model.classes_.tolist())}
    else:
        own = {"predicted", "std", "q05", "q95"}
    clash = [name for name in kept if name in own]
    if clash:
        raise ValueError(
            f"arguments --id and --keep: the output has its own columns {listed(clash)}; rename "
            "them in the file"
        )


def _read_built_in(
    saved: SavedModel, source: str, table: TableOptions, kept: Sequence[str], target: str | None
) -> Rows:
    _refuse_columns(f"{source} is built-in data", kept, None)
    names = None if saved.preparation is None else saved.preparation.columns
    X = read_features(source, names, saved.model.n_features_in_, table)
    if saved.preparation is not None:
        X = saved.preparation.features(with_names(X, names))
    if target is None:
        return Rows(X, {}, None)
    task = saved.task
    y = read_dataset(source, None, task).y
    if task == "class":
        y = _known_labels(saved, source, "target", [str(label) for label in y.tolist()])
    return Rows(X, {}, y)


def _refuse_columns(reason: str, kept: Sequence[str], target: str | None) -> None:
    if kept or target is not None:
        option = "--target" if target is not None else "--id and --keep"
        raise ValueError(f"argument {option}: {reason}, so no column can be selected by its name")


def _notify_of_unseen(preparation: "Preparation", frame: "pandas.DataFrame") -> None:
    for column, unseen in preparation.unseen(frame).items():
        if unseen.values:
            values = [f"{value!r} ({n})" for value, n in unseen.values.items()]
            n_rows = sum(unseen.values.values())
            notify(
                f"note: column {column!r} has categories that did not occur in training, in "
                f"{n_rows} row{'' if n_rows == 1 else 's'}: {listed(values)}; all features of this "
                "column are 0 there"
            )
        if unseen.n_missing:
            notify(
                f"note: column {column!r} has no value in {unseen.n_missing} "
                f"row{'' if unseen.n_missing == 1 else 's'}, which did not occur in training; all "
                "features of this column are 0 there"
            )


def _targets(
    saved: SavedModel, source: str, column: "pandas.Series", decimal: str
) -> NDArray[Any]:
    """Return the targets of a column of text."""
    empty = [row for row, text in enumerate(column.tolist(), start=1) if not text.strip()]
    if empty:
        raise ValueError(missing_values(source, [(column.name, len(empty), empty[0])]))
    if saved.task == "class":
        return _known_labels(saved, source, column.name, column.tolist())
    y, problem = column_of_kind(column, "number", decimal)
    if problem:
        raise ValueError(f"{source}: column {column.name!r} {problem} {ROW}")
    if saved.task == "count" and not are_counts(y):
        row = int(np.argmax(~((y >= 0.0) & (y == np.floor(y)))))
        raise ValueError(
            f"{source}: column {column.name!r} has {y[row]:g} in row {row + 1}, which is not a "
            "count (a whole number of at least 0)"
        )
    return y


def _known_labels(saved: SavedModel, source: str, name: str, texts: list[str]) -> NDArray[Any]:
    """Return texts as labels of the model; raise ValueError if it has not seen one of them."""
    classes = saved.model.classes_
    known = {str(label): k for k, label in enumerate(classes.tolist())}
    places = {text: known.get(text, known.get(text.strip())) for text in set(texts)}
    unknown = Counter(text for text in texts if places[text] is None)
    if unknown:
        found = [f"{text!r} ({n} row{'' if n == 1 else 's'})" for text, n in unknown.items()]
        raise ValueError(
            f"{source}: column {name!r} has labels that the model has not seen: {listed(found)}. "
            f"Its classes are {listed(list(known))}; leave out these rows"
        )
    return classes[[places[text] for text in texts]]
