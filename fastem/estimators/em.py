"""BaseFastEM: training, inference and model files of networks with stochastic hidden units."""

import time
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from fastem.engines import Engine, resolve_engine, shape_of_plan
from fastem.estimators.arguments import features, features_and_targets, row_weights
from fastem.estimators.ascent import Problem
from fastem.estimators.base_training import BaseTraining
from fastem.estimators.choices import Choice, known_penalty, rows_per_e_step, without_choice
from fastem.estimators.em_ending import warn_of_ending, warn_of_equal_units
from fastem.estimators.em_epochs import place_in_stream, training_for
from fastem.estimators.em_selection import FIRST_SIZE, choose
from fastem.estimators.held_out import hold_out
from fastem.estimators.hyperparameters import check_em_parameters
from fastem.estimators.inference import FittedNetwork
from fastem.estimators.likelihoods import Likelihoods
from fastem.estimators.persistence import ModelFiles
from fastem.estimators.progress import CallbackSupportMixin, Progress, with_callbacks
from fastem.estimators.rollback import unchanged_on_failure
from fastem.estimators.standardization import Moments, feature_deviations
from fastem.estimators.starting_values import Starts, n_finalists
from fastem.estimators.validation import check_same_em_network, check_solver, check_weights
from fastem.families import Family
from fastem.parameters import NO_VARIANCE, Array, Parameters, Shape
from fastem.rows import LARGEST_WEIGHT
from fastem.runtime import single_threaded_blas
from fastem.sparse import FORM, SparseFeatures, features_of


def has_batches(estimator: Any) -> bool:
    """Return True, or raise AttributeError: `partial_fit` needs mini-batches."""
    if estimator.solver != "adam":
        raise AttributeError(
            f"partial_fit needs solver='adam', which trains by mini-batches; got "
            f"solver={estimator.solver!r}, which needs all rows at once."
        )
    return True


class BaseFastEM(
    Likelihoods, ModelFiles, ClassNamePrefixFeaturesOutMixin, TransformerMixin, CallbackSupportMixin
):
    """Estimator whose hidden units are stochastic and binary.

    Subclasses define the constructor, the coding of y, and the predictions.
    """

    def _learn_targets(
        self, y: Any, weights: Array, classes: Any, *, resumes: bool
    ) -> tuple[Family, np.ndarray]:
        """Return family and targets of a fit; set the attributes that describe y."""
        raise NotImplementedError

    def _targets_of_part(self, y: Any) -> tuple[np.ndarray | None, Array | None]:
        """Return the labels of some of the rows (n_samples,), or targets that are not classes."""
        raise NotImplementedError

    def _with_class_weights(
        self, targets: np.ndarray, weights: Array, *, incremental: bool
    ) -> Array:
        """Return the weights of the rows times those of their classes, if there are any."""
        return weights

    def _known_targets(
        self, y: ArrayLike, n_samples: int, n_outputs: int | None = None
    ) -> np.ndarray:
        """Return the targets of every row.

        ``n_outputs`` is needed if the estimator is not fitted yet.
        """
        raise NotImplementedError

    @with_callbacks
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Fit the network by maximum penalised marginal likelihood.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
            No dense copy of a sparse matrix is made.
        y : array-like (n_samples,) or (n_samples, n_outputs)
            Classifier: labels, strings or integers, of at least two classes; or one column of 0 and
            1 for every label. Regressor: numbers or counts.
        sample_weight : array-like (n_samples,), optional
            Nonnegative. A row of weight w counts as w identical rows. Weights that sum to 1, such
            as those of AdaBoost in scikit-learn, therefore make the penalty n_samples times as
            strong as weights of 1, unless ``alpha="auto"``.
        X_val, y_val, sample_weight_val : as X, y, sample_weight, optional
            Validation set. Its loss is recorded at every iterate, at the cost of an E-step on these
            rows. `early_stopping` uses it instead of splitting one off. Class weights do not apply
            to it.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            If a parameter, X, y or a weight is out of range, there is only one class, a warm
            start changes the network, or the problem does not fit into memory.
        DivergenceError
            If no start has a finite objective, or a warm start diverges.
        KeyboardInterrupt
            If Ctrl-C is pressed before the first iteration has ended, or while the penalty or the
            number of units is chosen.

        Warns
        -----
        ConvergenceWarning
            If the best start did not converge, or Ctrl-C was pressed; the best parameters so far
            are kept. Also for every start that is dropped because its objective is not finite.
        RuntimeWarning
            If the objective fell, which is an error in fastem.
        UserWarning
            If "auto" selects sampling, or if at least half of the rows have an effective sample
            size below a tenth of the samples.

        Notes
        -----
        A call that raises an error leaves the estimator as it was.
        """
        with unchanged_on_failure(self):
            resumes = self.warm_start and hasattr(self, "coefs_")
            problem = self._check_problem(X, y, sample_weight, resumes=resumes)
            problem = hold_out(self, problem, X_val, y_val, sample_weight_val)
            self._forget_choices(problem.shape, resumes=resumes)
            with single_threaded_blas():  # sums do not depend on the number of threads
                if problem.shape.n_variances > 0:
                    problem = self._with_variance_floor(problem, resumes=resumes)
                choice = self._choose(problem, resumes=resumes)
                settings, problem = choice.settings, choice.problem
                training = training_for(settings, problem)
            X_fit = problem.X if np.ptp(problem.targets, axis=0).any() else None
            self._ascend(training, choice, (X, y, sample_weight), resumes=resumes, X_fit=X_fit)
        return self

    def _ascend(
        self,
        training: BaseTraining,
        choice: Choice,
        arguments: tuple[Any, ...],
        *,
        resumes: bool,
        X_fit: Array | SparseFeatures | None,
    ) -> None:
        """Maximise the objective, and set the fitted attributes.

        Parameters
        ----------
        training : BaseTraining
        choice : Choice
        arguments : tuple (X, y, sample_weight)
            Those of `fit`, for callbacks.
        resumes : bool
            Whether to begin at the parameters of the earlier fit.
        X_fit : array (n_samples, n_features) or SparseFeatures or None
            Rows of the fit, if they do not all have the same target.
        """
        settings, engine = choice.settings, choice.problem.engine
        start = choice.start if self.n_init == 1 else None
        is_single = resumes or start is not None
        n_starts = 1 if is_single else n_finalists(settings, choice.problem)
        progress = Progress(self, n_starts, *arguments, training.loss)
        vars(self).update(choice.attributes)
        self.e_step_, self.n_layers_ = choice.engine, training.shape.depth + 2
        if resumes:
            last = getattr(self, "_ascent", None)
            ascent = training.resume(self._parameters(training.shape), last, progress)
        elif start is not None:
            training.polishes = True
            ascent = training.resume(start, None, progress)
        else:
            starts = Starts(training, settings, n_starts)
            ascent = starts.best(progress)
            self.starts_ = starts.records
        vars(self).update(training.attributes(ascent.theta, ascent.monitor))
        vars(self).pop("_ascent", None)
        if self.warm_start or self.solver == "adam":  # partial_fit can resume it
            self._ascent = ascent
        progress.end()
        warn_of_ending(settings, ascent.monitor)
        if ascent.monitor.converged and X_fit is not None:
            warn_of_equal_units(self, self._network(), X_fit)
        self._warn_of_result(ascent.standardization.output_scale)
        if ascent.median_effective_size is not None:
            engine.warn_if_noisy(ascent.median_effective_size)

    def _forget_choices(self, shape: Shape, *, resumes: bool) -> None:
        """Delete attributes of an earlier fit that this fit may not set again."""
        names = [] if resumes else ["alpha_", "alpha_path_", "size_path_", "solver_", "starts_"]
        if not isinstance(self.alpha, str):  # it was chosen in an earlier fit only
            names.append("alpha_path_")
        if shape.n_variances == 0:  # an earlier fit may have had another family
            names += ["variance_", "variance_floor_"]
        for name in names:
            vars(self).pop(name, None)

    def _choose(self, problem: Problem, *, resumes: bool) -> Choice:
        """Replace every "auto" of the parameters."""
        if not resumes:
            return choose(self, problem, grows=isinstance(self.hidden_layer_sizes, str))
        return choose(self, problem, grows=False, alpha=known_penalty(self, problem.shape))

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, classes: Any, began: float) -> Self:
        """Process some rows once, in mini-batches; ``began`` is the clock (s) at the call."""
        with unchanged_on_failure(self):
            if self.early_stopping:
                raise ValueError("partial_fit does not support early_stopping=True")
            resumes = hasattr(self, "coefs_")
            problem = self._check_problem(X, y, sample_weight, resumes=resumes, classes=classes)
            parameters = self._parameters(problem.shape) if resumes else None
            with single_threaded_blas():
                if problem.shape.n_variances > 0:
                    problem = self._with_variance_floor(problem, resumes=resumes, streams=True)
                settings = without_choice(self, problem.shape, "adam")
                training, ascent = place_in_stream(
                    settings, problem, parameters, getattr(self, "_ascent", None)
                )
            self._ascent, loss, data_loss = training.stream(ascent)
            vars(self).update(training.weights(self._ascent.theta))
            self.e_step_, self.n_layers_ = problem.engine, problem.shape.depth + 2
            seconds = list(getattr(self, "loss_curve_seconds_", []))
            elapsed = (seconds[-1] if seconds else 0.0) + time.perf_counter() - began
            self.loss_, self.loss_curve_ = loss, [*getattr(self, "loss_curve_", []), loss]
            self.validation_loss_curve_ = self.best_validation_loss_ = None
            self.data_loss_curve_ = [*getattr(self, "data_loss_curve_", []), data_loss]
            self.loss_curve_seconds_ = [*seconds, elapsed]
            self.n_iter_, self.converged_ = getattr(self, "n_iter_", 0) + 1, False
            self.alpha_, self.solver_ = float(settings.alpha), settings.solver
            if self.verbose:
                print(f"[fastem] call {self.n_iter_}, running loss {loss:.8f} nats")
        return self

    def _check_problem(
        self, X: Any, y: Any, sample_weight: Any, *, resumes: bool, classes: Any = None
    ) -> Problem:
        """Check parameters and rows; set the attributes that depend on the rows alone."""
        sizes = check_em_parameters(self)
        resolve_engine(self.e_step)  # an unknown name is reported before the data are checked
        X, y, weights = self._check_rows(X, y, sample_weight, reset=not resumes)
        family, targets = self._learn_targets(y, weights, classes, resumes=resumes)
        counts = weights
        weights = self._with_class_weights(targets, weights, incremental=classes is not None)
        n_outputs = targets.shape[1] if targets.ndim == 2 else len(self.classes_)
        shape = self._shape_for(sizes, X.shape[1], n_outputs, family, resumes=resumes)
        engine = self._engine_for(shape_of_plan(shape, X), rows_per_e_step(self, len(X)), resumes)
        if not (resumes and hasattr(self, "feature_deviation_")):
            self.feature_deviation_ = feature_deviations(Moments.of(X, weights))
        return Problem(shape, engine, X, targets, weights, counts)

    def _shape_for(
        self,
        sizes: tuple[int, ...] | None,
        n_features: int,
        n_outputs: int,
        family: Family,
        *,
        resumes: bool,
    ) -> Shape:
        """Return the shape of the network, and set `family_`; ``sizes`` is None for "auto"."""
        if sizes is None:
            sizes = tuple(len(b) for b in self.intercepts_[:-1]) if resumes else (FIRST_SIZE,)
        if resumes:
            check_same_em_network(self, sizes, family)
        self.family_ = family
        return Shape(n_features, sizes, n_outputs, bool(self.fit_intercept), family)

    def _engine_for(self, shape: Shape, n_rows: int, resumes: bool) -> Engine:
        """Return the engine for E-steps on so many rows, with its seed."""
        engine = resolve_engine(self.e_step, shape=shape, n_samples=n_rows)
        earlier = getattr(self, "e_step_", None) if resumes else None
        engine = engine.seeded(self.random_state, earlier)
        check_solver(self.solver, engine)
        return engine

    def _check_rows(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool
    ) -> tuple[Array, Any, Array]:
        """Return checked X, y and weights; unless `reset`, X must have the columns of `fit`."""
        X, y, weights = self._read_rows(X, y, sample_weight, reset=reset)
        check_weights(weights, LARGEST_WEIGHT)
        return X, y, weights

    def _read_rows(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool
    ) -> tuple[Array, Any, Array]:
        """Return X, y and weights as `_check_rows` does; all weights may be zero."""
        X, y = features_and_targets(self, X, self._prepared_y(y), reset=reset, **FORM)
        return features_of(X), y, row_weights(sample_weight, X)

    def _with_variance_floor(
        self, problem: Problem, *, resumes: bool, streams: bool = False
    ) -> Problem:
        """Return the problem with a lower bound of the noise variance, which is stored.

        ``streams`` is True in `partial_fit`.
        """
        raise NotImplementedError

    def _warn_of_result(self, scale: Array) -> None:
        """Warn of a doubtful result; ``scale`` holds the standard deviations of the outputs."""

    def _parameters(self, shape: Shape) -> Parameters:
        variance = getattr(self, "variance_", NO_VARIANCE)
        return shape.from_lists(self.coefs_, self.intercepts_, variance)

    def transform(self, X: ArrayLike) -> Array:
        """Return P(Z_h = 1 | x), the prior probability of the units of the first hidden layer.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)

        Returns
        -------
        probability : array (n_samples, n_hidden)

        Raises
        ------
        NotFittedError
            If `fit` has not been called.
        ValueError
            If X has other features than in `fit`, NaN or infinity.
        FloatingPointError
            If X times weights overflow.
        """
        X, network = self._check_X(X), self._network()
        return network.by_rows(lambda rows: network.hidden_probability(rows, 0), X)

    def posterior(self, X: ArrayLike, y: ArrayLike) -> Array:
        """Return P(Z_h = 1 | x, y), the posterior probability of the first hidden layer's units.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like
            Labels or values, as in `fit`.

        Returns
        -------
        probability : array (n_samples, n_hidden)

        Raises
        ------
        NotFittedError
            If `fit` has not been called.
        ValueError
            If X has other features than in `fit`, NaN or infinity, y has a label that was not
            in `fit` or a value that is impossible under the family, or the problem does not fit
            into memory.
        FloatingPointError
            If X times weights overflow.
        """
        X, network = self._check_X(X), self._network()
        return network.posterior(X, self._known_targets(y, len(X)))

    @property
    def _n_features_out(self) -> int:
        return len(self.intercepts_[0])

    def _network(self) -> FittedNetwork:
        variance = getattr(self, "variance_", NO_VARIANCE)
        return FittedNetwork(
            self.coefs_, self.intercepts_, self.e_step_, self.n_jobs, self.family_, variance
        )

    def _check_X(self, X: ArrayLike) -> Array | SparseFeatures:
        check_is_fitted(self)
        return features_of(features(self, X, reset=False, **FORM))

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: sparse X is accepted."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
