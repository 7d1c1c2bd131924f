"""Direct ascent of the marginal likelihood with SciPy's L-BFGS."""

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from fastem.parameters import Array
from fastem.solvers.acceleration import DifferentiableModel
from fastem.solvers.monitor import Monitor

_MEMORY = 10
_MAX_TRIALS = 20
_LARGEST_OBJECTIVE = 1e100
_LIMIT_REACHED = 1  # SciPy's status; 0: no further gain, 2: the line search failed
# Largest slope at an optimum, as a multiple of sqrt(tol): see `_is_flat`. Fits of scikit-learn's
# small data sets end below 25. The bounds hold for a tol near zero and for a coarse tol.
_SLOPE_PER_ROOT_TOL = 30.0
_SLOPE_BOUNDS = 3e-5, 0.3


def run_lbfgs(model: DifferentiableModel, theta: Array, monitor: Monitor, max_iter: int) -> Array:
    """Maximise the objective with the exact gradient of every E-step.

    The ascent has converged if it ends where the gradient is small. It ends when an iteration
    gains less than ``monitor.tol`` and the gradient is small, or when SciPy finds no further
    gain, whether its line search fails or not.

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
        The best iterate. After a ``KeyboardInterrupt``, ``monitor.interrupted`` is True.
        ``monitor.converged`` is False if ``max_iter`` was reached, or if the gradient at the
        end is not small.

    Raises
    ------
    FloatingPointError
        If the objective at the starting values is not finite.
    """
    best, gradient, stopped = theta, None, False
    objective, _ = model.expect(theta)
    monitor.start(objective, theta)
    monitor.limit = monitor.n_iter + max_iter
    unit = _unit_of(objective)

    def loss(candidate: Array) -> tuple[float, Array]:
        nonlocal gradient
        try:
            value, statistics = model.expect(candidate)
        except FloatingPointError:
            value = -np.inf
        if not np.isfinite(value):
            # a parabola around the best iterate: the line search returns towards it
            size, away = max(abs(monitor.history[-1]), 1.0), candidate - best
            slope = 2.0 * (size / unit) / (away @ away) * away
            return (size - monitor.history[-1]) / unit, slope
        gradient = model.gradient(candidate, statistics)
        return -value / unit, -gradient / unit

    def record(intermediate_result: OptimizeResult) -> None:
        nonlocal best, stopped
        iterate, objective = intermediate_result.x, -intermediate_result.fun * unit
        if not np.isfinite(iterate).all():  # squares of gradients have underflowed
            raise StopIteration
        # SciPy reports an iterate directly after its evaluation: `gradient` belongs to it
        stopped = monitor.update(
            objective, iterate, lambda: _is_flat(gradient, iterate, objective, theta, monitor)
        )
        if not monitor.fell:
            best = iterate.copy()
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
        if not stopped and result.status != _LIMIT_REACHED:
            slope, loss_at_end = result.jac * unit, result.fun * unit
            monitor.converged = _is_flat(slope, result.x, loss_at_end, theta, monitor)
    except KeyboardInterrupt:
        monitor.interrupted = True
    return best


def _unit_of(objective: float) -> float:
    """Return what the objective is divided by: SciPy squares gradients, which must not overflow.

    It is a power of two, so that no bit of a result depends on it, and one for usual objectives.
    """
    if abs(objective) < _LARGEST_OBJECTIVE:
        return 1.0
    return float(2.0 ** np.floor(np.log2(abs(objective))))


def _is_flat(
    gradient: Array, iterate: Array, objective: float, start: Array, monitor: Monitor
) -> bool:
    """Return whether the gradient is small enough for an optimum.

    The slope of a parameter is the change of the objective, to first order, when the parameter
    is doubled, as a share of the objective. Near an optimum the gain that is left grows with
    the square of the slopes. A gain of ``tol`` therefore corresponds to slopes in proportion to
    ``sqrt(tol)``.
    """
    scale = np.maximum(np.abs(iterate), np.abs(iterate - start))
    scale[scale == 0.0] = 1.0
    largest = np.clip(_SLOPE_PER_ROOT_TOL * np.sqrt(monitor.tol), *_SLOPE_BOUNDS)
    # an objective near zero is a sum of rounding errors
    rounding = 100.0 * np.finfo(float).eps * abs(monitor.history[0])
    return bool(np.max(np.abs(gradient) * scale) <= largest * abs(objective) + rounding)
