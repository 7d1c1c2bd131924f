"""Direct ascent of the marginal likelihood with SciPy's L-BFGS."""

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from fastem.parameters import Array
from fastem.solvers.acceleration import DifferentiableModel
from fastem.solvers.monitor import Monitor

_MEMORY = 10
_MAX_TRIALS = 20
_LINE_SEARCH_FAILED = 2  # SciPy's status; 0 is no further gain, 1 a limit that was reached
# A failed line search is the end of an ascent where doubling a parameter would change the
# objective by less than this share, to first order: the gains left are below 1e-10 of it.
_FLAT = 1e-5


def run_lbfgs(model: DifferentiableModel, theta: Array, monitor: Monitor, max_iter: int) -> Array:
    """Climb the objective with the exact gradient that an E-step gives.

    Parameters
    ----------
    model : DifferentiableModel
    theta : array (n_parameters,)
        Starting values.
    monitor : Monitor
    max_iter : int

    Returns
    -------
    theta : array (n_parameters,)
        The best iterate; on ``KeyboardInterrupt`` too, after which ``monitor.interrupted``
        is True. ``monitor.converged`` is False if the limit was reached, or if no step was
        found where the gradient promises one.

    Raises
    ------
    FloatingPointError
        If the objective at the starting values is not finite.
    """
    best, stopped = theta, False
    objective, _ = model.expect(theta)
    monitor.start(objective)

    def loss(candidate: Array) -> tuple[float, Array]:
        try:
            value, statistics = model.expect(candidate)
        except FloatingPointError:
            value = -np.inf
        if not np.isfinite(value):
            # a bowl around the best iterate: the line search interpolates its way back
            size, away = max(abs(monitor.history[-1]), 1.0), candidate - best
            return size - monitor.history[-1], 2.0 * size / (away @ away) * away
        return -value, -model.gradient(candidate, statistics)

    def record(intermediate_result) -> None:
        nonlocal best, stopped
        stopped = monitor.update(-intermediate_result.fun, intermediate_result.x)
        if not monitor.fell:
            best = intermediate_result.x.copy()
        if stopped:
            raise StopIteration

    options = {
        "maxiter": max_iter, "maxfun": max_iter * _MAX_TRIALS, "maxcor": _MEMORY,
        "ftol": 0.0, "gtol": 0.0, "maxls": _MAX_TRIALS,
    }  # fmt: skip
    try:
        result = minimize(
            loss, theta, method="L-BFGS-B", jac=True, callback=record, options=options
        )
        if not stopped:
            failed = result.status == _LINE_SEARCH_FAILED
            at_the_top = failed and _is_flat(result, theta, monitor.history[0])
            monitor.converged = result.status == 0 or at_the_top
    except KeyboardInterrupt:
        monitor.interrupted = True
    return best


def _is_flat(result: OptimizeResult, start: Array, first: float) -> bool:
    """Tell whether the gradient is rounding, beside the parameters and the objective."""
    scale = np.maximum(np.abs(result.x), np.abs(result.x - start))
    scale[scale == 0.0] = 1.0
    rounding = np.finfo(float).eps * abs(first)  # near zero the objective is made of this
    return float(np.max(np.abs(result.jac) * scale)) <= _FLAT * abs(result.fun) + 100.0 * rounding
