"""What `HiddenUnitsDisplay` reads from a fitted estimator or pipeline."""

from typing import Any, NamedTuple

import numpy as np
from sklearn.base import is_classifier
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from fastem.estimators import BaseFastMLP, FastEMClassifier, FastEMRegressor
from fastem.parameters import Array
from fastem.plotting._matplotlib import final_step

_EM = FastEMClassifier, FastEMRegressor


class FirstLayer(NamedTuple):
    """Weights into and out of the units of the first hidden layer; a maxout unit has two pieces.

    Attributes
    ----------
    weights : array (n_features, n_pieces)
    unit_names : list of str (n_pieces,)
    next_weights : array (n_pieces, n_next)
        Weights to the outputs, or to the units of the second hidden layer.
    next_names : list of str (n_next,)
    next_label : str
        What the columns of ``next_weights`` are.
    """

    weights: Array
    unit_names: list[str]
    next_weights: Array
    next_names: list[str]
    next_label: str


def fitted_network(estimator: Any) -> Any:
    """Return the last step of a pipeline, or the estimator: a fitted network with hidden units.

    Raises
    ------
    NotFittedError
        If it is not fitted.
    TypeError
        If it is none of the supported networks.
    ValueError
        If it has no hidden layer.
    """
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    final = final_step(estimator)
    if not isinstance(final, (*_EM, BaseFastMLP, MLPClassifier, MLPRegressor)):
        raise TypeError(
            "HiddenUnitsDisplay supports FastEMClassifier, FastEMRegressor, FastMLPClassifier, "
            "FastMLPRegressor, scikit-learn's MLPClassifier and MLPRegressor, and pipelines that "
            f"end with one of them. Got {type(final).__name__}."
        )
    check_is_fitted(final, "coefs_")
    if len(final.coefs_) < 2:
        raise ValueError("There is no hidden layer to plot.")
    return final


def first_layer(network: Any, max_units: int | None) -> FirstLayer:
    """Return weights and names of the first units.

    Raises
    ------
    ValueError
        If ``max_units`` is less than 1.
    """
    weights, following = network.coefs_[:2]
    n_units, n_pieces = weights.shape[1], 1
    activation = getattr(network, "activation", None)
    if (activation if isinstance(activation, str) else (activation or [""])[0]) == "maxout":
        n_units, n_pieces = n_units // 2, 2
    if max_units is not None and max_units < 1:
        raise ValueError(f"max_units must be at least 1. Got {max_units}.")
    n_drawn = n_units if max_units is None else min(max_units, n_units)
    columns = [h + piece * n_units for h in range(n_drawn) for piece in range(n_pieces)]
    pieces = [""] if n_pieces == 1 else [", first", ", second"]
    names = [f"unit {h}{piece}" for h in range(n_drawn) for piece in pieces]
    label, next_names = _next_layer(network, following.shape[1])
    next_weights = np.repeat(following[:n_drawn], n_pieces, axis=0)
    return FirstLayer(weights[:, columns], names, next_weights, next_names, label)


def _next_layer(network: Any, n_next: int) -> tuple[str, list[str]]:
    """Return the label of the next layer, and the names of its units."""
    if len(network.coefs_) > 2:
        return "unit of layer 2", [str(j) for j in range(n_next)]
    if not is_classifier(network):
        return "output", [str(k) for k in range(n_next)]
    classes = list(network.classes_)
    if n_next == 1:  # the log-odds of the second class
        classes = classes[-1:]
    return "class", [str(k) for k in classes]


def names_of_features(estimator: Any) -> list[str] | None:
    """Return the names of the network's inputs, or None if they have none."""
    before = _steps_before(estimator)
    if before is None:
        names = getattr(final_step(estimator), "feature_names_in_", None)
        return None if names is None else list(names)
    try:
        return list(before.get_feature_names_out())
    except (AttributeError, ValueError):  # a transformer does not name its outputs
        return None


def network_inputs(estimator: Any, X: Any) -> Any:
    """Return X after the earlier steps of a pipeline."""
    before = _steps_before(estimator)
    return X if before is None else before.transform(X)


def deviations(estimator: Any, X: Any) -> Array | None:
    """Return the standard deviation of every input of the network (n_features,), if known.

    Deviations in training are preferred: those that the network recorded, or those after a
    `StandardScaler` directly before it. Otherwise the rows X are used.

    Parameters
    ----------
    estimator : fitted network or pipeline
    X : array-like (n_samples, n_features) or None

    Returns
    -------
    deviations : array (n_features,) or None
        None if the deviations in training are unknown and X is None.

    Raises
    ------
    ValueError
        If X is used and has another number of features, NaN or infinity.
    """
    network, before = final_step(estimator), _steps_before(estimator)
    known = getattr(network, "feature_deviation_", None)
    if known is not None:
        return known
    scaler = None if before is None else before[-1]
    if isinstance(scaler, StandardScaler) and scaler.with_std:
        return np.sqrt(scaler.var_) / scaler.scale_  # zero for a constant feature
    if X is None:
        return None
    X = check_array(network_inputs(estimator, X), accept_sparse=("csr", "csc"))
    n_features = len(network.coefs_[0])
    if X.shape[1] != n_features:
        raise ValueError(f"X has {X.shape[1]} features, and the network has {n_features}.")
    return np.sqrt(StandardScaler(with_mean=False).fit(X).var_)


def mean_activations(network: FastEMClassifier, X: Any, y: Any) -> tuple[Array, np.ndarray]:
    """Return the mean posterior of the units (n_hidden, n_classes) in every class, and the classes.

    With several labels per row, the mean is over the rows that have the label.
    """
    posterior = network.posterior(X, y)
    labels = y.toarray() if hasattr(y, "toarray") else np.asarray(y)
    if network.family_.name == "bernoulli":
        members = {k: labels[:, k] == 1 for k in network.classes_}
    else:
        members = {k: labels.ravel() == k for k in network.classes_}
    present = [k for k, rows in members.items() if rows.any()]
    means = [posterior[members[k]].mean(axis=0) for k in present]
    return np.column_stack(means), np.asarray(present)


def _steps_before(estimator: Any) -> Any:
    """Return the pipeline before the last step, or None if there are no such steps."""
    return estimator[:-1] if len(getattr(estimator, "steps", [])) > 1 else None
