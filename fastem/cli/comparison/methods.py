"""The two networks of a comparison: exact EM and backpropagation, with the same options.

Both methods minimise a penalised mean loss over the n training rows,

    -(1/n) sum_i log p(y_i | x_i) + penalty / (2 n) sum of squared weights,

where the weights belong to standardised features and intercepts are not penalised. The
parameter ``alpha`` of `FastEMClassifier` is this penalty. `FastMLPClassifier` follows
scikit-learn: it divides its ``alpha`` by the rows of each batch and applies it once per batch, so
that an epoch of n_batches batches has the penalty ``alpha * n_batches``. `perceptron_alpha` and
`perceptron_penalty` convert between the two.

For numbers, the perceptron has half the squared error of the standardised target in place of
``-log p``. For counts it has half the Poisson deviance, which is ``-log p`` minus a constant.
"""

import math
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

_MAX_EPOCHS = 5000
_BATCH_SIZE = 200  # the default of FastMLPClassifier, on 200 rows or more
_REHEARSAL_ITERATIONS = 15  # EM needs several before its acceleration starts


class Options(NamedTuple):
    """Options of both networks; None selects the default of each network.

    Attributes
    ----------
    hidden_layer_sizes : tuple of ints, "auto" or None
        Units of every hidden layer. By default both networks use those of the EM estimator. If EM
        chooses them, the perceptron is made later, with the units that EM has chosen.
    max_iter : int or None
        Maximum number of iterations of EM.
    alpha : float, "auto" or None
        Penalty of both networks: ``alpha / 2`` times the sum of squared weights, against the
        summed log-likelihood (nats) of the training rows. With "auto" and None, EM chooses its
        penalty, and the perceptron keeps its parameter ``alpha=0.0001``.
    seed : int
        Seed of the first split and of its starting values.
    activation : str, tuple of str or None
        Activation of the perceptron: one for all hidden layers, or one for each.
    solver : str or None
        Solver of the perceptron.
    epochs : int or None
        Maximum number of epochs of the perceptron, or of iterations with ``solver="lbfgs"``.
    """

    hidden_layer_sizes: tuple[int, ...] | Literal["auto"] | None = None
    max_iter: int | None = None
    alpha: float | Literal["auto"] | None = None
    seed: int = 0
    activation: str | tuple[str, ...] | None = None
    solver: str | None = None
    epochs: int | None = None


class Method(NamedTuple):
    """An estimator to be compared.

    Attributes
    ----------
    name : str
    hidden_layer_sizes : tuple of ints or "auto"
        Empty if the method is not a network.
    estimator : classifier, regressor or density, not fitted
    rehearsal : estimator of the same kind, not fitted, or None
        A copy with few iterations. Fitting it compiles everything that the estimator uses, and
        starts its threads. None if the first fit needs no more time than others.
    settings : dict
        Settings to be printed, as plain values. ``penalty`` has the same unit in all methods
        (see the module), ``alpha`` is the parameter of the estimator. Both are "auto" if EM
        chooses its penalty; `fitted_settings` then has the number.
    remedy : str, default=""
        Options of the command line to change if the estimator diverges, as a sentence.
    task : {"class", "regression", "count"}, default="class"
    """

    name: str
    hidden_layer_sizes: tuple[int, ...] | Literal["auto"]
    estimator: Any
    rehearsal: Any
    settings: dict[str, Any]
    remedy: str = ""
    task: str = "class"


def exact_em(options: Options, y: Any, task: str = "class") -> Method:
    """Return `FastEMClassifier` or `FastEMRegressor` with the given options.

    Parameters
    ----------
    options : Options
    y : array (n_samples,)
        Training targets; not used.
    task : {"class", "regression", "count"}, default="class"
    """
    from sklearn.base import clone

    sizes = hidden_layer_sizes(options, task)
    given = _not_none({"max_iter": options.max_iter, "alpha": options.alpha})
    estimator = _em(task).set_params(hidden_layer_sizes=sizes, random_state=options.seed, **given)
    # With tol=0 the few rows of a rehearsal do not converge before everything was compiled.
    rehearsal = clone(estimator).set_params(max_iter=_REHEARSAL_ITERATIONS, tol=0.0)
    alpha = estimator.alpha
    shown = {"penalty": alpha, "alpha": alpha, "max_iter": estimator.max_iter}
    return Method("EM", sizes, estimator, rehearsal, _EM_DISTRIBUTION[task] | shown, task=task)


def backpropagation(options: Options, y: NDArray[Any], task: str = "class") -> Method:
    """Return the perceptron on standardised features, with enough epochs to converge.

    Parameters
    ----------
    options : Options
    y : array (n_samples,)
        Training targets; the penalty of the perceptron depends on their number.
    task : {"class", "regression", "count"}, default="class"
        For numbers and counts, the perceptron is the mean of a `NormalDensity` or
        `PoissonDensity`.
    """
    from sklearn.base import clone
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    sizes = hidden_layer_sizes(options, task)
    if sizes == "auto":
        raise ValueError("backpropagation needs hidden_layer_sizes as numbers, got 'auto'")
    n_samples = len(y)
    # The default of 200 epochs is too small for small networks to converge.
    max_iter = _MAX_EPOCHS if options.epochs is None else options.epochs
    given = _not_none({"activation": options.activation, "solver": options.solver})
    network = _perceptron(task).set_params(
        hidden_layer_sizes=sizes, random_state=options.seed, max_iter=max_iter, **given
    )
    if options.alpha not in (None, "auto"):
        network.set_params(alpha=perceptron_alpha(options.alpha, n_samples, network.solver))
    rehearsal = clone(network).set_params(max_iter=1)
    rehearsal, _ = as_density(make_pipeline(StandardScaler(), rehearsal), task)
    estimator, distribution = as_density(make_pipeline(StandardScaler(), network), task)
    names = network.activation
    shown = {
        "activation": names if isinstance(names, str) else list(names),
        "solver": network.solver,
        "penalty": perceptron_penalty(network.alpha, n_samples, network.solver),
        "alpha": network.alpha,
        "max_iter": network.max_iter,
    }
    remedy = "Use another --solver or a smaller --alpha"
    shown = distribution | shown
    return Method("backpropagation", sizes, estimator, rehearsal, shown, remedy, task)


_EM_DISTRIBUTION = {
    "class": {},
    "regression": {"distribution": "mixture of normal distributions"},
    "count": {"distribution": "mixture of Poisson distributions"},
}


def _em(task: str) -> Any:
    from fastem.estimators import FastEMClassifier, FastEMRegressor

    if task == "class":
        return FastEMClassifier()
    return FastEMRegressor(family="poisson" if task == "count" else "gaussian")


def _perceptron(task: str) -> Any:
    from fastem.estimators import FastMLPClassifier, FastMLPRegressor

    if task == "class":
        return FastMLPClassifier()
    return FastMLPRegressor("poisson" if task == "count" else "squared_error")


def as_density(regressor: Any, task: str) -> tuple[Any, dict[str, str]]:
    """Return a regressor as the mean of a distribution, and the distribution in words.

    Parameters
    ----------
    regressor : estimator, not fitted
        For the task "class" a classifier, which is returned unchanged.
    task : {"class", "regression", "count"}
    """
    if task == "class":
        return regressor, {}
    from fastem.cli.comparison.densities import NormalDensity, PoissonDensity

    if task == "count":
        return PoissonDensity(regressor), {"distribution": "Poisson distribution"}
    name = "normal distribution of constant standard deviation"
    return NormalDensity(regressor), {"distribution": name}


def perceptron_alpha(penalty: float, n_samples: int, solver: str) -> float:
    """Return the ``alpha`` of the perceptron for a penalty in the unit of EM.

    Parameters
    ----------
    penalty : float
        ``penalty / 2`` multiplies the sum of squared weights, against the summed
        log-likelihood of all rows, of weight 1 each.
    n_samples : int
    solver : {"lbfgs", "sgd", "adam"}
        "sgd" and "adam" use batches of 200 rows; the last batch can be smaller.
    """
    return penalty / _n_batches(n_samples, solver)


def perceptron_penalty(alpha: float, n_samples: int, solver: str) -> float:
    """Return the penalty, in the unit of EM, of a perceptron; undo `perceptron_alpha`."""
    return alpha * _n_batches(n_samples, solver)


def _n_batches(n_samples: int, solver: str) -> int:
    return 1 if solver == "lbfgs" else math.ceil(n_samples / _BATCH_SIZE)


def hidden_layer_sizes(options: Options, task: str = "class") -> tuple[int, ...] | Literal["auto"]:
    """Return the hidden units of both networks, layer by layer, or "auto"."""
    if options.hidden_layer_sizes is not None:
        return options.hidden_layer_sizes
    default = _em(task).hidden_layer_sizes
    return default if isinstance(default, str) else tuple(np.ravel(default).tolist())


def fitted_sizes(method: Method) -> tuple[int, ...]:
    """Return the hidden units of a fitted method, layer by layer; none if it has no network."""
    if method.hidden_layer_sizes != "auto":
        return method.hidden_layer_sizes
    return tuple(len(intercepts) for intercepts in method.estimator.intercepts_[:-1])


def fitted_settings(method: Method) -> dict[str, Any]:
    """Return the settings of a fitted method.

    If EM has chosen its penalty, ``penalty`` is this number, and ``penalty_chosen`` is False if
    there were too few rows for a choice. ``e_step`` is the name of the engine of EM.
    """
    settings, estimator = method.settings, method.estimator
    if hasattr(estimator, "e_step_"):
        settings = settings | {"e_step": type(estimator.e_step_).__name__.lower()}
    if settings.get("alpha") != "auto":
        return settings
    chosen = hasattr(estimator, "alpha_path_")
    return settings | {"penalty": estimator.alpha_, "penalty_chosen": chosen}


def _not_none(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}
