"""Compare methods on the same rows: losses, accuracy, and time of the fit."""

import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np

from fastem.cli.datasets import Dataset
from fastem.cli.methods import METHODS, Method, Options
from fastem.parameters import Array
from fastem.plotting import final_step, loss_curve
from fastem.runtime import DivergenceError

_REHEARSAL_ROWS_PER_CLASS = 4
_N_PREDICTIONS = 10


class Fit(NamedTuple):
    """A fitted estimator and the cost of its fit.

    Attributes
    ----------
    estimator : classifier
    n_iter : int
    converged : bool
    interrupted : bool
        True if the user pressed Ctrl-C: the estimator has the best iterate so far.
    seconds : float
        Wall time of the fit, without compilation.
    compile_seconds : float
        Wall time of the rehearsal before the fit, mostly compilation.
    """

    estimator: Any
    n_iter: int
    converged: bool
    interrupted: bool
    seconds: float
    compile_seconds: float


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
            "learning_curves": [
                {"method": name, **_learning_curve(estimator)}
                for name, estimator in self.estimators.items()
            ],
        }


def fit_method(method: Method, X: Any, y: Any) -> Fit:
    """Compile everything by a rehearsal, then fit and measure the time.

    Parameters
    ----------
    method : Method
    X : array or DataFrame (n_samples, n_features)
    y : array (n_samples,)

    Returns
    -------
    fit : Fit
    """
    start = time.perf_counter()
    _rehearse(method, X, y)
    compile_seconds = time.perf_counter() - start
    with _noting_interrupt() as interrupts:
        start = time.perf_counter()
        method.estimator.fit(X, y)
        seconds = time.perf_counter() - start
    final = final_step(method.estimator)
    n_iter, converged = int(final.n_iter_), bool(final.converged_)
    return Fit(method.estimator, n_iter, converged, bool(interrupts), seconds, compile_seconds)


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
    from sklearn.exceptions import ConvergenceWarning

    X_train, X_test, y_train, y_test = _split(dataset, test_size, options.seed)
    results, fits = [], []
    for make in METHODS:
        method = make(options, len(y_train))
        with warnings.catch_warnings():
            # The result reports this in `converged`.
            warnings.simplefilter("ignore", ConvergenceWarning)
            try:
                # If numbers overflow, the method raises an error itself.
                with np.errstate(over="ignore", invalid="ignore"):
                    fit = fit_method(method, X_train, y_train)
            except ValueError as error:
                remedy = method.remedy if isinstance(error, DivergenceError) else ""
                raise ValueError(f"{method.name}: {error} {remedy}".rstrip()) from error
        if fit.interrupted:
            raise KeyboardInterrupt
        fits.append(fit)
        results.append(_evaluate(method, fit, (X_train, y_train), (X_test, y_test)))
    shown, first = slice(_N_PREDICTIONS), fits[0].estimator
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


def _learning_curve(estimator: Any) -> dict[str, Any]:
    iterations, losses = loss_curve(estimator)
    first = int(iterations[0]) if iterations.size else None  # L-BFGS may end at its starting point
    return {"first_iteration": first, "loss": losses.tolist()}


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
        hidden_layer_sizes=method.hidden_layer_sizes,
        n_iter=fit.n_iter,
        converged=fit.converged,
        seconds=fit.seconds,
        train_log_loss=mean_log_loss(fit.estimator, *train),
        test_log_loss=mean_log_loss(fit.estimator, *test),
        test_accuracy=float(fit.estimator.score(*test)),
        settings=method.settings,
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


def _rehearse(method: Method, X: Any, y: Any) -> None:
    """Fit and predict on a few rows of each class, which compiles everything."""
    rows = np.sort(
        np.concatenate([np.flatnonzero(y == k)[:_REHEARSAL_ROWS_PER_CLASS] for k in np.unique(y)])
    )
    few = X.iloc[rows] if hasattr(X, "iloc") else X[rows]
    with _noting_interrupt() as interrupts, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about convergence, after few iterations
        with suppress(ValueError):  # the fit on all rows raises it again
            method.rehearsal.fit(few, y[rows])
            method.rehearsal.predict_proba(few)
    if interrupts:
        raise KeyboardInterrupt


@contextmanager
def _noting_interrupt() -> Iterator[list[int]]:
    """Yield a list that is not empty after Ctrl-C.

    After Ctrl-C, `FastEMClassifier` and `FastMLPClassifier` keep their best iterate and warn;
    they do not raise KeyboardInterrupt.
    """
    noted: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()
    # A program with its own handler for Ctrl-C keeps it.
    if before is not signal.default_int_handler or not in_main_thread:
        yield noted
        return

    def note(number: int, frame: Any) -> None:
        noted.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)
