"""Training of the perceptrons as scikit-learn's estimators see it.

`fastem.perceptron` trains. This module converts the attributes of an estimator into settings and
a state. It converts the result of training into attributes, warnings and errors.
"""

from copy import deepcopy
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from fastem.estimators.held_out import too_small
from fastem.estimators.validation import check_start
from fastem.parameters import Array
from fastem.perceptron import (
    BLOCK,
    FIRST_SLOPE,
    LARGEST_VALUE,
    Ending,
    FeedForward,
    Layers,
    Samples,
    Settings,
    TrainingResult,
    TrainingState,
    ValidationSet,
    Workspace,
    columns_of,
    train_epochs,
    train_lbfgs,
)
from fastem.runtime import DivergenceError, bytes_of, check_memory, warn_user

# Vectors of parameters in memory at the same time. Adam and SGD: starting, current, last finite
# and best values, and two moments. L-BFGS: 29 in the workspace of SciPy, 20 of them secants, and
# its copies of iterates and gradients (measured: 39 in all).
_DESCENT_COPIES, _LBFGS_COPIES = 6, 40

_BATCH_SIZE = 200  # value of batch_size="auto"

_DIVERGED_EPOCHS = (
    "The loss became non-finite in epoch {epoch} of solver={solver!r}: training diverged. Use a "
    "smaller learning_rate_init than {rate}, or scale the features of X. If alpha={alpha:g} is "
    "large, use a smaller alpha. The last finite weights are kept."
)
_DIVERGED_LBFGS = (
    "The loss became non-finite in iteration {epoch} of solver='lbfgs': training diverged. Scale "
    "the features of X. The last finite weights are kept."
)


def draw_start(
    estimator: Any, layers: Layers, dtype: Any, random_state: np.random.RandomState
) -> Array:
    """Return starting values, drawn in the order in which scikit-learn draws them.

    Parameters
    ----------
    estimator : BaseFastMLP
        `coefs_init` and `intercepts_init` override random initialisation.
    layers : Layers
    dtype : dtype
    random_state : RandomState

    Returns
    -------
    theta : array (n_parameters,)

    Raises
    ------
    ValueError
        If `coefs_init` or `intercepts_init` do not fit the network.
    """
    shapes = layers.shapes()
    coefs, intercepts = check_start(
        estimator, shapes, [(n,) for n in layers.columns.tolist()], LARGEST_VALUE[8]
    )
    names, init = estimator.activation, estimator.init
    hidden = [names] if isinstance(names, str) else names
    drawn, offsets = [], []
    for i, (n_in, n_columns) in enumerate(shapes):
        # the output layer uses the bound of the last hidden layer's activation
        name = hidden[min(i, len(hidden) - 1)] if len(hidden) > 0 else "identity"
        if init == "he":
            bound = np.sqrt(6.0 / n_in)
        else:
            bound = np.sqrt((2.0 if name == "logistic" else 6.0) / (n_in + n_columns))
        if coefs is None:
            drawn.append(random_state.uniform(-bound, bound, (n_in, n_columns)))
        if intercepts is None:
            is_zero = init == "he"
            offsets.append(
                np.zeros(n_columns) if is_zero else random_state.uniform(-bound, bound, n_columns)
            )
    slopes = [
        np.full(stop - start, FIRST_SLOPE, dtype) if stop > start else None
        for start, stop in zip(layers.slopes[:-2], layers.slopes[1:-1], strict=True)
    ]
    coefs, intercepts = coefs or drawn, intercepts or offsets
    return layers.pack(
        [values.astype(dtype) for values in coefs],
        [values.astype(dtype) for values in intercepts],
        slopes,
    )


def check_network_memory(estimator: Any, widths: list[int], hidden: list[str], X: Any) -> None:
    """Check that parameters, optimizer and one batch fit into memory.

    Parameters
    ----------
    estimator : BaseFastMLP
    widths : list of int (n_layers + 1,)
    hidden : list of str (n_layers - 1,)
        Names of the hidden layers' activations.
    X : array or CSR matrix (n_samples, n_features)

    Raises
    ------
    ValueError
        If they do not.
    """
    columns = columns_of(widths, hidden)
    n_parameters = sum((a + 1) * b for a, b in zip(widths, columns, strict=False))
    if estimator.solver == "lbfgs":
        n_rows, n_copies, gathers, dtype = BLOCK, _LBFGS_COPIES, False, np.float64
    else:
        n_rows = _BATCH_SIZE if estimator.batch_size == "auto" else estimator.batch_size
        n_copies, gathers, dtype = _DESCENT_COPIES, not hasattr(X, "indptr"), X.dtype
    work = Workspace.buffers(widths, columns, min(n_rows, X.shape[0]), gathers=gathers)
    check_memory(
        f"hidden_layer_sizes={estimator.hidden_layer_sizes!r} with {widths[0]} features",
        "to train",
        "Use fewer hidden units.",
        bytes_of(work, {"parameters": (n_copies, n_parameters)}, dtype=dtype),
    )


def state_of(estimator: Any, theta: Array, *, first_pass: bool, incremental: bool) -> TrainingState:
    """Return the state from which training begins or resumes.

    Parameters
    ----------
    estimator : BaseFastMLP
    theta : array (n_parameters,)
        Not copied. The optimizer and the lists of the estimator are copied.
    first_pass : bool
        Whether training begins.
    incremental : bool
        Whether the optimizer of the earlier call is reused.
    """
    if first_pass:
        return TrainingState(theta, best_loss=None if estimator.early_stopping else np.inf)
    keeps_optimizer = incremental or estimator.solver == "lbfgs"  # L-BFGS does not use it
    return TrainingState(
        theta,
        optimizer=deepcopy(estimator._optimizer) if keeps_optimizer else None,
        best_theta=estimator._best_theta,
        n_rows=estimator.t_,
        n_stale=estimator._no_improvement_count,
        loss=getattr(estimator, "loss_", None),
        best_loss=estimator.best_loss_,
        loss_curve=list(estimator.loss_curve_),
        data_losses=list(estimator.data_loss_curve_),
        seconds=list(estimator.loss_curve_seconds_),
        scores=_copy(estimator.validation_scores_),
        score_losses=_copy(estimator.validation_loss_curve_),
        best_score=estimator.best_validation_score_,
    )


def _copy(values: list[float] | None) -> list[float] | None:
    return None if values is None else list(values)


def attributes(layers: Layers, result: TrainingResult) -> dict[str, Any]:
    """Return the fitted attributes for a result."""
    state = result.state
    coefs, intercepts, slopes = layers.unpack(state.theta)
    found = {
        "coefs_": coefs,
        "intercepts_": intercepts,
        "slopes_": slopes,
        "n_iter_": result.n_iter,
        "converged_": result.ending is Ending.CONVERGED,
        "t_": state.n_rows,
        "best_loss_": state.best_loss,
        "loss_curve_": state.loss_curve,
        "data_loss_curve_": state.data_losses,
        "loss_curve_seconds_": state.seconds,
        "validation_scores_": state.scores,
        "validation_loss_curve_": state.score_losses,
        "best_validation_score_": state.best_score,
        "_optimizer": state.optimizer,
        "_best_theta": state.best_theta,
        "_no_improvement_count": state.n_stale,
    }
    return found if state.loss is None else {**found, "loss_": state.loss}


def train(
    estimator: Any,
    network: FeedForward,
    samples: Samples,
    state: TrainingState,
    validation: ValidationSet | None,
    random_state: np.random.RandomState,
    *,
    incremental: bool,
) -> TrainingResult:
    """Train a network with the parameters of an estimator. The estimator is not changed.

    Parameters
    ----------
    estimator : BaseFastMLP
    network : FeedForward
    samples : Samples
    state : TrainingState
        Modified in place.
    validation : ValidationSet or None
    random_state : RandomState
    incremental : bool
        Whether to train for one epoch only.

    Raises
    ------
    ValueError
        If the validation set that `early_stopping` splits off is too small.

    Warns
    -----
    UserWarning
        If `batch_size` is larger than the number of rows.
    """
    options: dict[str, Any] = {"validation": validation}
    if estimator.verbose:
        options["report"] = print
    if estimator.solver == "lbfgs":
        return train_lbfgs(network, samples, state, _settings(estimator, BLOCK), **options)
    n_rows = len(samples.weights)
    if estimator.early_stopping and validation is None:
        options["order"], options["validation"] = _split(estimator, samples, random_state)
        n_rows = len(options["order"])
    settings = _settings(estimator, _batch_size(estimator.batch_size, n_rows))
    if incremental:
        settings = settings._replace(max_iter=1)
    return train_epochs(network, samples, state, settings, random_state=random_state, **options)


def _settings(estimator: Any, batch_size: int) -> Settings:
    own = {"batch_size": batch_size, "loss_scale": estimator._loss_scale()}
    shared = [name for name in Settings._fields if name not in own]
    return Settings(**own, **{name: getattr(estimator, name) for name in shared})


def _batch_size(batch_size: int | str, n_rows: int) -> int:
    if batch_size == "auto":
        return min(_BATCH_SIZE, n_rows)
    if batch_size > n_rows:
        warn_user(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped"
        )
    return int(np.clip(batch_size, 1, n_rows))


def _split(
    estimator: Any, samples: Samples, random_state: np.random.RandomState
) -> tuple[np.ndarray, ValidationSet]:
    """Return the indices of the rows to train on, and the other rows as validation set."""
    is_binary = is_classifier(estimator) and estimator.n_outputs_ == 1
    n_samples = len(samples.weights)
    try:
        rows, held_out = train_test_split(
            np.arange(n_samples),
            random_state=random_state,
            test_size=estimator.validation_fraction,
            stratify=samples.targets.astype(bool) if is_binary else None,
        )
    except ValueError as error:
        raise ValueError(
            f"{error} The validation set is validation_fraction={estimator.validation_fraction!r} "
            f"of {n_samples} rows."
        ) from error
    if len(held_out) < 2:
        raise too_small(estimator, len(held_out), n_samples)
    return rows, ValidationSet(samples.part(held_out), estimator._score_outputs)


def warn_of_ending(estimator: Any, result: TrainingResult, *, incremental: bool) -> None:
    """Warn if training ended before convergence; `partial_fit` is not expected to converge.

    Warns
    -----
    ConvergenceWarning
        If a limit was reached.
    UserWarning
        If Ctrl-C was pressed, or all weights have kept starting values of zero.
    """
    if estimator.coefs_init is not None and not any(W.any() for W in estimator.coefs_):
        warn_user(
            "All weights are zero, as in coefs_init, and the predictions are the same for every "
            "row. Hidden units with equal weights learn the same: use random starting values."
        )
    if result.ending is Ending.INTERRUPTED:
        warn_user("Training interrupted by user.")
    elif result.ending is Ending.LIMIT and estimator.solver == "lbfgs":
        warn_user(
            f"lbfgs failed to converge after {result.n_iter} iteration(s) {result.detail}\n"
            f"Increase max_iter={estimator.max_iter} or max_fun={estimator.max_fun}, or scale the "
            "features of X.",
            ConvergenceWarning,
        )
    elif result.ending is Ending.LIMIT and not incremental:
        warn_user(
            f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached "
            "and the optimization hasn't converged yet.",
            ConvergenceWarning,
        )


def divergence(estimator: Any, result: TrainingResult) -> DivergenceError:
    """Return the error to raise after training that diverged."""
    words = _DIVERGED_LBFGS if estimator.solver == "lbfgs" else _DIVERGED_EPOCHS
    return DivergenceError(
        words.format(
            epoch=result.n_iter + 1,
            solver=estimator.solver,
            rate=result.detail,
            alpha=estimator.alpha,
        )
    )
