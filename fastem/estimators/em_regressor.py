"""FastEMRegressor: predictive densities from stochastic hidden units, trained by exact EM."""

import time
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, RegressorMixin

from fastem.engines import Engine
from fastem.estimators.arguments import CheckedScore
from fastem.estimators.ascent import Problem
from fastem.estimators.availability import available
from fastem.estimators.density_predictions import DensityPredictions
from fastem.estimators.em import BaseFastEM, has_batches
from fastem.estimators.noise import variance_floor
from fastem.estimators.numbers import known_numbers, learn_numbers
from fastem.estimators.standardization import (
    Moments,
    extremes_of,
    warn_of_constant_outputs,
)
from fastem.estimators.validation import warn_of_variance_at_floor
from fastem.families import Family
from fastem.parameters import Array


class FastEMRegressor(DensityPredictions, CheckedScore, RegressorMixin, BaseFastEM, BaseEstimator):
    """Neural network for numbers or counts with stochastic binary hidden units, by exact EM.

    ``p(y|x) = sum_z p(y|z) prod_h P(z_h|x)``: the hidden units are Bernoulli with logistic
    probabilities. Given the hidden states, a number is normal with mean ``z V + c`` and a constant
    variance; a count is Poisson with rate ``exp(z V + c)``. Given x, the distribution of y is a
    mixture: its spread depends on x, and it can have several modes. `fit` maximises the exact
    marginal log-likelihood minus ``alpha / 2`` times the squared weights. Numbers are standardised
    internally; all attributes and results are in the unit of y.

    Parameters
    ----------
    hidden_layer_sizes : tuple of ints, int or "auto", default=(10,)
        Number of units m of each hidden layer. "auto" is 10, 16 or 32 units of one layer: larger
        numbers, with ``e_step="auto"``, as long as they predict held-out rows better and E-steps
        take less than 0.1 s. With enumeration, time and memory grow as ``2**m``. With quadrature,
        for one Gaussian output, they grow as m. Several layers need ``e_step="sampling"``.
    family : {"gaussian", "poisson"} or Family, default="gaussian"
        Distribution of y given the hidden states. An instance can be your own family: see
        `fastem.IndependentOutputs`.
    e_step : {"auto", "enumeration", "quadrature", "sampling"} or engine instance, default="auto"
        As for `FastEMClassifier`. Quadrature serves one Gaussian output.
    m_step : {"auto", "newton", "bound", "gradient"}, default="auto"
        As for `FastEMClassifier`. The variance has a closed form in all of them.
    solver : {"auto", "em", "lbfgs", "adam"}, default="auto"
        As for `FastEMClassifier`; "auto" is EM, or L-BFGS with thousands of features.
    accelerate : bool, default=True
        As for `FastEMClassifier`.
    alpha : float or "auto", default="auto"
        L2 penalty: multiplies half the squared norm of the weights on standardised features and
        outputs, in the units of the summed log-likelihood. Intercepts are not penalised. "auto" is
        chosen by the log-density of held-out rows, as for `FastEMClassifier`. In `partial_fit` it
        is that of an earlier fit, or 0.5.
    variance_floor : float or "auto", default="auto"
        Lower bound of every noise variance, as a share of the variance of y; if y is constant, as a
        share of ``y**2``. Without it, the likelihood is unbounded: a density can concentrate on
        single values of y. "auto" first trains a model on four fifths of the rows (at most 10 000),
        under bounds that fall from 0.7 to 0.005. It selects the bound under which the other rows
        have the highest density. With fewer than 50 different rows, and in `partial_fit`: 0.05.
    fit_intercept : bool, default=True
        Whether hidden units and outputs have intercepts.
    standardize : bool, default=True
        Whether to standardise the features internally. `coefs_` are in the units of X either way.
    learning_rate_init, batch_size, max_iter, n_init
        As for `FastEMClassifier`.
    tol : float, default=1e-6
        Relative tolerance, as for `FastEMClassifier`. For numbers, an objective of less than 1 nat
        per row counts as 1 nat per row, because log-densities can sum to zero.
    early_stopping, validation_fraction, n_iter_no_change
        As for `FastEMClassifier`; the split is not stratified.
    coefs_init, intercepts_init : list of arrays, optional
        Starting values, in the shapes of `coefs_` and `intercepts_`.
    warm_start, n_jobs, random_state, verbose
        As for `FastEMClassifier`.

    Attributes
    ----------
    family_ : Family
        Distribution of y given the hidden states; a copy of an instance that was passed.
    coefs_ : list of arrays (n_features, n_hidden), ..., (n_hidden, n_outputs)
        Log-odds per unit of the feature; then natural parameter per active unit: units of y, or
        log-rates.
    intercepts_ : list of arrays (n_hidden,), ..., (n_outputs,)
    feature_deviation_ : array (n_features,)
        As for `FastEMClassifier`.
    variance_ : array (n_outputs,), squared unit of y
        Noise variance given the hidden states. Only if the family has one.
    variance_floor_ : float
        Lower bound of the noise variance, as a share of the variance of y. Only if the family has a
        variance.
    alpha_, alpha_path_, solver_, starts_
        As for `FastEMClassifier`.
    n_iter_, converged_, loss_, loss_curve_, data_loss_curve_, loss_curve_seconds_
        As for `FastEMClassifier`. Losses are negative log-densities in the unit of y. For numbers,
        up to 140 iterations under falling bounds of the variance improve the random start.
        `n_iter_` and `loss_curve_` exclude them; the seconds include them.
    validation_loss_curve_, best_validation_loss_, e_step_, n_layers_
        As for `FastEMClassifier`.
    n_features_in_, feature_names_in_ : as in scikit-learn

    See Also
    --------
    fastem.FastEMClassifier : Classes and several labels.
    fastem.FastMLPRegressor : Deterministic networks.
    fastem.DensityDisplay : Picture of predicted densities.
    fastem.dask.DaskEMRegressor : Rows in the partitions of a Dask collection.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from fastem import FastEMRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = FastEMRegressor((4,), random_state=0).fit(X, y)
    >>> model.predict_interval(X[:1], coverage=0.9).shape
    (1, 2)
    """

    def __init__(
        self,
        hidden_layer_sizes: tuple[int, ...] | int | str = (10,),
        *,
        family: str | Family = "gaussian",
        e_step: str | Engine = "auto",
        m_step: str = "auto",
        solver: str = "auto",
        accelerate: bool = True,
        alpha: float | str = "auto",
        variance_floor: float | str = "auto",
        fit_intercept: bool = True,
        standardize: bool = True,
        learning_rate_init: float | str = "auto",
        batch_size: int | str = "auto",
        max_iter: int = 500,
        tol: float = 1e-6,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        n_init: int = 1,
        coefs_init: Sequence[ArrayLike] | None = None,
        intercepts_init: Sequence[ArrayLike] | None = None,
        warm_start: bool = False,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.family = family
        self.e_step = e_step
        self.m_step = m_step
        self.solver = solver
        self.accelerate = accelerate
        self.alpha = alpha
        self.variance_floor = variance_floor
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.n_init = n_init
        self.coefs_init = coefs_init
        self.intercepts_init = intercepts_init
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @available(has_batches)
    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Process some rows once, in mini-batches; only with ``solver="adam"``.

        The rows of the first call define the standardisation of X and y. They should be typical.
        See `FastEMClassifier.partial_fit` for penalty, order and resumption.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like (n_samples,), optional
            Nonnegative. Rows of weight zero are ignored.

        Returns
        -------
        self : FastEMRegressor

        Raises
        ------
        AttributeError
            With another solver.
        ValueError
            If a parameter, X, y or a weight is out of range, the network has changed, or a batch
            does not fit into memory.
        DivergenceError
            If the weights diverge.
        """
        return self._partial_fit(X, y, sample_weight, None, time.perf_counter())

    def _learn_targets(
        self, y: Any, weights: Array, classes: Any, *, resumes: bool
    ) -> tuple[Family, np.ndarray]:
        return learn_numbers(self, y, resumes=resumes)

    def _targets_of_part(self, y: Any) -> tuple[np.ndarray | None, Array | None]:
        return None, learn_numbers(self, y, resumes=False)[1]

    def _known_targets(
        self, y: ArrayLike, n_samples: int, n_outputs: int | None = None
    ) -> np.ndarray:
        n_outputs = len(self.intercepts_[-1]) if n_outputs is None else n_outputs
        return known_numbers(self, y, (n_samples, n_outputs))

    def _with_variance_floor(
        self, problem: Problem, *, resumes: bool, streams: bool = False
    ) -> Problem:
        if not (streams and resumes):  # later rows of a stream may be few
            kept = problem.of_rows(problem.weights > 0.0)
            moments = Moments.of(kept.targets, kept.weights)
            warn_of_constant_outputs(extremes_of(kept.targets), moments)
        self.variance_floor_ = variance_floor(self, problem, resumes=resumes, streams=streams)
        shape = problem.shape._replace(variance_floor=self.variance_floor_)
        return problem._replace(shape=shape)

    def _warn_of_result(self, scale: Array) -> None:
        if self.family_.has_variance and not isinstance(self.variance_floor, str):
            warn_of_variance_at_floor(self.variance_ / scale**2, self.variance_floor)
