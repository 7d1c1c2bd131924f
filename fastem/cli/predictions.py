"""Predictions of a saved model for the rows of a table, and the columns that go with them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.cli.comparison.compare import class_predictions
from fastem.cli.comparison.regression import number_predictions
from fastem.cli.messages import counted, listed, notify
from fastem.cli.tables.columns import ROW, column_of_kind
from fastem.cli.tables.datasets import (
    check_columns,
    check_number,
    read_dataset,
    read_features,
    read_rows,
    with_names,
)
from fastem.cli.tables.labels import is_count, missing_values
from fastem.cli.tables.reading import TableOptions
from fastem.cli.tables.sources import BUILT_IN, shown_name

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
        How columns become features. None if the file has no preparation.
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

    @property
    def names(self) -> list[str] | None:
        """Return the names of the columns that the model needs, if it has names."""
        if self.preparation is not None:
            return list(self.preparation.kinds)
        names = getattr(self.model, "feature_names_in_", None)
        return None if names is None else names.tolist()

    def preparation_of_tables(self) -> "Preparation":
        """Return the preparation; columns are features themselves if the file has none."""
        from fastem.preparation import Column, Preparation

        if self.preparation is not None:
            return self.preparation
        numbers = [Column(name, "number", False, None, ()) for name in self.names]
        return Preparation(numbers, impute=False)


class OutputColumns(NamedTuple):
    """Columns of a table, by name, that an output or an evaluation needs beside the features.

    Attributes
    ----------
    id : str or None
        First column of the output.
    keep : tuple of str
        Next columns of the output. An entry that is no column may contain several names,
        separated by commas.
    target : str or None
        Column of the targets; any name for built-in data.
    """

    id: str | None = None
    keep: tuple[str, ...] = ()
    target: str | None = None


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
    from fastem.preparation import load_prepared

    model, preparation = load_prepared(path)
    if len(model.intercepts_[-1]) > 1 and model.family_.name != "categorical":
        raise ValueError(
            f"{path} predicts {len(model.intercepts_[-1])} targets per row, and the command line "
            f"writes one; use {type(model).__name__}.load in Python"
        )
    return SavedModel(path, model, preparation)


def read_prediction_rows(
    saved: SavedModel, source: str, table: TableOptions, others: OutputColumns
) -> Rows:
    """Read the rows to predict; notify of categories that did not occur in training.

    Parameters
    ----------
    saved : SavedModel
    source : str
        A built-in data set, or a table.
    table : TableOptions
    others : OutputColumns

    Returns
    -------
    rows : Rows
        One for every row of the table.

    Raises
    ------
    ValueError
        If the table or a column of it cannot be used, a kept column has the name of a column of
        the output, or the model has not seen a label.
    OSError, ImportError
        If the source cannot be read.
    """
    if source in BUILT_IN:
        return _read_built_in(saved, source, others)
    if saved.names is None:
        _refuse_columns(f"{saved.path} has no names of columns", others)
        return Rows(read_features(source, saved.model.n_features_in_, table), {}, None)
    name, target = shown_name(source), others.target
    preparation = saved.preparation_of_tables()
    if target in preparation.kinds:
        raise ValueError(f"argument --target: {target!r} is a feature of the model")
    kept: list[str] = []

    def choose(names: list[str]) -> list[str]:
        kept.extend(_kept_columns(saved, name, others, names))
        wanted = [] if target is None else [target]
        _check_known(name, "--target", wanted, names)
        return list(dict.fromkeys([*kept, *wanted]))

    frame, written = read_rows(source, preparation.kinds, table, choose)
    try:
        X = preparation.features(frame)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    _notify_of_unseen(preparation, frame)
    y = None if target is None else _targets(saved, name, written[target], table.mark)
    return Rows(X, {column: written[column].tolist() for column in kept}, y)


def _kept_columns(
    saved: SavedModel, source: str, others: OutputColumns, names: Sequence[str]
) -> list[str]:
    """Return the columns of the table for the output."""
    known = set(names)
    first = [] if others.id is None else [others.id]
    _check_known(source, "--id", first, names)
    next_ones: list[str] = []
    for text in others.keep:
        next_ones += [text] if text in known else [name.strip() for name in text.split(",")]
    _check_known(source, "--keep", next_ones, names)
    kept = list(dict.fromkeys([*first, *next_ones]))
    own = {"predicted", "std", "q05", "q95"}
    if saved.task == "class":
        own = {"predicted", *(f"probability_{k}" for k in saved.model.classes_.tolist())}
    clash = [repr(name) for name in kept if name in own]
    if clash:
        raise ValueError(
            f"arguments --id and --keep: the predictions have columns of the same name as "
            f"{listed(clash)} of {source}; rename them in the table"
        )
    return kept


def _check_known(source: str, option: str, wanted: Sequence[str], names: Sequence[str]) -> None:
    unknown = [repr(name) for name in wanted if name not in names]
    if unknown:
        raise ValueError(
            f"argument {option}: {source} has no column {', '.join(unknown)}. Its columns are "
            f"{listed(names)}"
        )


def predict_rows(saved: SavedModel, rows: Rows) -> Iterator[dict[str, Any]]:
    """Yield the prediction for every row, with the columns that are kept, as plain values."""
    of_task = class_predictions if saved.task == "class" else number_predictions
    predictions = of_task(saved.model, rows.X)
    if not rows.kept:
        yield from predictions
        return
    for *values, prediction in zip(*rows.kept.values(), predictions, strict=True):
        yield {"kept": dict(zip(rows.kept, values, strict=True)), **prediction}


def evaluate_rows(saved: SavedModel, rows: Rows) -> dict[str, Any]:
    """Return losses, errors and calibration for rows with known targets, as plain values."""
    from fastem.cli.evaluation import evaluate_classes, evaluate_numbers

    evaluate = evaluate_classes if saved.task == "class" else evaluate_numbers
    return evaluate(saved.model, rows.X, rows.y)


def _read_built_in(saved: SavedModel, source: str, others: OutputColumns) -> Rows:
    _refuse_columns(f"{source} is built-in data", others._replace(target=None))
    dataset = read_dataset(source, task=None if others.target is None else saved.task)
    X, found, names = dataset.X, dataset.feature_names, saved.names
    if names is None:
        check_number(source, saved.model.n_features_in_, len(found))
    else:
        check_columns(source, names, found)
        X = with_names(X[:, [found.index(name) for name in names]], names)
    if saved.preparation is not None:
        X = saved.preparation.features(X)
    if others.target is None:
        return Rows(X, {}, None)
    y = dataset.y
    if saved.task == "class":
        y = _known_labels(saved, source, [str(label) for label in y.tolist()])
    return Rows(X, {}, y)


def _refuse_columns(reason: str, others: OutputColumns) -> None:
    given = {"--id": others.id, "--keep": others.keep, "--target": others.target}
    options = [option for option, value in given.items() if value]
    if options:
        raise ValueError(
            f"argument {options[0]}: {reason}, so no column can be selected by its name"
        )


def _notify_of_unseen(preparation: "Preparation", frame: "pandas.DataFrame") -> None:
    for column, (values, n_missing) in preparation.unseen(frame).items():
        if values:
            found = [f"{value!r} ({n})" for value, n in values.items()]
            notify(
                f"note: column {column!r} has values that did not occur in training, in "
                f"{counted(sum(values.values()), 'row')}: {listed(found)}; its features are 0 there"
            )
        if n_missing:
            is_number = preparation.kinds[column] == "number"
            used = "the median of training is used" if is_number else "its features are 0"
            notify(
                f"note: column {column!r} has no value in {counted(n_missing, 'row')}, and had one "
                f"in every training row; {used} there"
            )


def _targets(saved: SavedModel, source: str, column: "pandas.Series", decimal: str) -> NDArray[Any]:
    """Return the targets of a column of text."""
    texts, name = column.tolist(), column.name
    empty = [row for row, text in enumerate(texts, start=1) if not text.strip()]
    if empty:
        raise ValueError(missing_values(source, [(name, len(empty), empty[0])]))
    if saved.task == "class":
        return _known_labels(saved, f"{source}: column {name!r}", texts)
    y, problem, _ = column_of_kind(column, "number", decimal)
    if problem:
        raise ValueError(f"{source}: column {name!r} {problem} {ROW}")
    wrong = np.isnan(y) | (~is_count(y) if saved.task == "count" else False)
    if wrong.any():
        row = int(np.argmax(wrong))
        what = "a count (a whole number of at least 0)" if saved.task == "count" else "a number"
        raise ValueError(
            f"{source}: column {name!r} has {texts[row]!r} in row {row + 1} {ROW}, which is not "
            f"{what}"
        )
    return y


def _known_labels(saved: SavedModel, place: str, texts: list[str]) -> NDArray[Any]:
    """Return texts as labels of the model; raise ValueError if it has not seen one of them."""
    classes = saved.model.classes_
    known = {str(label): k for k, label in enumerate(classes.tolist())}
    places = {text: known.get(text, known.get(text.strip())) for text in set(texts)}
    unknown = Counter(text for text in texts if places[text] is None)
    if unknown:
        found = [f"{text!r} ({counted(n, 'row')})" for text, n in unknown.items()]
        raise ValueError(
            f"{place} has labels that did not occur in training: {listed(found)}. The classes of "
            f"{saved.path} are {listed(list(known))}; correct the labels or leave out these rows"
        )
    return classes[[places[text] for text in texts]]
