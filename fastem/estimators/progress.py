"""Reports of a running fit: printed lines and scikit-learn's callbacks."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from fastem.runtime import current_activity

Method = TypeVar("Method", bound=Callable[..., Any])

if TYPE_CHECKING:
    _HAS_CALLBACKS = False
else:
    try:
        from sklearn.callback import CallbackSupportMixin, with_callbacks

        _HAS_CALLBACKS = True
    except ImportError:  # scikit-learn before 1.9
        _HAS_CALLBACKS = False

if not _HAS_CALLBACKS:

    class CallbackSupportMixin:
        """Stand-in for scikit-learn's mixin of the same name."""

    def with_callbacks(method: Method) -> Method:
        """Return the method: there are no callbacks."""
        return method


__all__ = ["CallbackSupportMixin", "Progress", "with_callbacks"]


class Progress:
    """Reports a fit to the terminal and to callbacks: one task per start and iteration.

    Parameters
    ----------
    estimator : estimator
    n_starts : int
    X, y, sample_weight
        Arguments of ``fit``, which callbacks receive.
    loss : callable
        Converts an objective (nats) into a loss per unit weight.
    """

    _root: Any
    _task: Any

    def __init__(
        self,
        estimator: Any,
        n_starts: int,
        X: Any,
        y: Any,
        sample_weight: Any,
        loss: Callable[[float], float],
    ) -> None:
        self._estimator = estimator
        self._n_starts = n_starts
        self._loss = loss
        self._verbose = estimator.verbose
        self._began = time.perf_counter()
        self._start = 0
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._arguments = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self._root = self._task = None
        if hasattr(estimator, "_skl_callbacks") or hasattr(estimator, "_parent_callback_ctx"):
            self._root = estimator._init_callback_context(max_subtasks=n_starts)
            self._root.call_on_fit_task_begin(**self._arguments)

    def begin_start(self) -> None:
        """Report the beginning of a start."""
        self._start += 1
        if self._root is not None:
            self._task = self._root.subcontext(
                task_name=f"start {self._start}", max_subtasks=self._estimator.max_iter
            )
            self._task.call_on_fit_task_begin(**self._arguments)

    def iterate(
        self,
        n_iter: int,
        objective: float,
        fitted: Callable[[], dict[str, Any]],
        held_out_loss: float | None = None,
    ) -> bool:
        """Report an iteration; return whether a callback requests to stop.

        Parameters
        ----------
        n_iter : int
        objective : float, nats
        fitted : callable
            Returns the fitted attributes of this iteration.
        held_out_loss : float or None, nats
            Loss of the held-out rows, if there are any.
        """
        activity = current_activity()
        if activity is not None:
            activity.offer(self._estimator, fitted)
        if self._verbose:
            self._print(n_iter, objective, held_out_loss)
        if self._task is None:
            return False
        task = self._task.subcontext(task_name=f"iteration {n_iter}")
        task.call_on_fit_task_begin(**self._arguments)
        return task.call_on_fit_task_end(**self._arguments, reconstruction_attributes=fitted)

    def _print(self, n_iter: int, objective: float, held_out_loss: float | None) -> None:
        start = f"start {self._start}/{self._n_starts}, " if self._n_starts > 1 else ""
        seconds = time.perf_counter() - self._began
        loss = self._loss(objective)
        losses = f"loss {loss:.8f} nats"
        if held_out_loss is not None:
            losses += f", validation loss {held_out_loss:.8f} nats"
        line = f"[fastem] {start}iteration {n_iter}, {losses}, {seconds:.2f} s"
        if self._verbose > 1:
            print(line)
        else:
            print(f"\r{line}", end="", flush=True)

    def end_start(self, fitted: Callable[[], dict[str, Any]]) -> None:
        """Report the end of a start."""
        if self._verbose == 1:
            print()
        if self._task is not None:
            self._task.call_on_fit_task_end(**self._arguments, reconstruction_attributes=fitted)

    def end(self) -> None:
        """Report the end of the fit. The fitted attributes must be in place."""
        if self._root is not None:
            self._root.call_on_fit_task_end(**self._arguments, reconstruction_attributes=dict)
