"""Likelihood-ratio test of the number of hidden units, by the parametric bootstrap."""

import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastem.estimators import FastEMClassifier, FastEMRegressor, fitted_problem
from fastem.inference.checks import check_count, check_model, checked_rows
from fastem.inference.refits import (
    Fit,
    fit_copy,
    n_workers_of,
    run_all,
    seeds_of,
    template,
    warn_of_refits,
    whole_weights,
    with_parameters,
)
from fastem.inference.resamples import Simulation, check_simulation
from fastem.parameters import Array
from fastem.runtime import DivergenceError

_LOG_ODDS_DEVIATION = 2.0  # of a new unit over rows, as under random starting values


@dataclass(frozen=True)
class LikelihoodRatioTest:
    """Result of a test of m hidden units against m + 1.

    Attributes
    ----------
    n_hidden : int
        Units m under the hypothesis.
    statistic : float
        Twice the gain of the maximal penalised log-likelihood by one more unit, in deviance units.
    p_value : float, probability
        ``(1 + #{null_statistics >= statistic}) / (1 + n_resamples)``.
    null_statistics : array (n_resamples,)
        Statistics of data that were simulated from the model with m units.
    null_model, alternative_model : estimators
        The models with m and m + 1 units.
    """

    n_hidden: int
    statistic: float
    p_value: float
    null_statistics: Array
    null_model: Any
    alternative_model: Any

    def __str__(self) -> str:
        m, n = self.n_hidden, len(self.null_statistics)
        middle, far = np.quantile(self.null_statistics, [0.5, 0.95])
        return (
            f"Likelihood-ratio test of {m} against {m + 1} hidden units\n"
            f"statistic {self.statistic:.3f}, p-value {self.p_value:.3g}\n"
            f"{n} simulations from {m} units: median {middle:.3f}, 95 % quantile {far:.3f}"
        )

    __repr__ = __str__


class _Models(NamedTuple):
    """Models to be fitted to the same rows.

    Attributes
    ----------
    null, alternative : estimators
        `fit` resumes from the parameters of the null model; the alternative has one more unit.
    standardization : Standardization
        Of the features, for the weights of a new unit.
    n_starts : int
        Random starts of either model, and new units that are tried for the alternative.
    """

    null: Any
    alternative: Any
    standardization: Any
    n_starts: int


def likelihood_ratio_test(
    model: FastEMClassifier | FastEMRegressor,
    X: ArrayLike,
    y: ArrayLike,
    *,
    n_resamples: int = 99,
    n_starts: int = 2,
    sample_weight: ArrayLike | None = None,
    random_state: int | np.random.RandomState | None = None,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> LikelihoodRatioTest:
    """Test the number of hidden units m of a fitted model against m + 1.

    Parameters
    ----------
    model : FastEMClassifier or FastEMRegressor
        Fitted, with one hidden layer of m units and an exact E-step. It is not changed.
    X : array-like (n_samples, n_features)
    y : array-like (n_samples,) or (n_samples, n_outputs)
        The rows that the model was fitted to.
    n_resamples : int, default=99
        Simulated data sets, at least 2. The smallest p-value is ``1 / (n_resamples + 1)``.
    n_starts : int, default=2
        Random starts of both models, for the data and for each simulation.
    sample_weight : array-like (n_samples,), optional
        Whole numbers: a row of weight w counts as w identical rows.
    random_state : int, RandomState or None, default=None
        Results do not depend on `n_jobs`, to the bit.
    n_jobs, verbose
        As for `fastem.bootstrap`.

    Returns
    -------
    result : LikelihoodRatioTest
        With `statistic`, `p_value`, `null_statistics`, `null_model` and `alternative_model`.
        ``print(result)`` shows a summary.

    Raises
    ------
    TypeError, NotFittedError, DivergenceError, KeyboardInterrupt
        As `fastem.bootstrap` does.
    ValueError
        As `fastem.bootstrap` does, or if the model has several hidden layers, or its E-step
        samples.

    Warns
    -----
    ConvergenceWarning
        As `fastem.bootstrap` does.

    Notes
    -----
    Under the hypothesis the further unit is not identified, so the statistic has no chi-squared
    distribution. Here y is simulated from the model with m units at the same X, and both models are
    fitted to it as to the data: the model with m units from its parameters and from random starts;
    the model with m + 1 units from that fit, with a new unit whose output weights are zero, and
    from random starts.

    Both fits maximise the likelihood with the penalty of the model. Without penalty, the weights of
    classifiers often diverge, in the data or in a simulation. With it, both maxima exist. A model
    with a new unit of zero weights has the same objective, so the statistic is not negative. The
    test holds for any penalty, but a large one reduces its power: fit the model with a small
    ``alpha``, such as 0.15.

    The parameters of the simulation are estimated, so the level is approximate. In 60 data sets of
    300 rows from one unit, 3 p-values were at most 0.05, and 12 at most 0.2. A test costs about
    ``(n_resamples + 1) (1 + 3 n_starts)`` fits.

    References
    ----------
    McLachlan (1987), On bootstrapping the likelihood ratio test statistic for the number of
    components in a normal mixture, Journal of the Royal Statistical Society C 36(3).

    Examples
    --------
    >>> import numpy as np, fastem
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(100, 2))
    >>> y = (X[:, 0] * X[:, 1] > 0).astype(int)  # one unit cannot represent this
    >>> model = fastem.FastEMClassifier((1,), alpha=0.15, random_state=0).fit(X, y)
    >>> fastem.likelihood_ratio_test(model, X, y, n_resamples=9, random_state=0).p_value
    0.1
    """
    check_model(model)
    check_simulation(model)
    check_count("n_resamples", n_resamples, 2)
    check_count("n_starts", n_starts, 0)
    n_workers = n_workers_of(n_jobs)
    problem = fitted_problem(model, X, y, sample_weight)
    _check_network(problem.engine, problem.shape.hidden_layer_sizes)
    m = problem.shape.first
    models = _Models(
        template(model, n_workers),
        template(model, n_workers, hidden_layer_sizes=(m + 1,)),
        problem.standardization,
        n_starts,
    )
    X, y, weights = checked_rows(model, X, y, sample_weight)
    own, *seeds = seeds_of(random_state, 1 + n_resamples)
    counts = whole_weights(weights, "A simulation")
    null, alternative = _fit_both(models, (X, y, counts.astype(float)), own)
    if null is None or alternative is None:
        raise DivergenceError("No fit to the data has a finite objective; increase alpha.")
    null_model = with_parameters(model, null)
    larger = copy.copy(model).set_params(hidden_layer_sizes=(m + 1,))
    alternative_model = with_parameters(larger, alternative)
    models = models._replace(null=with_parameters(models.null, null))
    simulation = Simulation.of(models.null, X, y, weights)
    task = partial(_statistic_of, models, simulation)
    found = run_all(task, seeds, n_workers, "likelihood-ratio test", verbose)
    warn_of_refits([None if one is None else one[1] for one in found], "likelihood-ratio test")
    statistics = np.array([one[0] for one in found if one is not None])
    statistic = _statistic(null, alternative, counts.sum())
    p_value = (1.0 + np.sum(statistics >= statistic)) / (1.0 + len(statistics))
    return LikelihoodRatioTest(
        m, statistic, float(p_value), statistics, null_model, alternative_model
    )


def _check_network(engine: Any, sizes: tuple[int, ...]) -> None:
    if len(sizes) > 1:
        raise ValueError(
            f"likelihood_ratio_test needs one hidden layer, got hidden_layer_sizes={sizes}."
        )
    if not engine.is_exact:
        raise ValueError(
            f"likelihood_ratio_test needs exact E-steps, got e_step={engine!r}: differences of "
            "estimates are noise. Fit with e_step='enumeration' or 'quadrature'."
        )


def _statistic(null: Fit, alternative: Fit, n: float) -> float:
    return max(0.0, 2.0 * float(n) * (null.loss - alternative.loss))


def _statistic_of(
    models: _Models, simulation: Simulation, seed: np.random.SeedSequence
) -> tuple[float, bool] | None:
    """Return the statistic of simulated data, and whether both fits converged."""
    of_rows, of_fits = seed.spawn(2)
    rows = simulation.draw(of_rows)
    null, alternative = _fit_both(models, rows, of_fits)
    if null is None or alternative is None:
        return None
    statistic = _statistic(null, alternative, rows[0].shape[0])
    return statistic, null.converged and alternative.converged


def _fit_both(
    models: _Models, rows: tuple[Array, Any, Array | None], seed: np.random.SeedSequence
) -> tuple[Fit | None, Fit | None]:
    """Return the best fits of both models to the same rows."""
    random_state = np.random.RandomState(np.random.MT19937(seed))
    resumed = fit_copy(models.null, *rows)
    null = _best([resumed, *_from_random(models.null, rows, models.n_starts, random_state)])
    if null is None:
        return None, None
    extended = [
        fit_copy(_with_new_unit(models, null, random_state), *rows)
        for _ in range(max(models.n_starts, 1))
    ]
    others = _from_random(models.alternative, rows, models.n_starts, random_state)
    return null, _best([*extended, *others])


def _best(fits: list[Fit | None]) -> Fit | None:
    finite = [fit for fit in fits if fit is not None]
    return min(finite, key=lambda fit: fit.loss, default=None)


def _from_random(
    prepared: Any, rows: tuple[Any, ...], n_starts: int, random_state: np.random.RandomState
) -> list[Fit | None]:
    """Return the best fit from random starting values, in a list; nothing without starts."""
    if n_starts == 0:
        return []
    seed = random_state.randint(2**31 - 1)
    cold = copy.copy(prepared).set_params(warm_start=False, n_init=n_starts, random_state=seed)
    return [fit_copy(cold, *rows)]


def _with_new_unit(models: _Models, fit: Fit, random_state: np.random.RandomState) -> Any:
    """Return the alternative, to resume from a fit with a new unit without output weights."""
    centre, scale = models.standardization.centre, models.standardization.scale
    w = random_state.standard_normal(len(scale)) * _LOG_ODDS_DEVIATION / np.sqrt(len(scale)) / scale
    (W, V), (b, c) = fit.coefs, fit.intercepts
    coefs = [np.column_stack([W, w]), np.vstack([V, np.zeros((1, V.shape[1]))])]
    intercepts = [np.append(b, -centre @ w), c]
    return with_parameters(models.alternative, fit._replace(coefs=coefs, intercepts=intercepts))
