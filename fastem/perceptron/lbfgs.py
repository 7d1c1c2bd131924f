"""Training of deterministic networks by L-BFGS on all rows at once."""

import time

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from fastem.parameters import Array
from fastem.perceptron.feed_forward import FeedForward, rows_of
from fastem.perceptron.training import (
    Ending,
    Printer,
    Samples,
    Settings,
    TrainingResult,
    TrainingState,
    ValidationSet,
    is_sane,
    report_step,
    silent,
    validate,
)


def train_lbfgs(
    network: FeedForward,
    samples: Samples,
    state: TrainingState,
    settings: Settings,
    *,
    validation: ValidationSet | None = None,
    report: Printer = silent,
) -> TrainingResult:
    """Minimise the loss of all rows with SciPy's L-BFGS.

    Parameters
    ----------
    network : FeedForward
    samples : Samples
    state : TrainingState
        Modified in place. Its optimizer is not used.
    settings : Settings
    validation : ValidationSet, optional
        Evaluated once, at the end.
    report : callable, default=silent
        Receives one line of text per iteration.

    Returns
    -------
    result : TrainingResult
        If training diverges or is interrupted, the parameters are the last finite ones.

    Notes
    -----
    An evaluation costs about ``6 n_rows n_coefs`` flops.
    """
    rows = rows_of(samples.X, samples.targets, samples.weights)
    start, last_finite = state.theta, state.theta.copy()
    began = time.perf_counter() - (state.seconds[-1] if state.seconds else 0.0)
    n_before, data_loss = len(state.loss_curve), np.nan

    def objective(candidate: Array) -> tuple[float, Array]:
        nonlocal data_loss
        loss, penalty, gradient = network.loss_gradient(np.ascontiguousarray(candidate), rows)
        data_loss = loss * settings.loss_scale
        return data_loss + penalty, gradient

    def record(intermediate_result: OptimizeResult) -> None:
        if not np.isfinite(intermediate_result.fun):
            raise StopIteration
        np.copyto(last_finite, intermediate_result.x)
        state.loss_curve.append(float(intermediate_result.fun))
        # SciPy reports an iterate directly after its evaluation: `data_loss` belongs to it
        state.data_losses.append(data_loss)
        state.seconds.append(time.perf_counter() - began)
        n_iter, loss = len(state.loss_curve), state.loss_curve[-1]
        report(f"Iteration {n_iter:d}, loss = {loss:.8f}")
        report_step("iteration", n_iter, n_before + settings.max_iter, loss)

    options = {"maxfun": settings.max_fun, "maxiter": settings.max_iter, "gtol": settings.tol}
    state.theta, result, ending = last_finite, None, Ending.LIMIT
    try:
        result = minimize(
            objective, start, method="L-BFGS-B", jac=True, callback=record, options=options
        )
    except KeyboardInterrupt:
        ending = Ending.INTERRUPTED
    n_iter, detail = len(state.loss_curve) - n_before, ""
    if result is not None:
        if not (np.isfinite(result.fun) and is_sane(result.x)):
            return TrainingResult(state, n_iter, Ending.DIVERGED)
        n_iter = min(int(result.nit), settings.max_iter)
        state.loss = state.best_loss = float(result.fun)
        np.copyto(last_finite, result.x)
        ending = Ending.CONVERGED if result.status == 0 else Ending.LIMIT
        detail = f"(status={result.status}):\n{result.message}"
    if validation is not None:
        score, loss = validate(network, state.theta, validation, settings)
        state.scores, state.score_losses, state.best_score = [score], [loss], score
    return TrainingResult(state, n_iter, ending, detail)
