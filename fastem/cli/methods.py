"""The two sides of a comparison: exact EM and backpropagation, under the same settings."""

from typing import Any, NamedTuple

import numpy as np

_PATIENT_EPOCHS = 5000
_REHEARSAL_ITERATIONS = 15  # more than the acceleration of EM begins with


class Settings(NamedTuple):
    """How the methods are set; None leaves a method its own default.

    Attributes
    ----------
    hidden_layer_sizes : tuple of ints or None
        Units of every hidden layer; by default those of `FastEMClassifier`, for every method.
    max_iter : int or None
        Most iterations of EM.
    alpha : float or None
        Penalty on half the squared norm of the weights, for every method.
    seed : int
        Of the split and of the starts.
    activation : str, tuple of str or None
        Of backpropagation: one for all hidden layers, or one to each.
    solver : str or None
        Of backpropagation.
    epochs : int or None
        Most epochs of backpropagation, or iterations under ``solver="lbfgs"``.
    """

    hidden_layer_sizes: tuple[int, ...] | None = None
    max_iter: int | None = None
    alpha: float | None = None
    seed: int = 0
    activation: str | tuple[str, ...] | None = None
    solver: str | None = None
    epochs: int | None = None


class Method(NamedTuple):
    """An estimator to be compared.

    Attributes
    ----------
    name : str
    hidden_layer_sizes : tuple of ints
    estimator : classifier, not fitted
    rehearsal : classifier, not fitted
        The same, for a few iterations: its fit compiles what the other will use.
    settings : dict
        What a reader of the comparison has to know of the estimator's parameters; plain values.
    """

    name: str
    hidden_layer_sizes: tuple[int, ...]
    estimator: Any
    rehearsal: Any
    settings: dict[str, Any]


def exact_em(settings: Settings) -> Method:
    """Return `FastEMClassifier` under the given settings."""
    from sklearn.base import clone

    from fastem.estimators import FastEMClassifier

    sizes = _hidden_layer_sizes(settings)
    given = _not_none({"max_iter": settings.max_iter, "alpha": settings.alpha})
    estimator = FastEMClassifier(sizes, random_state=settings.seed, **given)
    # tol=0, because so few rows converge before everything was used once.
    rehearsal = clone(estimator).set_params(max_iter=_REHEARSAL_ITERATIONS, tol=0.0)
    shown = {name: getattr(estimator, name) for name in ("alpha", "max_iter")}
    return Method("EM", sizes, estimator, rehearsal, shown)


def backpropagation(settings: Settings) -> Method:
    """Return `FastMLPClassifier` on standardized features, run to convergence."""
    from sklearn.base import clone
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from fastem.estimators import FastMLPClassifier

    sizes = _hidden_layer_sizes(settings)
    # the 200 epochs of its default end long before a network this small has converged
    max_iter = _PATIENT_EPOCHS if settings.epochs is None else settings.epochs
    names = "alpha", "activation", "solver"
    given = {"max_iter": max_iter, **_not_none({name: getattr(settings, name) for name in names})}
    network = FastMLPClassifier(sizes, random_state=settings.seed, **given)
    rehearsal = clone(network).set_params(max_iter=1)
    estimator, rehearsal = (make_pipeline(StandardScaler(), n) for n in (network, rehearsal))
    shown = {name: getattr(network, name) for name in ("activation", "solver", "alpha", "max_iter")}
    if not isinstance(network.activation, str):
        shown["activation"] = list(network.activation)
    return Method("backpropagation", sizes, estimator, rehearsal, shown)


def _hidden_layer_sizes(settings: Settings) -> tuple[int, ...]:
    from fastem.estimators import FastEMClassifier

    if settings.hidden_layer_sizes is not None:
        return settings.hidden_layer_sizes
    return tuple(np.ravel(FastEMClassifier().hidden_layer_sizes).tolist())


def _not_none(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}
