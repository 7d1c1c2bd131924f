"""Direct ascent of the marginal likelihood with SciPy's L-BFGS."""

import numpy as np
from scipy.optimize import minimize

from fastem.acceleration import DifferentiableModel
from fastem.monitor import Monitor
from fastem.parameters import Array

_MEMORY = 10
_MAX_TRIALS = 20


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
        The best iterate; on ``KeyboardInterrupt`` too.
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
            # 1 is a limit on iterations; otherwise there was nothing more to gain
            monitor.converged = result.status != 1
    except KeyboardInterrupt:
        monitor.interrupted = True
    return best
