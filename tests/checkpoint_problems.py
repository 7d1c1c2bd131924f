"""Fits that tests of checkpoints stop and continue, also in another process."""

import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastem import FastEMClassifier, FastEMRegressor
from fastem.estimators import fit_parts
from fastem.estimators.base_training import BaseTraining
from fastem.estimators.checkpoints import Checkpoints, read_checkpoint, write_checkpoint

MAX_ITER = 24


def _classifier(n_hidden, **options):
    settings = {"alpha": 0.15, "random_state": 0, "tol": 0.0, "n_jobs": 1, "warm_start": True}
    return FastEMClassifier(n_hidden, **{**settings, "max_iter": MAX_ITER, **options})


def _rows(n_samples):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_samples, 3)) * [1.0, 10.0, 0.1] + [0.0, 3.0, -1.0]
    return X, X[:, 0] * X[:, 1] + rng.normal(size=n_samples)


def case(name):
    """Return the estimator and the rows of a case."""
    X, y = _rows(2200 if name.startswith("coarse") else 120)
    labels = np.array(["a", "b", "c"])[np.digitize(y, [-2.0, 2.0])]
    if name == "gaussian":
        model = FastEMRegressor(
            (3,), alpha=0.5, random_state=0, tol=0.0, n_jobs=1, warm_start=True, max_iter=MAX_ITER
        )
        return model, X, y
    options = {
        "quasi-newton": {},
        "plain": {"accelerate": False},
        "damped": {"m_step": "gradient"},
        "lbfgs": {"solver": "lbfgs"},
        "converges": {"tol": 1e-4, "max_iter": 500},
        "coarse": {},
        "coarse, converges": {"tol": 1e-9, "max_iter": 500},
    }[name]
    n_hidden = (12,) if name.startswith("coarse") else (3,)
    return _classifier(n_hidden, **options), X, labels


def attributes(model):
    """Return the fitted attributes of a model but for the times, in a form that can be compared."""
    names = "coefs_", "intercepts_", "loss_", "loss_curve_", "n_iter_", "converged_", "alpha_"
    return {name: getattr(model, name) for name in names}


class Parts:
    """Rows in three parts of different lengths, in this process."""

    n_threads, memory = 1, float("inf")

    def __init__(self, X, y):
        ends = 0, len(X) // 2, len(X) // 2 + 7, len(X)
        self._parts = [(X[a:b], y[a:b], None) for a, b in pairwise(ends)]

    def map(self, stage, function, *arguments):
        return [function(*part, *arguments) for part in self._parts]

    def prepare(self, stage, function, *arguments, n_bytes):
        return PreparedParts(self.map(stage, function, *arguments))


class PreparedParts:
    def __init__(self, parts):
        self._parts = parts

    def map(self, stage, function, *arguments):
        return [function(part, *arguments) for part in self._parts]


class Recording:
    """Records at which iterations E-steps are in single precision."""

    def __init__(self):
        self.phases = []

    def offer(self, ascent, fitted, *, is_coarse):
        self.phases.append(is_coarse)


class StoppedError(Exception):
    """Raised in place of the end of a process."""


class StoppingAt:
    """Writes one checkpoint, at the given iteration, and ends the fit there."""

    def __init__(self, path, model, at):
        self._checkpoints, self._at = Checkpoints(path, 0.0, model), at

    def offer(self, ascent, fitted, *, is_coarse):
        if ascent.monitor.n_iter == self._at:
            self._checkpoints.offer(ascent, fitted, is_coarse=is_coarse)
            raise StoppedError


def fit(model, X, y, checkpoints=None, *, in_parts=False):
    """Fit to all rows, or to rows in parts; return the last iterate, and the curves of losses."""
    BaseTraining.checkpoints = checkpoints
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            if in_parts:
                fit_parts(model, Parts(X, y), (X, y, None), checkpoints)
            else:
                model.fit(X, y)
    finally:
        BaseTraining.checkpoints = None
    return trajectory(model._ascent)


def trajectory(ascent):
    monitor = ascent.monitor
    return {
        "theta": ascent.theta,
        "history": np.array(monitor.history),
        "penalties": np.array(monitor.penalties),
        "converged": np.array(monitor.converged),
    }


def continued(name, path, *, in_parts=False, **changes):
    """Continue a case from a checkpoint."""
    model, X, y = case(name)
    model, model._ascent = read_checkpoint(type(model), path)
    return fit(model.set_params(**changes), X, y, in_parts=in_parts)


def stopped(name, path, at, *, in_parts=False):
    """Stop the fit of a case after some iterations; a checkpoint of the last one is left."""
    model, X, y = case(name)
    try:
        fit(model, X, y, StoppingAt(path, model, at), in_parts=in_parts)
    except StoppedError:
        return
    raise AssertionError(f"the fit ended before iteration {at}")


def continue_all(folder):
    """Continue every checkpoint in a folder, and write the trajectories beside them."""
    for path in sorted(Path(folder).glob("*.checkpoint")):
        name = path.name.partition(".")[0]
        np.savez(path.with_suffix(".npz"), **continued(name, path))


def write_forever(path):
    """Write checkpoints until the process is killed."""
    stopped("coarse", path, 3)
    model, ascent = read_checkpoint(FastEMClassifier, path)
    print("ready", flush=True)
    while True:
        write_checkpoint(path, model, ascent)
