"""The two methods of a comparison: exact EM and backpropagation, with the same options.

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

_MAX_EPOCHS = 5000
_BATCH_SIZE = 200  # the default of FastMLPClassifier, on 200 rows or more
_REHEARSAL_ITERATIONS = 15  # EM needs several before its acceleration starts


class Options(NamedTuple):
    """Options of both methods; None selects the default of each method.

    Attributes
    ----------
    hidden_layer_sizes : tuple of ints, "auto" or None
        Units of every hidden layer. By default both methods use those of the EM estimator. If EM
        chooses them, the perceptron is made later, with the units that EM has chosen.
    max_iter : int or None
        Maximum number of iterations of EM.
    alpha : float, "auto" or None
        Penalty of both methods: ``alpha / 2`` times the sum of squared weights, against the
        summed log-likelihood (nats) of the training rows. With "auto" and None, EM chooses its
        penalty, and the perceptron keeps its parameter ``alpha=0.0001``.
    seed : int
        Seed of the split and of the starting values.
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
    estimator : classifier, regressor or density, not fitted
    rehearsal : estimator of the same kind, not fitted
        A copy with few iterations. Fitting it compiles everything that the estimator uses.
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


def exact_em(options: Options, n_samples: int, task: str = "class") -> Method:
    """Return `FastEMClassifier` or `FastEMRegressor` with the given options.

    Parameters
    ----------
    options : Options
    n_samples : int
        Number of training rows. EM needs no conversion of its penalty and ignores it.
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


def backpropagation(options: Options, n_samples: int, task: str = "class") -> Method:
    """Return the perceptron on standardised features, with enough epochs to converge.

    Parameters
    ----------
    options : Options
    n_samples : int
        Number of training rows; the penalty of the perceptron depends on it.
    task : {"class", "regression", "count"}, default="class"
        For numbers and counts, the perceptron is the mean of a `NormalPerceptron` or
        `PoissonPerceptron`.
    """
    from sklearn.base import clone

    sizes = hidden_layer_sizes(options, task)
    if sizes == "auto":
        raise ValueError("backpropagation needs hidden_layer_sizes as numbers, got 'auto'")
    # The default of 200 epochs is too small for small networks to converge.
    max_iter = _MAX_EPOCHS if options.epochs is None else options.epochs
    given = _not_none({"activation": options.activation, "solver": options.solver})
    network = _perceptron(task).set_params(
        hidden_layer_sizes=sizes, random_state=options.seed, max_iter=max_iter, **given
    )
    if options.alpha not in (None, "auto"):
        network.set_params(alpha=perceptron_alpha(options.alpha, n_samples, network.solver))
    rehearsal = clone(network).set_params(max_iter=1)
    estimator, rehearsal = (_on_standardised(n, task) for n in (network, rehearsal))
    names = network.activation
    shown = {
        "activation": names if isinstance(names, str) else list(names),
        "solver": network.solver,
        "penalty": perceptron_penalty(network.alpha, n_samples, network.solver),
        "alpha": network.alpha,
        "max_iter": network.max_iter,
    }
    shown = _PERCEPTRON_DISTRIBUTION[task] | shown
    remedy = "Use another --solver or a smaller --alpha"
    return Method("backpropagation", sizes, estimator, rehearsal, shown, remedy, task)


METHODS = (exact_em, backpropagation)

_EM_DISTRIBUTION = {
    "class": {},
    "regression": {"distribution": "mixture of normal distributions"},
    "count": {"distribution": "mixture of Poisson distributions"},
}
_PERCEPTRON_DISTRIBUTION = {
    "class": {},
    "regression": {"distribution": "normal distribution of constant standard deviation"},
    "count": {"distribution": "Poisson distribution"},
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


def _on_standardised(network: Any, task: str) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pipeline = make_pipeline(StandardScaler(), network)
    if task == "class":
        return pipeline
    from fastem.cli.densities import NormalPerceptron, PoissonPerceptron

    return (PoissonPerceptron if task == "count" else NormalPerceptron)(pipeline)


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
    """Return the hidden units of both methods, layer by layer, or "auto"."""
    if options.hidden_layer_sizes is not None:
        return options.hidden_layer_sizes
    default = _em(task).hidden_layer_sizes
    return default if isinstance(default, str) else tuple(np.ravel(default).tolist())


def fitted_sizes(method: Method) -> tuple[int, ...]:
    """Return the hidden units of a fitted method, layer by layer."""
    if method.hidden_layer_sizes != "auto":
        return method.hidden_layer_sizes
    return tuple(len(intercepts) for intercepts in method.estimator.intercepts_[:-1])


def fitted_settings(method: Method) -> dict[str, Any]:
    """Return the settings of a fitted method.

    If EM has chosen its penalty, ``penalty`` is this number, and ``penalty_chosen`` is False if
    there were too few rows for a choice.
    """
    if method.settings["alpha"] != "auto":
        return method.settings
    chosen = hasattr(method.estimator, "alpha_path_")
    return method.settings | {"penalty": method.estimator.alpha_, "penalty_chosen": chosen}


def _not_none(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}
