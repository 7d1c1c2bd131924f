"""EM beside another estimator on the same rows: what each reaches, and in what time."""

import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np

from fastem.cli.datasets import Table
from fastem.cli.methods import Method
from fastem.parameters import Array
from fastem.plotting import loss_curve

_REHEARSAL_ROWS_PER_CLASS = 4
_N_PREDICTIONS = 10


class Fit(NamedTuple):
    """A fitted estimator and what the fit cost.

    Attributes
    ----------
    estimator : classifier
    n_iter : int
    converged : bool
    seconds : float
        Of the fit, compilation left out.
    compile_seconds : float
        Of the rehearsal that came before it.
    interrupted : bool
        Ctrl-C was pressed, and the estimator holds its best iterate so far.
    """

    estimator: Any
    n_iter: int
    converged: bool
    interrupted: bool
    seconds: float
    compile_seconds: float


class Result(NamedTuple):
    """One row of the comparison; log-losses are means, in nats."""

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
    """One test row: its label beside what the first method makes of it.

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
    table : Table
        The data, both parts.
    classes : list of int or str
    n_train, n_test : int
        Rows in each part of the stratified split.
    seed : int
    compile_seconds : float
        Spent on rehearsals; not part of the seconds of any method.
    results : list of Result
        One per method, in the order given.
    predictions : list of Prediction
        The first test rows under the first method.
    estimators : dict of str to classifier
        The fitted ones, by the names of their methods.
    """

    table: Table
    classes: list[Any]
    n_train: int
    n_test: int
    seed: int
    compile_seconds: float
    results: list[Result]
    predictions: list[Prediction]
    estimators: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the same in plain Python values, as JSON takes them."""
        split = {"train": self.n_train, "test": self.n_test, "seed": self.seed}
        return {
            "data": self.table.describe() | split,
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
    """Fit, and time the fit without the compilation of kernels.

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
    final = method.estimator[-1] if hasattr(method.estimator, "steps") else method.estimator
    converged = bool(final.converged_)
    n_iter = int(final.n_iter_)
    return Fit(method.estimator, n_iter, converged, bool(interrupts), seconds, compile_seconds)


def compare(
    table: Table, methods: Sequence[Method], *, test_size: float = 0.25, seed: int = 0
) -> Comparison:
    """Fit every method on the same training rows, and judge it on the same test rows.

    Parameters
    ----------
    table : Table
    methods : sequence of Method
        The first one makes the predictions that are shown.
    test_size : float
        Share of the rows that is kept for testing, stratified by class.
    seed : int
        Of the split.

    Returns
    -------
    comparison : Comparison

    Raises
    ------
    ValueError
        If the rows cannot be split, or a method refuses them or diverges: its name stands
        before what it says.
    KeyboardInterrupt
        Also where an estimator takes Ctrl-C for a reason to stop early.
    """
    from sklearn.exceptions import ConvergenceWarning

    X_train, X_test, y_train, y_test = _split(table, test_size, seed)
    results, fits = [], []
    for method in methods:
        with warnings.catch_warnings():
            # Reported as `converged`, beside the figures it concerns.
            warnings.simplefilter("ignore", ConvergenceWarning)
            try:
                # where numbers overflow, the method says so itself
                with np.errstate(over="ignore", invalid="ignore"):
                    fit = fit_method(method, X_train, y_train)
            except ValueError as error:
                raise ValueError(f"{method.name}: {error}") from error
        if fit.interrupted:
            raise KeyboardInterrupt
        fits.append(fit)
        results.append(_judge(method, fit, (X_train, y_train), (X_test, y_test)))
    shown, judge = slice(_N_PREDICTIONS), fits[0].estimator
    columns = y_test[shown].tolist(), judge.predict(X_test[shown]).tolist()
    probabilities = judge.predict_proba(X_test[shown])
    return Comparison(
        table=table,
        classes=judge.classes_.tolist(),
        n_train=len(y_train),
        n_test=len(y_test),
        seed=seed,
        compile_seconds=sum(fit.compile_seconds for fit in fits),
        results=results,
        predictions=[Prediction(*row) for row in zip(*columns, probabilities, strict=True)],
        estimators={m.name: fit.estimator for m, fit in zip(methods, fits, strict=True)},
    )


def _learning_curve(estimator: Any) -> dict[str, Any]:
    iterations, losses = loss_curve(estimator)
    first = int(iterations[0]) if iterations.size else None  # it may have ended where it began
    return {"first_iteration": first, "loss": losses.tolist()}


def by_class(classes: Sequence[Any], probabilities: Sequence[float]) -> dict[str, float]:
    """Return probabilities under the names of their classes."""
    return {str(k): p for k, p in zip(classes, probabilities, strict=True)}


def mean_log_loss(estimator: Any, X: Any, y: Any) -> float:
    """Return the mean of ``-log p(y_i | x_i)``, in nats."""
    from sklearn.metrics import log_loss

    return float(log_loss(y, estimator.predict_proba(X), labels=estimator.classes_))


def _judge(method: Method, fit: Fit, train: tuple[Any, Any], test: tuple[Any, Any]) -> Result:
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


def _split(table: Table, test_size: float, seed: int) -> list[Any]:
    from sklearn.model_selection import train_test_split

    classes, counts = np.unique(table.y, return_counts=True)
    if counts.min() < 2:
        lonely = classes[counts.argmin()]
        raise ValueError(
            f"{table.name}: class {str(lonely)!r} has one row only, and a comparison needs one to "
            "train on and one to test on"
        )
    return train_test_split(
        table.X, table.y, test_size=test_size, random_state=seed, stratify=table.y
    )


def _rehearse(method: Method, X: Any, y: Any) -> None:
    """Fit and predict on a few rows of each class, so that everything is compiled."""
    rows = np.sort(
        np.concatenate([np.flatnonzero(y == k)[:_REHEARSAL_ROWS_PER_CLASS] for k in np.unique(y)])
    )
    few = X.iloc[rows] if hasattr(X, "iloc") else X[rows]
    with _noting_interrupt() as interrupts, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so few iterations prove nothing
        with suppress(ValueError):  # the fit itself will say it, if it concerns all rows
            method.rehearsal.fit(few, y[rows])
            method.rehearsal.predict_proba(few)
    if interrupts:
        raise KeyboardInterrupt


@contextmanager
def _noting_interrupt() -> Iterator[list[int]]:
    """Yield a list that is not empty once Ctrl-C was pressed.

    Both `FastEMClassifier` and `FastMLPClassifier` stop at their best iterate then, and only
    warn.
    """
    noted: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()
    # A host that ignores Ctrl-C or handles it itself keeps its way.
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
