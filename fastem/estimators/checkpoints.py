"""Checkpoints: model files from which a fit that was stopped continues to the bit."""

import copy
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fastem._version import __version__
from fastem.estimators.ascent import Ascent, Optimizer, ended_in
from fastem.estimators.model_files import read_model, write_model
from fastem.estimators.persistence import contents_of, model_of
from fastem.estimators.standardization import Standardization
from fastem.parameters import NO_VARIANCE, Shape
from fastem.runtime import warn_user
from fastem.solvers import DampedStep, Monitor, PlainStep, QuasiNewtonStep

_VERSION = 1
_PREFIX, _MEMORY_PREFIX = "checkpoint_", "memory_"
_CURVES = "history", "penalties", "seconds"
_OPTIMIZERS = {kind.__name__: kind for kind in (PlainStep, DampedStep, QuasiNewtonStep)}


class Checkpoints:
    """Writes the current iterate of a running ascent to a file from time to time.

    Parameters
    ----------
    path : path-like
    seconds : float
        Least time between the end of a checkpoint and the next one. The first iterate is always
        written, so that a file that cannot be written is noticed at once.
    estimator : FastEMClassifier or FastEMRegressor
        The estimator that is fitted.

    Raises
    ------
    ValueError
        If ``seconds`` is not a number from 0 on.
    OSError
        If ``path`` is a folder, or its folder does not exist.
    """

    def __init__(self, path: str | os.PathLike[str], seconds: float, estimator: Any) -> None:
        if not _is_number(seconds) or not seconds >= 0.0:
            raise ValueError(f"checkpoint_seconds must be a number from 0 on, got {seconds!r}.")
        folder = os.path.dirname(os.path.realpath(path))
        if not os.path.isdir(folder):
            raise FileNotFoundError(
                f"checkpoint={os.fspath(path)!r}: there is no folder {folder!r}."
            )
        if os.path.isdir(path):
            raise IsADirectoryError(f"checkpoint={os.fspath(path)!r} is a folder; name a file.")
        self._path, self._seconds, self._estimator = path, float(seconds), estimator
        self._last: float | None = None

    def offer(
        self, ascent: Ascent, fitted: Callable[[], dict[str, Any]], *, is_coarse: bool
    ) -> None:
        """Write a checkpoint if it is time for one.

        Parameters
        ----------
        ascent : Ascent
            At the iterate that the monitor has recorded last.
        fitted : callable
            Returns the fitted attributes at this iterate.
        is_coarse : bool
            Whether E-steps are in single precision now.

        Raises
        ------
        OSError
            If the first checkpoint cannot be written.
        ValueError
            As `write_checkpoint`.

        Warns
        -----
        UserWarning
            If a later checkpoint cannot be written. The fit goes on, and the last one is kept.
        """
        if self._last is not None and time.perf_counter() - self._last < self._seconds:
            return
        model = copy.copy(self._estimator)
        vars(model).update(fitted())
        try:
            write_checkpoint(self._path, model, ascent, is_coarse=is_coarse)
        except OSError as error:
            if self._last is None:
                raise
            warn_user(
                f"The checkpoint of iteration {ascent.monitor.n_iter} could not be written: "
                f"{error}. The earlier one is kept, and the fit goes on."
            )
        self._last = time.perf_counter()


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def write_checkpoint(
    path: str | os.PathLike[str], model: Any, ascent: Ascent, *, is_coarse: bool = False
) -> None:
    """Write an iterate, and everything that is needed to continue there as if not stopped.

    The file is a model file: `FastEMClassifier.load` reads the model. An earlier file is replaced
    in one step, so that a reader finds either the earlier or the new one.

    Parameters
    ----------
    path : path-like
        As in `FastEMClassifier.save`.
    model : FastEMClassifier or FastEMRegressor
        Its fitted attributes are those of the iterate.
    ascent : Ascent
        At the iterate that the monitor has recorded last. L-BFGS continues with a new memory,
        because SciPy does not give it away. Its later iterates are therefore others than without
        the stop.
    is_coarse : bool, default=False
        Whether E-steps are in single precision now. The continued run begins with such E-steps.

    Raises
    ------
    ValueError
        If the model cannot be saved, rows are held out, or E-steps are not exact.
    OSError
        If the file cannot be written. An earlier file of that name is kept then.
    """
    monitor, kind = ascent.monitor, type(ascent.optimizer).__name__
    if monitor.held_out is not None:
        raise ValueError("A checkpoint cannot hold the record of held-out rows.")
    if type(monitor) is not Monitor or kind not in _OPTIMIZERS:
        raise ValueError(f"A checkpoint needs exact E-steps on all rows; got steps of kind {kind}.")
    header, arrays = contents_of(model)
    header["checkpoint"] = {
        "version": _VERSION,
        "optimizer": kind,
        "tol": float(monitor.tol),
        "scale": float(monitor.scale),
        "converged": bool(monitor.converged),
        "before_correction": monitor.objective if is_coarse else monitor.before_correction,
    }
    own = {"theta": ascent.theta, **ascent.standardization._asdict()}
    own |= {name: np.array(getattr(monitor, name)) for name in _CURVES}
    if isinstance(ascent.optimizer, QuasiNewtonStep):
        memory = ascent.optimizer.memory()
        own |= {_MEMORY_PREFIX + name: array for name, array in memory.items()}
    arrays |= {_PREFIX + name: array for name, array in own.items()}
    write_model(path, header, arrays)


def continue_from(model: Any, path: str | os.PathLike[str]) -> None:
    """Give an estimator the fitted attributes of a checkpoint: its next warm start continues there.

    Parameters
    ----------
    model : FastEMClassifier or FastEMRegressor
        Its parameters are kept.
    path : path-like

    Raises
    ------
    OSError, ValueError
        As `read_checkpoint`.
    """
    earlier, ascent = read_checkpoint(type(model), path)
    own = earlier.get_params(deep=False)
    vars(model).update({k: v for k, v in vars(earlier).items() if k not in own})
    model._ascent = ascent


def read_checkpoint(kind: type, path: str | os.PathLike[str]) -> tuple[Any, Ascent]:
    """Read a checkpoint. No code from the file is run.

    Parameters
    ----------
    kind : type
        FastEMClassifier or FastEMRegressor.
    path : path-like

    Returns
    -------
    model : FastEMClassifier or FastEMRegressor
        Fitted at the iterate.
    ascent : Ascent
        The running ascent.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If the file is damaged, is not a checkpoint of this class, or has another format.

    Warns
    -----
    UserWarning
        If another version of the package wrote the checkpoint.
    """
    header, arrays = read_model(path)
    model = model_of([kind], path, header, arrays)
    settings = header.get("checkpoint")
    remedy = f"Read it by {kind.__name__}.load, and fit this model with warm_start=True."
    if settings is None:
        raise ValueError(
            f"{os.fspath(path)!r} is a model file and not a checkpoint: it does not hold the state "
            f"of a fit. {remedy}"
        )
    if not isinstance(settings, dict) or settings.get("version") != _VERSION:
        version = settings.get("version") if isinstance(settings, dict) else settings
        raise ValueError(
            f"{os.fspath(path)!r} has checkpoint format {version!r}, and this version of fastem "
            f"reads format {_VERSION}. {remedy}"
        )
    own = {
        name.removeprefix(_PREFIX): array
        for name, array in arrays.items()
        if name.startswith(_PREFIX)
    }
    try:
        ascent = _ascent_of(model, settings, own)
    except Exception as error:
        raise ValueError(f"{os.fspath(path)!r} is a damaged checkpoint: {error!r}.") from error
    if header.get("fastem_version") != __version__:
        warn_user(
            f"The checkpoint was written by fastem {header.get('fastem_version')} and is continued "
            f"by {__version__}; results may differ from those of one version."
        )
    return model, ascent


def _ascent_of(model: Any, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> Ascent:
    """Return the ascent in a checkpoint of a model; raise any error if the values are wrong."""
    monitor = Monitor(float(settings["tol"]), scale=float(settings["scale"]))
    for name in _CURVES:
        setattr(monitor, name, [float(value) for value in arrays[name]])
    if not len(monitor.history) == len(monitor.penalties) == len(monitor.seconds) > 0:
        raise ValueError("the curves have different lengths")
    monitor.converged = bool(settings["converged"])
    if settings["before_correction"] is not None:
        monitor.before_correction = float(settings["before_correction"])
    theta = arrays["theta"]
    optimizer = _optimizer_of(settings["optimizer"], arrays, theta.size)
    standardization = Standardization(*(arrays[name] for name in Standardization._fields))
    ascent = Ascent(theta, monitor, optimizer, standardization, is_running=True)
    shape = _shape_of(model)
    parameters = shape.from_lists(
        model.coefs_, model.intercepts_, getattr(model, "variance_", NO_VARIANCE)
    )
    if theta.dtype != np.float64 or not ended_in(ascent, shape, parameters):
        raise ValueError("the iterate and the weights of the model differ")
    return ascent


def _optimizer_of(kind: str, arrays: dict[str, np.ndarray], n_parameters: int) -> Optimizer:
    optimizer = _OPTIMIZERS[kind]()
    if isinstance(optimizer, QuasiNewtonStep):
        memory = {
            name.removeprefix(_MEMORY_PREFIX): array
            for name, array in arrays.items()
            if name.startswith(_MEMORY_PREFIX)
        }
        if "last" in memory and memory["last"].shape != (2, n_parameters):
            raise ValueError("the memory of the steps has another number of parameters")
        optimizer.restore(memory)
    return optimizer


def _shape_of(model: Any) -> Shape:
    sizes = tuple(len(intercept) for intercept in model.intercepts_)
    return Shape(
        len(model.coefs_[0]), sizes[:-1], sizes[-1], bool(model.fit_intercept), model.family_,
        getattr(model, "variance_floor_", 0.0),
    )  # fmt: skip
