"""Inference: standard errors of predictions by the delta method, and a summary of a fit."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from fastem.estimators import (
    FastEMClassifier,
    FastEMRegressor,
    FittedProblem,
    fitted_problem,
    levels_of_interval,
    penalty_in_use,
)
from fastem.inference.checks import as_dense, check_model
from fastem.inference.effects import average_effects
from fastem.inference.penalised_information import PenalisedInformation
from fastem.inference.predictions import (
    flat_parameters,
    link_gradients,
    response,
    slope,
)
from fastem.inference.summary import Summary
from fastem.oracle import EStep
from fastem.parameters import Array
from fastem.runtime import single_threaded_blas, warn_user

# A fit whose parameters are further than this from the maximum is not the maximum on these rows.
_LARGEST_DECREMENT = 0.1  # squared standard errors
_NEGATIVE = -1e-8  # eigenvalue of the information at a maximum, as a share of the largest


class Inference:
    """Standard errors and intervals of the predictions of a fitted network, by the delta method.

    Hidden units can be exchanged without a change of the predictions, so single weights have no
    meaning and no standard errors are given for them. Predictions and average effects of features
    do not depend on the order of the units.

    Parameters
    ----------
    model : FastEMClassifier or FastEMRegressor
        Fitted with an exact E-step. Later changes of the model have no effect.
    X : array-like (n_samples, n_features)
    y : array-like (n_samples,) or (n_samples, n_outputs)
    sample_weight : array-like (n_samples,), optional
        The rows that the model was fitted to, with their weights: a model does not keep them.

    Attributes
    ----------
    effective_parameters : float
        Trace of ``S (S + alpha D)^-1`` with the sum of squared scores ``S = sum_i w_i s_i s_i'``,
        as in the notes. Between zero and the number of parameters. The information J is not used
        for it: where two units are equal, J can have large negative eigenvalues.
    n_unidentified : int
        Directions of the parameters that neither the rows nor the penalty determine. The shift of
        all logits, which changes no probability, does not count.
    decrement : float
        ``g' H^-1 g`` with the gradient g of the objective: zero at its maximum. It is about the
        squared distance to the maximum in standard errors.

    Raises
    ------
    TypeError
        If model is not a network with stochastic units.
    NotFittedError
        If `fit` has not been called.
    ValueError
        If the E-step of the model samples, ``prediction="plugin"``, X, y or a weight is out of
        range, or the information does not fit into memory. Sparse X is written out.
    FloatingPointError
        If X times weights overflow.

    Warns
    -----
    UserWarning
        If the parameters are not a maximum of the objective on these rows: the rows are others
        than in `fit`, or the fit did not converge.

    See Also
    --------
    fastem.bootstrap : Intervals from refits.

    Notes
    -----
    The objective of `fit` is ``sum_i w_i log p(y_i | x_i) - alpha / 2 ||coefs||^2`` on standardised
    features. With its exact negative Hessian ``H = J + alpha D`` at the estimate, the covariance of
    the parameters is ``H^-1``. A prediction with gradient g, on the log-odds scale (logarithm for
    counts), has the variance ``g' H^-1 g``. This is the posterior variance if the penalty is read
    as the logarithm of a normal prior, so it accounts for the bias by the penalty on average over
    x. Noise variances at their lower bound, and the penalty, are treated as known. If H has a
    negative eigenvalue, J is replaced by S, with the gradients ``s_i`` of ``log p(y_i | x_i)``.

    Eigenvalues of penalised directions are at least a tenth of the penalty. Directions with an
    eigenvalue of H below 1e-4, in units of standardised parameters, are not identified: their
    standard errors exceed 100 log-odds. A prediction of which a twentieth of the gradient lies in
    such directions has the standard error inf. Below, the directions count with the eigenvalue
    1e-4.

    Intervals ignore that predictions are not linear in the parameters, and that the likelihood has
    other maxima. On data from known networks with two or three units (300 to 500 rows, ``alpha``
    from 0.15 to 1.5), intervals of 95 % cover 85 to 96 % (``benches/interval_coverage.py``). With
    small penalties, those of `fastem.bootstrap` are closer to 95 %.

    The information costs ``(4 + m / 2) g n 2**m`` flops for classes. In deep networks of classes,
    and with quadrature and more than 12 units, it costs about ten E-steps per parameter. See
    `EStep.information`.

    References
    ----------
    Louis (1982), Finding the observed information matrix when using the EM algorithm, Journal
    of the Royal Statistical Society B 44(2).

    Wahba (1983), Bayesian "confidence intervals" for the cross-validated smoothing spline, Journal
    of the Royal Statistical Society B 45(1).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> import fastem
    >>> X, y = load_iris(return_X_y=True)
    >>> model = fastem.FastEMClassifier((2,), alpha=0.5, random_state=0).fit(X, y)
    >>> inference = fastem.Inference(model, X, y)
    >>> inference.interval(X[:1])[0].round(2)[:, 0]  # lower ends of the three classes
    array([0.86, 0.01, 0.  ])
    """

    def __init__(
        self,
        model: FastEMClassifier | FastEMRegressor,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> None:
        check_model(model)
        self._problem = fitted_problem(model, X, y, sample_weight)
        if not self._problem.engine.is_exact:
            raise ValueError(
                f"Inference needs exact E-steps, got e_step={self._problem.engine!r}: second "
                "derivatives of estimates are noise. Fit with e_step='enumeration' or "
                "'quadrature', or use fastem.bootstrap."
            )
        if getattr(model, "prediction", "marginal") == "plugin":
            raise ValueError(
                "Inference is about the probability under the model, got prediction='plugin'; use "
                "prediction='marginal', or fastem.bootstrap."
            )
        self._problem = self._problem._replace(X=as_dense(self._problem.X))
        self._model, self._facts = model, _facts(model, X, y, sample_weight)
        with single_threaded_blas():  # the order of a sum does not depend on the threads
            found = _invert(self._problem)
        self._inverse, self.effective_parameters, self.decrement = found
        self.n_unidentified = max(self._inverse.null.shape[1] - _n_redundant(self._problem), 0)

    def standard_error(self, X: ArrayLike, scale: str = "response") -> Array:
        """Return standard errors of predictions.

        Parameters
        ----------
        X : array-like (n_samples, n_features)
        scale : {"response", "link"}, default="response"
            "response": errors of `predict_proba`, or of the mean of y. "link": errors on the scale
            on which they are nearly normal, which is log-odds of a class against all others, or of
            a label; and the logarithm of the mean of counts.

        Returns
        -------
        error : array of the shape of `predict_proba` or `predict`
            Probability, or unit of y. Infinite if the prediction is not identified.

        Raises
        ------
        ValueError
            If X has other features than in `fit`, NaN or infinity, or the scale is unknown.
        FloatingPointError
            If X times weights overflow.
        """
        if scale not in ("response", "link"):
            raise ValueError(f"scale must be 'response' or 'link', got {scale!r}.")
        link, errors = self._link(X)
        if scale == "response":
            with np.errstate(invalid="ignore"):
                errors = np.where(
                    np.isinf(errors), np.inf, slope(self._model.family_, link) * errors
                )
        return self._in_shape(errors * self._problem.standardization.output_scale)

    def interval(self, X: ArrayLike, coverage: float = 0.95) -> Array:
        """Return confidence intervals of p(y = k | x), of every label, or of the mean of y.

        They are about the parameters of the distribution. For intervals of y itself, see
        `FastEMRegressor.predict_interval`.

        Parameters
        ----------
        X : array-like (n_samples, n_features)
        coverage : float, default=0.95, probability
            Above 0, and at most 1 - 2e-15. For every row and output by itself.

        Returns
        -------
        interval : array (n_samples, n_classes, 2), (n_samples, 2) or (n_samples, n_outputs, 2)
            Lower and upper end. Ends of probabilities are between 0 and 1.

        Raises
        ------
        ValueError
            If X has other features than in `fit`, NaN or infinity, or coverage is out of range.
        FloatingPointError
            If X times weights overflow.
        """
        half_width = ndtri(levels_of_interval(coverage)[1])
        link, errors = self._link(X)
        ends = (response(self._model.family_, link + t * half_width * errors) for t in (-1.0, 1.0))
        standardization = self._problem.standardization
        scale, centre = standardization.output_scale, standardization.output_centre
        return np.stack([self._in_shape(end * scale + centre) for end in ends], axis=-1)

    def summary(self, coverage: float = 0.95) -> Summary:
        """Return a summary of the fit, which prints as a table.

        Parameters
        ----------
        coverage : float, default=0.95, probability
            Of the intervals of average effects.

        Returns
        -------
        summary : Summary
            Log-likelihood, AIC, BIC, effective parameters, and average marginal effects of the
            features with standard errors. Its attributes are documented in its class.

        Raises
        ------
        ValueError
            If coverage is out of range.

        Notes
        -----
        An effect costs one Hessian product, about three E-steps, per feature and class.
        """
        problem, inverse = self._problem, self._inverse
        with single_threaded_blas():
            effects = average_effects(problem)
        standardization = problem.standardization
        units = standardization.output_scale / standardization.scale[:, None]
        noise = {}
        if problem.variance is not None:
            n = len(problem.variance)
            squared = standardization.output_scale**2
            noise["noise_variance"] = problem.variance * squared
            of_variances = np.eye(problem.shape.n_parameters)[-n:]
            noise["noise_variance_error"] = inverse.standard_errors(of_variances) * squared
        return Summary(
            **self._facts,
            **noise,
            effective_parameters=self.effective_parameters,
            n_unidentified=self.n_unidentified,
            effects=effects.values * units,
            effect_errors=inverse.standard_errors(effects.gradients) * units,
            half_width=float(ndtri(levels_of_interval(coverage)[1])),
            coverage=float(coverage),
        )

    def _link(self, X: ArrayLike) -> tuple[Array, Array]:
        """Return predictions and standard errors (n_samples, n_outputs) on the link scale."""
        problem = self._problem
        X = problem.standardization.apply(self._model._check_X(X))
        link, errors = np.empty((2, len(X), problem.shape.n_outputs))
        with single_threaded_blas():
            for rows, values, gradients in link_gradients(problem, X):
                link[rows] = values
                errors[rows] = self._inverse.standard_errors(gradients).T
        return link, errors

    def _in_shape(self, values: Array) -> Array:
        """Return (n_samples,) in place of (n_samples, 1) for a regressor."""
        is_single = values.shape[1] == 1 and isinstance(self._model, FastEMRegressor)
        return values[:, 0] if is_single else values


def _invert(problem: FittedProblem) -> tuple[PenalisedInformation, float, float]:
    """Return the inverse of the penalised information, effective parameters, and the decrement."""
    shape = problem.shape
    oracle = EStep(
        problem.X, problem.targets, hidden_layer_sizes=shape.hidden_layer_sizes,
        n_classes=shape.n_outputs if shape.has_classes else None, family=shape.family,
        method=problem.engine, sample_weight=problem.weights, n_jobs=problem.n_jobs,
    )  # fmt: skip
    given = problem.coefs, problem.intercepts, problem.variance
    scores = oracle.row_gradients(*given)
    squared = (scores.T * problem.weights) @ scores
    of_scores = PenalisedInformation.of(squared, problem.penalty, problem.free)
    information = oracle.information(*given)
    inverse = PenalisedInformation.of(information, problem.penalty, problem.free)
    is_maximum = inverse.smallest > _NEGATIVE
    if not is_maximum:
        inverse = of_scores
    result = oracle(*given)
    gradient = oracle.flatten(
        result.coef_gradients, result.intercept_gradients, result.variance_gradient
    )
    gradient -= problem.penalty * flat_parameters(problem)
    decrement = float(np.sum((gradient @ inverse.root) ** 2))
    if not is_maximum or decrement > _LARGEST_DECREMENT:
        reason = f"their squared distance to it is about {decrement:.3g} standard errors"
        if not is_maximum:
            reason = "the likelihood curves upwards in some direction"
        warn_user(
            "The parameters are not a maximum of the penalised likelihood on these rows: "
            f"{reason}. If the rows and weights are those of the fit, fit with a smaller tol and a "
            "larger max_iter. Otherwise, pass those of the fit."
        )
    return inverse, of_scores.trace(squared), decrement


def _n_redundant(problem: FittedProblem) -> int:
    """Return the number of directions that shift all logits and have no penalty."""
    if not problem.shape.has_classes:
        return 0
    start = problem.shape.n_parameters - (problem.shape.last + 1) * problem.shape.n_outputs
    is_flat = problem.free[start:] & (problem.penalty[start:] == 0.0)
    return int(is_flat.sum()) // problem.shape.n_outputs


def _facts(
    model: Any, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None
) -> dict[str, Any]:
    """Return the attributes of a summary that need no derivatives."""
    n_outputs, n_features = len(model.intercepts_[-1]), model.n_features_in_
    n_samples = X.shape[0] if hasattr(X, "shape") else len(X)
    n_samples = n_samples if sample_weight is None else np.sum(sample_weight)
    names = getattr(model, "feature_names_in_", [f"x{j}" for j in range(n_features)])
    outputs = getattr(model, "classes_", range(n_outputs))
    return {
        "model": type(model).__name__,
        "family": model.family_.name,
        "hidden_layer_sizes": tuple(len(b) for b in model.intercepts_[:-1]),
        "n_samples": float(n_samples),
        "n_parameters": model._n_free_parameters(),
        "log_likelihood": model.log_likelihood(X, y, sample_weight),
        "aic": model.aic(X, y, sample_weight),
        "bic": model.bic(X, y, sample_weight),
        "alpha": penalty_in_use(model),
        "n_starts": len(getattr(model, "starts_", range(model.n_init))),
        "n_iter": int(model.n_iter_),
        "converged": bool(model.converged_),
        "feature_names": [str(name) for name in names],
        "output_names": [str(name) for name in outputs],
    }
