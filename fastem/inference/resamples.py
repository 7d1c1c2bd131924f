"""The bootstrap: refits to resampled rows, and intervals of predictions from them."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from scipy.special import ndtri

from fastem.estimators import (
    FastEMClassifier,
    FastEMRegressor,
    fitted_problem,
    levels_of_interval,
)
from fastem.families import Family
from fastem.inference.checks import check_count, check_model, checked_rows
from fastem.inference.predictions import predicted_link, response
from fastem.inference.refits import (
    Fit,
    draw_until_complete,
    fit_copy,
    n_values,
    n_workers_of,
    run_all,
    seeds_of,
    template,
    warn_of_refits,
    whole_weights,
    with_parameters,
)
from fastem.parameters import Array

_METHODS = "nonparametric", "parametric"
_MOST_ROWS = 2.0**53  # of a resample: larger whole numbers are not all representable as floats
_VALUES_AT_ONCE = 2**24  # predictions of a block of rows by all refits


class BootstrapResult:
    """Refits of a model to resampled rows.

    Attributes
    ----------
    models_ : list of estimators
        Copies of the model with the parameters of every refit.
    coefs_, intercepts_ : lists of arrays (n_resamples, ...)
        Parameters of all refits. Hidden units keep their order unless a refit exchanges them.
    variance_ : array (n_resamples, n_outputs) or None
    converged_ : array (n_resamples,) of bool
    """

    def __init__(self, model: Any, fits: list[Fit]) -> None:
        self.models_ = [with_parameters(model, fit) for fit in fits]
        self.coefs_ = [np.stack(arrays) for arrays in zip(*(f.coefs for f in fits), strict=True)]
        of_layers = zip(*(f.intercepts for f in fits), strict=True)
        self.intercepts_ = [np.stack(arrays) for arrays in of_layers]
        has_variance = fits[0].variance is not None
        self.variance_ = np.stack([f.variance for f in fits]) if has_variance else None
        self.converged_ = np.array([fit.converged for fit in fits])
        self._model = model

    def replicates(self, X: ArrayLike) -> Array:
        """Return the predictions of every refit.

        Parameters
        ----------
        X : array-like (n_samples, n_features)

        Returns
        -------
        replicates : array (n_resamples, n_samples, n_classes) or (n_resamples, n_samples, ...)
            Results of `predict_proba`, or of `predict` for a regressor.

        Raises
        ------
        ValueError
            If X has other features than in `fit`, NaN or infinity.
        """
        name = "predict_proba" if isinstance(self._model, FastEMClassifier) else "predict"
        return np.stack([getattr(model, name)(X) for model in self.models_])

    def standard_error(self, X: ArrayLike) -> Array:
        """Return standard deviations of the predictions over the refits.

        Parameters
        ----------
        X : array-like (n_samples, n_features)

        Returns
        -------
        error : array of the shape of `predict_proba` or `predict`
            Probability, or unit of y.

        Raises
        ------
        ValueError
            As `replicates` does.
        """
        return self._by_rows(X, lambda rows: self.replicates(rows).std(axis=0, ddof=1))

    def interval(self, X: ArrayLike, coverage: float = 0.95) -> Array:
        """Return confidence intervals of p(y = k | x), of every label, or of the mean of y.

        The prediction of the model plus and minus a multiple of the standard deviation of the
        predictions of the refits, on the log-odds scale for probabilities and on the scale of
        logarithms for means of counts.

        Parameters
        ----------
        X : array-like (n_samples, n_features)
        coverage : float, default=0.95, probability
            For every row and output by itself.

        Returns
        -------
        interval : array (n_samples, n_classes, 2), (n_samples, 2) or (n_samples, n_outputs, 2)
            Lower and upper end.

        Raises
        ------
        ValueError
            As `replicates` does, or if coverage is out of range.
        """
        half_width = ndtri(levels_of_interval(coverage)[1])

        def ends(rows: ArrayLike) -> Array:
            links = np.stack([predicted_link(model, rows) for model in self.models_])
            margin = half_width * links.std(axis=0, ddof=1)
            middle = predicted_link(self._model, rows)
            found = (response(self._model.family_, middle + t * margin) for t in (-1.0, 1.0))
            return np.stack(list(found), axis=-1)

        return self._by_rows(X, ends)

    def _by_rows(self, X: ArrayLike, function: Callable[[ArrayLike], Array]) -> Array:
        """Apply a function to blocks of rows, whose predictions by all refits fit into memory."""
        X = X.tocsr() if issparse(X) else X if hasattr(X, "shape") else np.asarray(X)
        n_outputs = len(self._model.intercepts_[-1])
        step = max(1, _VALUES_AT_ONCE // (len(self.models_) * n_outputs))
        blocks = range(0, max(X.shape[0], 1), step)
        return np.concatenate([function(X[i : i + step]) for i in blocks])

    def __repr__(self) -> str:
        return f"<{len(self.models_)} refits of {self._model!r}>"


def bootstrap(
    model: FastEMClassifier | FastEMRegressor,
    X: ArrayLike,
    y: ArrayLike,
    *,
    n_resamples: int = 200,
    method: str = "nonparametric",
    sample_weight: ArrayLike | None = None,
    random_state: int | np.random.RandomState | None = None,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> BootstrapResult:
    """Fit a model to resampled rows, for intervals of its predictions.

    Every refit starts at the parameters of the model and has its penalty.

    Parameters
    ----------
    model : FastEMClassifier or FastEMRegressor
        Fitted. It is not changed.
    X : array-like (n_samples, n_features)
    y : array-like (n_samples,) or (n_samples, n_outputs)
        The rows that the model was fitted to.
    n_resamples : int, default=200
        At least 2.
    method : {"nonparametric", "parametric"}, default="nonparametric"
        "nonparametric" draws rows with replacement. "parametric" draws y from the model at the
        same X; it assumes that the model is right.
    sample_weight : array-like (n_samples,), optional
        The weights of the fit. A row of weight w counts as w identical rows. The parametric
        bootstrap needs whole numbers.
    random_state : int, RandomState or None, default=None
        Results do not depend on `n_jobs`, to the bit.
    n_jobs : int, optional
        Number of processes; None is 1, or that of ``joblib.parallel_config``. Starting processes
        takes seconds. With several, each refit uses one thread.
    verbose : int, default=0
        1 prints a line of progress.

    Returns
    -------
    result : BootstrapResult
        With the methods ``interval(X, coverage=0.95)``, ``standard_error(X)`` and
        ``replicates(X)``, and the refitted ``models_``.

    Raises
    ------
    TypeError
        If model is not a network with stochastic units.
    NotFittedError
        If the model is not fitted.
    ValueError
        If an argument is out of range, the model has ``early_stopping=True``, or no resample
        contains every class.
    DivergenceError
        If fewer than two refits have a finite objective.
    KeyboardInterrupt
        If Ctrl-C is pressed before two resamples are done.

    Warns
    -----
    ConvergenceWarning
        If refits do not converge or diverge, or Ctrl-C is pressed: finished resamples are kept.

    See Also
    --------
    fastem.Inference : The delta method, which needs no refits.

    Notes
    -----
    *Resamples.* Rows are not copied: a resample is a vector of weights with the multinomial
    distribution of the counts of ``round(sum(sample_weight))`` draws. Resamples in which a class or
    label has no variation, although it has in y, are drawn again. The intervals are therefore
    conditional on the occurrence of every class.

    *Intervals* are normal on the log-odds scale. On data from known networks
    (``benches/interval_coverage.py``) with ``alpha`` of 0.15 or 0.5, intervals of 95 % cover 92 to
    97 %, closer than quantiles of the refits, basic and bias-corrected intervals, those of the
    parametric bootstrap, and the delta method. They do not account for the bias by the penalty:
    with ``alpha=1.5`` they cover 86 to 91 % there. Fit with a smaller penalty if intervals matter
    more than predictions. They do not account for the choice of the penalty and of the number of
    units either. All refits start at the parameters of the model, so they seldom find other maxima.

    References
    ----------
    Efron and Tibshirani (1993), An Introduction to the Bootstrap, Chapman and Hall.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> import fastem
    >>> X, y = load_iris(return_X_y=True)
    >>> model = fastem.FastEMClassifier((2,), alpha=0.5, random_state=0).fit(X, y)
    >>> result = fastem.bootstrap(model, X, y, n_resamples=20, random_state=0)
    >>> result.interval(X[:5]).shape
    (5, 3, 2)
    """
    check_model(model)
    if method not in _METHODS:
        raise ValueError(f"method must be one of {_METHODS}, got {method!r}.")
    check_count("n_resamples", n_resamples, 2)
    n_workers = n_workers_of(n_jobs)
    fitted_problem(model, X, y, sample_weight)  # checks the rows
    prepared = template(model, n_workers)
    seeds = seeds_of(random_state, n_resamples)
    rows = checked_rows(model, X, y, sample_weight)
    draw = _Rows.of(model, *rows) if method == _METHODS[0] else Simulation.of(prepared, *rows)
    found = run_all(partial(_refit, prepared, draw), seeds, n_workers, "bootstrap", verbose)
    warn_of_refits([None if fit is None else fit.converged for fit in found], "bootstrap")
    return BootstrapResult(model, [fit for fit in found if fit is not None])


def check_simulation(model: Any) -> None:
    """Check that y can be simulated from a model.

    Raises
    ------
    ValueError
        If the model has class weights: it describes rows with these weights.
    """
    if getattr(model, "class_weight", None) is not None:
        raise ValueError(
            f"y cannot be simulated from a model with class_weight={model.class_weight!r}: its "
            "probabilities are those of weighted rows. Fit it with class_weight=None."
        )


class Simulation(NamedTuple):
    """Draws of y from a model, at the same X.

    Attributes
    ----------
    model : FastEMClassifier or FastEMRegressor
    X : array (n_rows, n_features)
        Rows are repeated by their weights.
    wanted : list of int
        Numbers of classes, or of values of every output, that must occur.
    """

    model: Any
    X: Array
    wanted: list[int]

    @classmethod
    def of(cls, model: Any, X: Array, y: Any, weights: Array) -> "Simulation":
        """Return the simulation for rows with whole numbers as weights.

        Raises
        ------
        ValueError
            If a weight is not a whole number, or the model has class weights: it describes rows
            with these weights, and not the rows to be simulated.
        """
        check_simulation(model)
        n = X.shape[0]
        repeated = X[np.repeat(np.arange(n), whole_weights(weights, "A simulation"))]
        targets = model._known_targets(y, n)
        return cls(model, repeated, n_values(model.family_, targets[weights > 0.0]))

    def draw(self, seed: np.random.SeedSequence) -> tuple[Array, Any, None]:
        """Return X, y and weights of a resample; y is drawn again until every class occurs."""
        random_state = np.random.RandomState(np.random.MT19937(seed))

        def is_complete(y: Any) -> bool:
            targets = self.model._known_targets(y, self.X.shape[0])
            return n_values(self.model.family_, targets) == self.wanted

        draw = partial(self.model.sample, self.X, random_state)
        return self.X, draw_until_complete(lambda: draw()[0], is_complete), None


class _Rows(NamedTuple):
    """Draws of rows with replacement, as weights."""

    family: Family
    X: Array
    y: Any
    targets: np.ndarray
    weights: Array

    @classmethod
    def of(cls, model: Any, X: Array, y: Any, weights: Array) -> "_Rows":
        if not 1.5 < weights.sum() < _MOST_ROWS:
            raise ValueError(
                f"sample_weight sums to {weights.sum():g}. A row of weight w counts as w rows; "
                "rescale the weights so that they sum to the number of rows."
            )
        return cls(model.family_, X, y, model._known_targets(y, X.shape[0]), weights)

    def draw(self, seed: np.random.SeedSequence) -> tuple[Array, Any, Array]:
        """Return X, y and weights of a resample; it is drawn again until every class occurs."""
        generator = np.random.default_rng(seed)
        total = self.weights.sum()
        n_rows = round(total)
        wanted = n_values(self.family, self.targets[self.weights > 0.0])

        def is_complete(counts: np.ndarray) -> bool:
            return n_values(self.family, self.targets[counts > 0]) == wanted

        counts = draw_until_complete(
            lambda: generator.multinomial(n_rows, self.weights / total), is_complete
        )
        return self.X, self.y, counts * (total / n_rows)


def _refit(prepared: Any, rows: _Rows | Simulation, seed: np.random.SeedSequence) -> Fit | None:
    """Fit to one resample."""
    return fit_copy(prepared, *rows.draw(seed))
