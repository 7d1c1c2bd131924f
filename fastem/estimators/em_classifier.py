"""FastEMClassifier: the network with stochastic hidden units, trained by exact EM."""

import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastem.engines import Engine, resolve_engine, warn_of_few
from fastem.estimators import _checks, _persistence
from fastem.estimators._inference import NetworkInference
from fastem.estimators._progress import CallbackSupportMixin, Progress, with_callbacks
from fastem.estimators._streaming import EpochTraining, PartialFit
from fastem.estimators._training import Training, seeded
from fastem.parameters import Shape
from fastem.runtime import single_threaded_blas


class FastEMClassifier(
    NetworkInference, PartialFit, CallbackSupportMixin, ClassifierMixin, BaseEstimator
):
    """Neural network with stochastic binary hidden units, trained by exact EM.

    ``p(y|x) = sum_z P(y|z) prod_h P(z_h|x)``: hidden units are Bernoulli with logistic
    probabilities, classes are softmax given their states; in a deeper network every hidden
    layer is stochastic given the states of the one below. `fit` maximises the exact
    marginal likelihood, less ``alpha / 2`` times the squared weights.

    Parameters
    ----------
    hidden_layer_sizes : tuple of ints, or int, default=(10,)
        Hidden units of each layer. Cost and memory of one layer grow as ``2**m``, or as m for two
        or three classes. A further layer costs no sample anything, and ``8 g 2**(m + m_above)``
        flops an E-step.
    e_step : {"auto", "enumeration", "quadrature", "sampling"} or engine instance, default="auto"
        Algorithm of the E-step; "auto" takes the cheapest exact one: enumeration, or for two
        or three classes and one layer of many units quadrature. Where none is within reach it
        says so and samples: what follows are estimates, by `Sampling`.
    m_step : {"newton", "bound", "gradient"}, default="newton"
        Damped Newton steps; steps under a fixed bound on the curvature; or gradient steps
        of rate `learning_rate_init`, halved where the objective would fall. With none of
        them does an iteration lower the objective, as long as the E-step is exact.
    solver : {"em", "lbfgs", "adam"}, default="em"
        EM; direct ascent of the marginal likelihood with the same exact gradient; or Adam, which
        takes a step along the marginal gradient of every mini-batch of rows, exact as the E-step
        is. For tables of many rows, and for streams (`partial_fit`); on small ones EM gets
        farther, and sooner.
    accelerate : bool, default=True
        Quasi-Newton acceleration of EM, which falls back on EM steps. Gradient M-steps are
        never accelerated, nor are estimates by `Sampling`.
    alpha : float, default=0.15
        Penalty: multiplies half the squared norm of the weights (intercepts are free) on
        standardised features, against the summed log-likelihood.
    fit_intercept : bool, default=True
        Whether hidden units and classes have intercepts.
    standardize : bool, default=True
        Centre and scale the features inside; `coefs_` are in the units of X all the same.
    prediction : {"marginal", "plugin"}, default="marginal"
        Exact predictive probability, or softmax of the mean hidden activation.
    learning_rate_init : float or "auto", default="auto"
        Rate of the gradient M-step on the summed log-likelihood ("auto" is 0.005), or of Adam on
        the mean over rows ("auto" is 0.05, for tables of a few batches; over hundreds of batches
        0.01 ends closer to the optimum).
    batch_size : int or "auto", default="auto"
        Rows of a mini-batch of Adam, no more than there are; "auto" is at most 200.
    max_iter : int, default=500
        Most iterations of a call of `fit`, from each start; of Adam, epochs.
    tol : float, default=1e-6
        A fit has converged when an iteration gains less than this share of the objective; by
        Adam, when ten epochs in a row do not raise the best running objective by so much; by
        `Sampling` in EM, when the mean of thirty gains less than thirty times that, twice.
    n_init : int, default=1
        Random starts; the best is kept.
    coefs_init, intercepts_init : list of arrays, optional
        Starting values, as in `coefs_` and `intercepts_`. What is given is not drawn.
    warm_start : bool, default=False
        Go on from the last fit. On the same data ``max_iter=1`` t times equals ``max_iter=t``
        once, to the bit, unless Ctrl-C came between (``solver="em"`` and ``"adam"``, which goes
        on with its moments, order of rows and patience). On other data Adam begins anew at the
        last parameters.
    n_jobs : int, optional
        Threads; None for all cores. Results do not depend on it, to the bit.
    random_state : int, RandomState or None, default=None
        Draws the starting values, and the order of the rows in every epoch, and seeds `Sampling`
        where that has no seed of its own.
    verbose : int, default=0
        0 is silent, 1 shows a progress line, 2 prints a line per iteration.

    Attributes
    ----------
    classes_ : array (n_classes,)
    coefs_ : list of arrays (n_features, n_hidden), ..., (n_hidden, n_classes)
        Log-odds per unit of the feature, and per unit being on.
    intercepts_ : list of arrays (n_hidden,), ..., (n_classes,)
    n_iter_ : int
        Iterations of the start that was kept; of Adam, epochs and calls of `partial_fit`.
    converged_ : bool
        False after `partial_fit`, which does not judge it.
    loss_ : float, nats
        Penalised negative log-likelihood per unit weight. By Adam it takes an E-step on all rows;
        after `partial_fit`, and after Ctrl-C, it is the last or the best of `loss_curve_`.
    loss_curve_ : list of float, nats
        The same at every iterate, the starting point included. Of Adam, the running loss of
        every epoch or call of `partial_fit`: of each batch before its step. By `Sampling`
        estimates, which rise and fall.
    loss_curve_seconds_ : list of float
        Wall time of every entry of `loss_curve_`, since the ascent from its start began;
        where a warm start goes on with a curve, its clock goes on too.
    e_step_ : engine
        The engine that was used; `Sampling` with its seed, so that predictions repeat.
    n_features_in_ : int
    feature_names_in_ : array of str
        When X has string column names.
    n_layers_ : int
        Input, hidden and output layers: 3 with one hidden layer.

    References
    ----------
    Ng and McLachlan (2004), Using the EM algorithm to train neural networks, IEEE
    Transactions on Neural Networks 15(3).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastem import FastEMClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = FastEMClassifier(random_state=0).fit(X, y)
    >>> round(model.score(X, y), 2)
    0.97
    """

    def __init__(
        self,
        hidden_layer_sizes: tuple[int, ...] | int = (10,),
        *,
        e_step: str | Engine = "auto",
        m_step: str = "newton",
        solver: str = "em",
        accelerate: bool = True,
        alpha: float = 0.15,
        fit_intercept: bool = True,
        standardize: bool = True,
        prediction: str = "marginal",
        learning_rate_init: float | str = "auto",
        batch_size: int | str = "auto",
        max_iter: int = 500,
        tol: float = 1e-6,
        n_init: int = 1,
        coefs_init: list[ArrayLike] | None = None,
        intercepts_init: list[ArrayLike] | None = None,
        warm_start: bool = False,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.e_step = e_step
        self.m_step = m_step
        self.solver = solver
        self.accelerate = accelerate
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.prediction = prediction
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_init = n_init
        self.coefs_init = coefs_init
        self.intercepts_init = intercepts_init
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks
    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> "FastEMClassifier":
        """Fit the network by maximum penalised marginal likelihood.

        Parameters
        ----------
        X : array-like (n_samples, n_features)
        y : array-like (n_samples,)
            Labels: strings or integers, two classes or more.
        sample_weight : array-like (n_samples,), optional
            Not negative. A weight is worth as many repetitions of the row.

        Returns
        -------
        self : FastEMClassifier

        Raises
        ------
        ValueError
            If a parameter, X, y or a weight is out of range, there is only one class, no
            start has a finite objective, a warm start does not meet the network that was
            fitted, or the problem does not fit into memory.
        FloatingPointError
            If a warm start goes on from weights whose objective on X is not finite, or if by
            Adam they run away; of starts that do so, the others are kept.
        KeyboardInterrupt
            If Ctrl-C is pressed before there is anything to keep.

        Warns
        -----
        ConvergenceWarning
            If the best start did not converge, or the fit was interrupted by Ctrl-C; the
            best parameters so far are in place then. Also for every start that is dropped
            because its objective is not finite.
        RuntimeWarning
            If the objective fell, which is a fault in fastem.
        UserWarning
            If "auto" falls to sampling, or if in the end half of the rows have an effective
            sample size below a tenth of the samples.
        """
        fitted = self._fitted_attributes()
        try:
            return self._fit(X, y, sample_weight)
        except BaseException:  # a fit that fails leaves an earlier one as it was
            for name in self._fitted_attributes():
                delattr(self, name)
            vars(self).update(fitted)
            raise

    def _fitted_attributes(self) -> dict[str, Any]:
        """Return what a fit leaves behind, what a warm start goes on from included."""
        return {n: value for n, value in vars(self).items() if n.endswith("_") or n == "_ascent"}

    def _fit(self, X, y, sample_weight) -> "FastEMClassifier":
        sizes = _checks.check_hyperparameters(self)
        resolve_engine(self.e_step)  # a wrong name is told before the data are looked at
        given = X, y, sample_weight
        continued = self.warm_start and hasattr(self, "coefs_")
        X, y = validate_data(self, X, y, dtype=np.float64, order="C", reset=not continued)
        check_classification_targets(y)
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        classes, labels = np.unique(y, return_inverse=True)
        _checks.check_weights_and_classes(weights, labels, classes)
        if continued:
            _checks.check_continuation(self, classes, sizes)
        shape = Shape(X.shape[1], sizes, len(classes), bool(self.fit_intercept))
        engine = resolve_engine(
            self.e_step, shape=shape, n_samples=_checks.rows_at_once(self, len(X))
        )
        engine = seeded(engine, self, continued)
        _checks.check_solver(self.solver, engine)
        with single_threaded_blas():  # its sums, too, are the same whatever the threads
            kind = EpochTraining if self.solver == "adam" else Training
            training = kind(self, shape, engine, X, labels, weights)
        n_starts = 1 if continued else self.n_init
        progress = Progress(self, n_starts, *given, training.total_weight)
        self.classes_, self.e_step_, self.n_layers_ = classes, engine, shape.depth + 2
        if continued:
            parameters = shape.from_lists(self.coefs_, self.intercepts_)
            ascent = training.continue_from(parameters, getattr(self, "_ascent", None), progress)
        else:
            ascent = training.best_of_starts(progress)
        vars(self).update(training.attributes(ascent.theta, ascent.monitor))
        vars(self).pop("_ascent", None)
        if self.warm_start or self.solver == "adam":  # which partial_fit may go on with
            self._ascent = ascent
        progress.end()
        _checks.warn_about(ascent.monitor, self.max_iter)
        if ascent.median_effective_size is not None:
            warn_of_few(ascent.median_effective_size, engine.n_samples, stacklevel=4)
        return self

    def save(self, path: str | os.PathLike) -> None:
        """Write the fitted model to a file of plain arrays, whatever its suffix.

        Parameters
        ----------
        path : path-like
            Of a link, the file that it leads to is written.

        Raises
        ------
        NotFittedError
            If `fit` has not been called.
        ValueError
            If the labels are neither numbers nor strings.
        OSError
            If the file cannot be written; an earlier file of that name is left then.
        """
        check_is_fitted(self)
        _persistence.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "FastEMClassifier":
        """Read a model that `save` wrote. No code from the file is run.

        Parameters
        ----------
        path : path-like

        Returns
        -------
        model : FastEMClassifier

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is truncated or is not a model of this class.
        """
        return _persistence.load(cls, path)
