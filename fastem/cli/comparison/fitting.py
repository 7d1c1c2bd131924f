"""Fit the methods of a comparison: measure the time without compilation; Ctrl-C stops a fit."""

import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fastem.cli.comparison.methods import Method, fitted_settings, fitted_sizes
from fastem.estimators import rehearsal_for
from fastem.oracle import EStep
from fastem.parameters import Array
from fastem.plotting import final_step
from fastem.runtime import DivergenceError, doing, watched

_REHEARSAL_ROWS_PER_CLASS = 4
_REHEARSAL_ROWS = 20
_FEWEST_VALUES_FOR_THREADS = 1_000_000


class Fit(NamedTuple):
    """A fitted estimator and the cost of its fit.

    Attributes
    ----------
    estimator : classifier, regressor or density
    n_iter : int or None
        None if the method has no iterations.
    converged : bool or None
        None if the method does not test for convergence.
    interrupted : bool
        True if the user pressed Ctrl-C: the estimator has the best iterate so far.
    seconds : float
        Wall time of the fit, without compilation.
    compile_seconds : float
        Wall time of the rehearsal before the fit, mostly compilation.
    hidden_layer_sizes : tuple of ints
    settings : dict
        Settings of the method, with the penalty in use.
    """

    estimator: Any
    n_iter: int | None
    converged: bool | None
    interrupted: bool
    seconds: float
    compile_seconds: float
    hidden_layer_sizes: tuple[int, ...]
    settings: dict[str, Any]


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
    with doing("compiling the kernels (needed once on a machine)"), watched(None):
        _rehearse(method, X, y)  # users need no report of its iterations
    compile_seconds = time.perf_counter() - start
    with noting_interrupt() as interrupts, doing("fitting"):
        start = time.perf_counter()
        method.estimator.fit(X, y)
        seconds = time.perf_counter() - start
    n_iter, converged = _iterations(method)
    return Fit(
        estimator=method.estimator,
        n_iter=n_iter,
        converged=converged,
        interrupted=bool(interrupts),
        seconds=seconds,
        compile_seconds=compile_seconds,
        hidden_layer_sizes=fitted_sizes(method),
        settings=fitted_settings(method),
    )


def _iterations(method: Method) -> tuple[int | None, bool | None]:
    """Return the number of iterations of a fitted method, and whether it converged."""
    final = final_step(method.estimator)
    if getattr(final, "n_iter_", None) is None:
        return None, None
    n_iter = int(np.max(final.n_iter_))
    if hasattr(final, "converged_"):
        return n_iter, bool(final.converged_)
    limit = method.settings.get("max_iter")
    return n_iter, None if limit is None else n_iter < limit


@contextmanager
def one_thread_if_small(method: Method, X: Array) -> Iterator[None]:
    """Let a method of scikit-learn use one thread if the table is small.

    Its threads wait for each other without sleep after every small piece of work. On busy cores
    this takes hundreds of times longer than the work. The networks choose their threads
    themselves.
    """
    if method.hidden_layer_sizes or X.size >= _FEWEST_VALUES_FOR_THREADS:
        yield
        return
    with threadpool_limits(limits=1):
        yield


@contextmanager
def named_errors(method: Method) -> Iterator[None]:
    """Add the name of the method to errors and reports, and hide warnings about convergence.

    Raises
    ------
    ValueError
        If the body raises ValueError. The message starts with the name of the method.
    """
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(), doing(method.name):
        # The result reports this in `converged`.
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            # If numbers overflow, the method raises an error itself.
            with np.errstate(over="ignore", invalid="ignore"):
                yield
        except ValueError as error:
            remedy = method.remedy if isinstance(error, DivergenceError) else ""
            raise ValueError(f"{method.name}: {error} {remedy}".rstrip()) from error


def _rehearse(method: Method, X: Any, y: Any) -> None:
    """Fit and predict on a few rows, which compiles everything and starts the threads."""
    if method.rehearsal is None:
        return
    with noting_interrupt() as interrupts, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about convergence, after few iterations
        with suppress(ValueError):  # the fit on all rows raises it again
            n_rows = 0
            if method.name == "EM":
                parameters, n_rows = rehearsal_for(method.estimator, X, y)
                method.rehearsal.set_params(**parameters)
            rows = _few_rows(method, y, n_rows)
            few = X.iloc[rows] if hasattr(X, "iloc") else X[rows]
            method.rehearsal.fit(few, y[rows])
            if method.task == "class":
                method.rehearsal.predict_proba(few)
                if method.settings.get("alpha") == "auto":
                    _rehearse_choice(method.rehearsal, few, y[rows])
            else:
                method.rehearsal.predict(few)
    if interrupts:
        raise KeyboardInterrupt


def _rehearse_choice(model: Any, X: Any, y: NDArray[Any]) -> None:
    """Compile the gradients of rows; the few rows of a rehearsal do not choose a penalty."""
    labels, sizes = np.searchsorted(model.classes_, y), [len(b) for b in model.intercepts_[:-1]]
    oracle = EStep(np.asarray(X), labels, hidden_layer_sizes=sizes, n_classes=len(model.classes_))
    oracle.row_gradients(model.coefs_, model.intercepts_)


def _few_rows(method: Method, y: NDArray[Any], n_rows: int) -> NDArray[np.intp]:
    """Return at least so many rows: some of each class, or those with small and large numbers."""
    if method.task == "class":
        groups = [np.flatnonzero(y == k)[:_REHEARSAL_ROWS_PER_CLASS] for k in np.unique(y)]
        some = np.concatenate(groups)
        more = np.setdiff1d(np.arange(len(y)), some)[: max(n_rows - len(some), 0)]
        return np.sort(np.concatenate([some, more]))
    n_rows = min(len(y), _REHEARSAL_ROWS)
    places = np.linspace(0, len(y) - 1, n_rows).astype(np.intp)
    return np.sort(np.argsort(y, kind="stable")[places])


@contextmanager
def noting_interrupt() -> Iterator[list[int]]:
    """Yield a list that is not empty after Ctrl-C.

    After Ctrl-C, the estimators keep their best iterate and warn; they do not raise
    KeyboardInterrupt.
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
