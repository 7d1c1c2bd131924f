"""The warning of a fit that ended before convergence."""

from typing import Any

from sklearn.exceptions import ConvergenceWarning

from fastem.estimators.choices import learning_rate
from fastem.runtime import warn_user
from fastem.solvers import Monitor


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
        remedy = f"Use a smaller learning_rate_init than {learning_rate(estimator):g}."
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
