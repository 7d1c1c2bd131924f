"""Compare classifiers on the same rows: losses, accuracy, and time of the fit."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastem.cli.datasets import Dataset
from fastem.cli.fitting import Fit, fit_method, named_errors
from fastem.cli.methods import METHODS, Method, Options
from fastem.parameters import Array
from fastem.plotting import loss_curve

N_PREDICTIONS = 10


class Result(NamedTuple):
    """Result of one method; log-losses are means in nats."""

    method: str
    hidden_layer_sizes: tuple[int, ...]
    n_iter: int
    converged: bool
    seconds: float
    train_log_loss: float
    test_log_loss: float
    test_accuracy: float
    settings: dict[str, Any]


class Prediction(NamedTuple):
    """The label of a test row, and the prediction of the first method.

    Attributes
    ----------
    label, predicted : int or str
    probabilities : array (n_classes,)
    """

    label: Any
    predicted: Any
    probabilities: Array


class Comparison(NamedTuple):
    """Result of `compare`.

    Attributes
    ----------
    dataset : Dataset
        All rows, before the split.
    classes : list of int or str
    n_train, n_test : int
        Rows in both parts of the stratified split.
    seed : int
    compile_seconds : float
        Wall time of all rehearsals; not included in the seconds of a method.
    results : list of Result
        One per method, in the order of `METHODS`.
    predictions : list of Prediction
        Predictions of the first method for the first test rows.
    estimators : dict of str to classifier
        The fitted estimators by the names of their methods.
    """

    dataset: Dataset
    classes: list[Any]
    n_train: int
    n_test: int
    seed: int
    compile_seconds: float
    results: list[Result]
    predictions: list[Prediction]
    estimators: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain Python values that JSON can store."""
        split = {"train": self.n_train, "test": self.n_test, "seed": self.seed}
        return {
            "data": self.dataset.describe() | split,
            "compile_seconds": self.compile_seconds,
            "methods": [
                result._asdict() | {"hidden_layer_sizes": list(result.hidden_layer_sizes)}
                for result in self.results
            ],
            "predictions": [
                {
                    "label": row.label,
                    "predicted": row.predicted,
                    "probabilities": by_class(self.classes, row.probabilities.tolist()),
                }
                for row in self.predictions
            ],
            "learning_curves": learning_curves(self.estimators),
        }


def compare(dataset: Dataset, options: Options, *, test_size: float = 0.25) -> Comparison:
    """Fit every method on the same training rows, and evaluate it on the same test rows.

    Parameters
    ----------
    dataset : Dataset
    options : Options
        Options of all methods; its seed is also the seed of the split.
    test_size : float
        Share of the rows for testing, stratified by class.

    Returns
    -------
    comparison : Comparison

    Raises
    ------
    ValueError
        If the rows cannot be split, or if a method rejects them or diverges. Then the message
        starts with the name of the method.
    KeyboardInterrupt
        After Ctrl-C, also if the estimator itself only stops early.
    """
    X_train, X_test, y_train, y_test = _split(dataset, test_size, options.seed)
    results, fits = [], []
    for make in METHODS:
        method = make(options, len(y_train))
        with named_errors(method):
            fit = fit_method(method, X_train, y_train)
        if fit.interrupted:
            raise KeyboardInterrupt
        options = options._replace(hidden_layer_sizes=fit.hidden_layer_sizes)
        fits.append(fit)
        results.append(_evaluate(method, fit, (X_train, y_train), (X_test, y_test)))
    shown, first = slice(N_PREDICTIONS), fits[0].estimator
    columns = y_test[shown].tolist(), first.predict(X_test[shown]).tolist()
    probabilities = first.predict_proba(X_test[shown])
    return Comparison(
        dataset=dataset,
        classes=first.classes_.tolist(),
        n_train=len(y_train),
        n_test=len(y_test),
        seed=options.seed,
        compile_seconds=sum(fit.compile_seconds for fit in fits),
        results=results,
        predictions=[Prediction(*row) for row in zip(*columns, probabilities, strict=True)],
        estimators={row.method: fit.estimator for row, fit in zip(results, fits, strict=True)},
    )


def learning_curves(estimators: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the recorded losses of fitted estimators, by the names of their methods.

    ``loss`` contains the penalty, and ``data_loss`` does not.
    """
    curves = []
    for name, estimator in estimators.items():
        record = loss_curve(estimator)
        # L-BFGS may end at its starting point
        first = int(record.iterations[0]) if record.iterations.size else None
        curve = {"method": name, "first_iteration": first, "loss": record.objective.tolist()}
        if record.data is not None:
            curve["data_loss"] = record.data.tolist()
        curves.append(curve)
    return curves


def class_predictions(model: Any, X: Any) -> list[dict[str, Any]]:
    """Return the predicted class and the probability of every class for every row.

    Parameters
    ----------
    model : FastEMClassifier
    X : array or DataFrame (n_samples, n_features)
    """
    classes, labels = model.classes_.tolist(), model.predict(X).tolist()
    rows = [by_class(classes, row) for row in model.predict_proba(X).tolist()]
    return [
        {"predicted": label, "probabilities": row} for label, row in zip(labels, rows, strict=True)
    ]


def by_class(classes: Sequence[Any], probabilities: Sequence[float]) -> dict[str, float]:
    """Return the probabilities as a dict with the names of the classes as keys."""
    return {str(k): p for k, p in zip(classes, probabilities, strict=True)}


def mean_log_loss(estimator: Any, X: Any, y: Any) -> float:
    """Return the mean of ``-log p(y_i | x_i)``, in nats."""
    from sklearn.metrics import log_loss

    return float(log_loss(y, estimator.predict_proba(X), labels=estimator.classes_))


def _evaluate(method: Method, fit: Fit, train: tuple[Any, Any], test: tuple[Any, Any]) -> Result:
    return Result(
        method=method.name,
        hidden_layer_sizes=fit.hidden_layer_sizes,
        n_iter=fit.n_iter,
        converged=fit.converged,
        seconds=fit.seconds,
        train_log_loss=mean_log_loss(fit.estimator, *train),
        test_log_loss=mean_log_loss(fit.estimator, *test),
        test_accuracy=float(fit.estimator.score(*test)),
        settings=fit.settings,
    )


def _split(dataset: Dataset, test_size: float, seed: int) -> list[Any]:
    from sklearn.model_selection import train_test_split

    classes, counts = np.unique(dataset.y, return_counts=True)
    if counts.min() < 2:
        single = classes[counts.argmin()]
        raise ValueError(
            f"{dataset.name}: class {str(single)!r} has only one row; a comparison needs at least "
            "one row of every class for training and one for testing"
        )
    X, y = dataset.X, dataset.y
    return train_test_split(X, y, test_size=test_size, random_state=seed, stratify=y)
