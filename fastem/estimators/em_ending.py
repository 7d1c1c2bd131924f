"""The warning of a fit that ended before convergence."""

from itertools import pairwise
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastem.estimators.choices import RATE_OF_FIRST_EPOCH, learning_rate
from fastem.estimators.inference import FittedNetwork
from fastem.families import Categorical
from fastem.runtime import warn_user
from fastem.solvers import Monitor

_ROWS_TO_COMPARE = 1000
_NO_EFFECT = 0.01  # range of predictions: log-odds, log-rates, or standard deviations of the noise


def warn_of_ending(estimator: Any, monitor: Monitor) -> None:
    """Warn if the ascent ended before convergence.

    Warns
    -----
    ConvergenceWarning
        If the fit was interrupted or did not converge.
    RuntimeWarning
        If the objective fell, which is an error in the package.
    """
    if monitor.fell:
        warn_user(
            f"The penalised log-likelihood fell in iteration {monitor.n_iter + 1}. This is an "
            "error in fastem, not convergence; please report it. The parameters before the fall "
            "are kept.",
            RuntimeWarning,
        )
    elif monitor.interrupted or monitor.stopped:
        warn_user(
            f"The fit was interrupted after {monitor.n_iter} iterations. The best parameters "
            "so far are kept.",
            ConvergenceWarning,
        )
    elif not monitor.converged and monitor.n_iter < estimator.max_iter:
        is_auto = estimator.solver == "adam" and isinstance(estimator.learning_rate_init, str)
        rate = RATE_OF_FIRST_EPOCH if is_auto else learning_rate(estimator)
        remedy = f"Use a smaller learning_rate_init than {rate:g}."
        if estimator.solver == "lbfgs":
            remedy = "Use solver='em', standardize=True, or other starting values."
        warn_user(
            f"The fit stopped after {monitor.n_iter} iterations without convergence: no step "
            f"increased the objective. {remedy}",
            ConvergenceWarning,
        )
    elif not monitor.converged:
        warn_user(
            f"The fit did not converge in {estimator.max_iter} iterations. Increase max_iter or "
            "tol, or increase alpha, which makes the optimum better determined.",
            ConvergenceWarning,
        )


def warn_of_equal_units(estimator: Any, network: FittedNetwork, X: Any) -> None:
    """Warn if the fit does not distinguish the hidden units, or makes no use of them.

    Parameters
    ----------
    estimator : BaseFastEM
        Fitted.
    network : FittedNetwork
    X : array (n_samples, n_features) or SparseFeatures
        Rows of the fit.

    Warns
    -----
    UserWarning
        If all rows have about the same prediction, or if the starting values of all units were
        equal and the units still are.
    """
    eta = network.natural_parameter(network.mean_activation(X[:_ROWS_TO_COMPARE]))
    if isinstance(network.family, Categorical):
        eta = eta - eta.mean(axis=1, keepdims=True)
    scale = np.sqrt(network.dispersion) if network.family.has_variance else 1.0
    if len(eta) > 1 and np.all(np.ptp(eta, axis=0) < _NO_EFFECT * scale):
        remedy = "No smaller penalty predicted held-out rows better."
        if not hasattr(estimator, "alpha_path_"):
            remedy = "Use a smaller alpha, more starts (n_init), or another random_state."
        warn_user(
            f"The fit predicts the same for every row: with alpha={estimator.alpha_:g} the hidden "
            f"units are indistinguishable and have no effect. {remedy}"
        )
    elif estimator.coefs_init is not None and _are_equal(network):
        warn_user(
            "All hidden units of a layer are equal, because coefs_init is equal for all of them. "
            "EM cannot separate them: use random starting values."
        )


def _are_equal(network: FittedNetwork) -> bool:
    """Return whether the units of some hidden layer of several units have equal weights."""
    for W, V in pairwise(network.coefs):
        if W.shape[1] > 1 and np.allclose(W, W[:, :1]) and np.allclose(V, V[:1]):
            return True
    return False
