"""Small problems for networks with stochastic units, and their likelihoods."""

import warnings

import numpy as np
from mlp_problems import REGRESSIONS, X
from sklearn.exceptions import ConvergenceWarning

from fastem import FastEMClassifier, FastEMRegressor
from fastem.parameters import Shape


def stochastic(task, n_hidden=(3,), **options):
    """Return an estimator with stochastic units for a task of the perceptrons."""
    options = {"random_state": 0, "max_iter": 6, "tol": 0.0, "n_jobs": 1, **options}
    if task not in REGRESSIONS:
        return FastEMClassifier(n_hidden, **{"alpha": 0.15, **options})
    family = "poisson" if task == "poisson" else "gaussian"
    options = {"family": family, "variance_floor": 0.05, "alpha": 0.5, **options}
    return FastEMRegressor(n_hidden, **options)


def fitted(model, *data, **options):
    """Fit without the warning that a fit of few iterations gives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(*data, **options)


def same_bits(a, b):
    """Whether two models have the same weights and losses to the last bit."""
    pairs = list(zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True))
    if hasattr(a, "variance_"):
        pairs.append((a.variance_, b.variance_))
    return a.loss_ == b.loss_ and all(np.array_equal(x, y) for x, y in pairs)


def data_loss(model, X, y, weights=None):
    """Return the negative log-likelihood per unit weight."""
    total = len(X) if weights is None else weights.sum()
    return -model.log_likelihood(X, y, weights) / total


def at_the_last_epoch(model):
    """Give a model the weights of the last epoch of Adam, which `fit` need not keep."""
    n_outputs = model.coefs_[-1].shape[1]
    floor = getattr(model, "variance_floor_", 0.0)
    sizes = tuple(W.shape[1] for W in model.coefs_[:-1])
    shape = Shape(X.shape[1], sizes, n_outputs, True, model.family_, floor)
    found = model._ascent.standardization.fold(shape.unpack(model._ascent.optimizer.theta))
    if hasattr(model, "variance_"):
        model.variance_ = found.variance
    model.coefs_, model.intercepts_ = shape.to_lists(found)
    return model
