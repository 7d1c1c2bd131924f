"""Training by mini-batches: epochs of `fit`, and rows as they come in `partial_fit`."""

import time
from copy import deepcopy
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import _check_sample_weight, validate_data

from fastem.engines import Engine, resolve_engine
from fastem.estimators import _checks
from fastem.estimators._training import Ascent, Training, seeded
from fastem.parameters import Array, Parameters, Shape
from fastem.runtime import effective_n_jobs, single_threaded_blas
from fastem.solvers import AdamState, BatchedNetwork, EpochMonitor, Extent, run_adam


class EpochTraining(Training):
    """A call of ``fit`` by mini-batches, or of ``partial_fit`` on its rows; see `Training`.

    Parameters
    ----------
    seen : Extent, optional
        Of the data before these rows.
    **named
        As for `Training`, and positional ones.
    """

    def __init__(self, *given: Any, seen: Extent | None = None, **named: Any) -> None:
        self._seen = Extent() if seen is None else seen
        super().__init__(*given, **named)

    def _model_of(
        self, X: Array, labels: np.ndarray, weights: Array, engine: Engine
    ) -> BatchedNetwork:
        estimator = self._estimator
        self._extent = self._seen.plus(weights)
        return BatchedNetwork(
            X,
            labels,
            weights,
            self._shape,
            engine,
            min(_checks.rows_at_once(estimator, len(X)), len(X)),
            alpha=float(estimator.alpha),
            extent=self._extent,
            n_threads=effective_n_jobs(estimator.n_jobs),
        )

    def _new_monitor(self) -> EpochMonitor:
        return EpochMonitor(float(self._estimator.tol))

    def _new_stepper(self, random_state: np.random.RandomState) -> AdamState:
        return AdamState(_checks.learning_rate(self._estimator), random_state)

    def _run(self, theta: Array, monitor: EpochMonitor, stepper: AdamState) -> Array:
        stepper.extent = self._extent
        stepper.learning_rate = _checks.learning_rate(self._estimator)
        return run_adam(self._model, theta, monitor, self._estimator.max_iter, stepper)

    def begin_stream(self) -> Ascent:
        """Return the starting point of a stream, of which these are the first rows."""
        # a class that has not come yet is as rare as one row, and not impossible
        typical = self._extent.weight / self._extent.n_rows
        class_weights = np.where(self._class_weights > 0.0, self._class_weights, typical)
        random_state = check_random_state(self._estimator.random_state)
        theta = self._start(random_state, class_weights)
        return self._at(theta, random_state)

    def join_stream(self, parameters: Parameters) -> Ascent:
        """Return the point from which to go on at given parameters."""
        random_state = check_random_state(self._estimator.random_state)
        return self._at(self._shape.pack(self._scaling.unfold(parameters)), random_state)

    def _at(self, theta: Array, random_state: np.random.RandomState) -> Ascent:
        descent = self._new_stepper(random_state)
        descent.restart(theta)
        return Ascent(theta, self._new_monitor(), descent, self._scaling)

    def stream(self, ascent: Ascent) -> tuple[Ascent, float]:
        """Go once through the rows; return where that ends, and the running loss (nats)."""
        descent = deepcopy(ascent.stepper)  # a call that fails must leave the earlier one as it was
        if not np.array_equal(descent.theta, ascent.theta):
            descent.restart(ascent.theta)  # a fit that kept another iterate than its last
        descent.extent = self._extent
        descent.learning_rate = _checks.learning_rate(self._estimator)
        with single_threaded_blas():
            loss = -descent.run_epoch(self._model) / self.total_weight
        theta = descent.theta.copy()
        folded = self._scaling.fold(self._shape.unpack(theta))
        _checks.check_finite(self._shape.pack(folded))
        return Ascent(theta, self._new_monitor(), descent, self._scaling), loss


def _has_batches(estimator: Any) -> bool:
    """Return True, or say why there is no `partial_fit`."""
    if estimator.solver != "adam":
        raise AttributeError(
            f"partial_fit needs solver='adam', which takes rows as they come; got "
            f"solver={estimator.solver!r}, which needs all of them at once."
        )
    return True


class PartialFit:
    """`partial_fit` of an estimator that `EpochTraining` trains."""

    @available_if(_has_batches)
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Go once through some rows in mini-batches; only with ``solver="adam"``.

        For data that come in parts, or do not fit into memory: between calls only parameters
        and Adam's moments are kept. After `fit`, or after other calls, it goes on where they ended;
        `fit` begins anew. What was pickled goes on as if it had not stopped; what `load` has read,
        and what EM has fitted, goes on with new moments, and as if no rows had been seen: the next
        ones set the scaling, and bear the whole penalty.

        Parameters
        ----------
        X : array-like (n_samples, n_features)
        y : array-like (n_samples,)
            Labels among `classes`; not all need be there.
        classes : array-like (n_classes,), optional
            All labels there will ever be, two or more; needed in the first call.
        sample_weight : array-like (n_samples,), optional
            Not negative. Rows of weight zero are left out.

        Returns
        -------
        self : estimator

        Raises
        ------
        AttributeError
            With another solver.
        ValueError
            If a parameter, X, y or a weight is out of range, `classes` is missing or has changed,
            y has others, parameters do not meet the network that was fitted, or a batch does
            not fit into memory.
        FloatingPointError
            If the weights run away.

        Notes
        -----
        A call that fails, or is stopped by Ctrl-C, leaves the estimator as it was.

        *Standardisation* is set by the rows of the first call and kept, so these should be typical
        of what follows; `coefs_` are in the units of X all the same.

        *Penalty*: `alpha` is against all weight that has been seen, the present rows included: a
        unit of weight carries ``alpha / seen`` of it. So it pulls as hard as in a `fit` on the rows
        so far, and rows that are given again count again.

        *Order*: rows are shuffled within a call, by a generator that goes on from call to call.
        On an estimator that is not fitted, one call with all rows is the first epoch of `fit`. With
        ``standardize=False, alpha=0`` so are calls with a batch each, up to rounding and the
        order of the rows, where the starting values are the same.

        Cost: that of an E-step on the rows, and about a tenth of a millisecond for every batch.
        `max_iter`, `tol`, `n_init` and `warm_start` have no effect.
        """
        fitted = self._fitted_attributes()
        try:
            return self._partial_fit(X, y, classes, sample_weight)
        except BaseException:
            for name in self._fitted_attributes():
                delattr(self, name)
            vars(self).update(fitted)
            raise

    def _partial_fit(self, X: Any, y: Any, classes: Any, sample_weight: Any) -> Self:
        began = time.perf_counter()
        sizes = _checks.check_hyperparameters(self)
        resolve_engine(self.e_step)
        is_first = not hasattr(self, "coefs_")
        classes = _known_classes(self, classes, is_first)
        X, y = validate_data(self, X, y, dtype=np.float64, order="C", reset=is_first)
        check_classification_targets(y)
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        _checks.check_some_weight(weights)
        labels = _checks.class_indices(y, classes, "among classes")
        if not is_first:
            _checks.check_continuation(self, classes, sizes)
        shape = Shape(X.shape[1], sizes, len(classes), bool(self.fit_intercept))
        engine = resolve_engine(
            self.e_step, shape=shape, n_samples=_checks.rows_at_once(self, len(X))
        )
        engine = seeded(engine, self, not is_first)
        given = self, shape, engine, X, labels, weights
        with single_threaded_blas():
            training, ascent = self._place_in_stream(given, shape, is_first)
        ascent, loss = training.stream(ascent)
        coefs, intercepts = training.lists(ascent.theta)
        seconds = list(getattr(self, "loss_curve_seconds_", []))
        elapsed = (seconds[-1] if seconds else 0.0) + time.perf_counter() - began
        self.classes_, self.e_step_, self.n_layers_ = classes, engine, shape.depth + 2
        self.coefs_, self.intercepts_, self._ascent = coefs, intercepts, ascent
        self.loss_, self.loss_curve_ = loss, [*getattr(self, "loss_curve_", []), loss]
        self.loss_curve_seconds_ = [*seconds, elapsed]
        self.n_iter_, self.converged_ = getattr(self, "n_iter_", 0) + 1, False
        if self.verbose:
            print(f"[fastem] call {self.n_iter_}, running loss {loss:.8f} nats")
        return self

    def _place_in_stream(
        self, given: tuple, shape: Shape, is_first: bool
    ) -> tuple[EpochTraining, Ascent]:
        """Return the training on these rows, and the point from which it goes on."""
        if is_first:
            training = EpochTraining(*given)
            return training, training.begin_stream()
        parameters, last = (
            shape.from_lists(self.coefs_, self.intercepts_),
            self._last_descent(shape),
        )
        if last is None:
            training = EpochTraining(*given)
            return training, training.join_stream(parameters)
        training = EpochTraining(*given, seen=last.stepper.extent, scaling=last.scaling)
        return training, last

    def _last_descent(self, shape: Shape) -> Ascent | None:
        """Return the descent that led to the parameters, unless they were set otherwise."""
        last = getattr(self, "_ascent", None)
        if last is None or not isinstance(last.stepper, AdamState):
            return None
        if last.theta.size != shape.n_parameters:
            return None
        led_here = shape.to_lists(last.scaling.fold(shape.unpack(last.theta)))
        given = self.coefs_, self.intercepts_
        same = all(all(map(np.array_equal, a, b)) for a, b in zip(led_here, given, strict=True))
        return last if same else None


def _known_classes(estimator: Any, classes: Any, is_first: bool) -> np.ndarray:
    """Return the sorted labels of the stream.

    Raises
    ------
    ValueError
        If they are missing from the first call, too few, or others than before.
    """
    if classes is None:
        if is_first:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        return estimator.classes_
    given, classes = classes, unique_labels(classes)
    if is_first and len(classes) < 2:
        raise ValueError(f"classes must hold two labels or more, got {given!r}.")
    if not is_first and not np.array_equal(classes, estimator.classes_):
        raise ValueError(
            f"classes={given!r} is not the same as before: {estimator.classes_.tolist()}."
        )
    return classes
