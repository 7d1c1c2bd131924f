"""FastEMClassifier: the network with stochastic hidden units, trained by exact EM."""

import time
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin

from fastem.engines import Engine
from fastem.estimators.arguments import ScoresLabels
from fastem.estimators.availability import available
from fastem.estimators.class_predictions import ClassPredictions
from fastem.estimators.class_weight import class_weight_of_rows
from fastem.estimators.em import BaseFastEM, has_batches
from fastem.estimators.labels import known_labels, labels_of_part, learn_labels
from fastem.estimators.validation import (
    announced_classes,
    check_two_classes,
    check_weights,
)
from fastem.families import Family
from fastem.parameters import Array
from fastem.rows import LARGEST_WEIGHT


class FastEMClassifier(ClassPredictions, ScoresLabels, ClassifierMixin, BaseFastEM, BaseEstimator):
    """Neural network with stochastic binary hidden units, trained by exact EM.

    ``p(y|x) = sum_z P(y|z) prod_h P(z_h|x)``: the hidden units are Bernoulli with logistic
    probabilities, and the class has softmax probabilities given the hidden states. If y is a matrix
    of 0 and 1 with one column per label (multilabel), the labels are independent Bernoulli
    variables given the hidden states, with logistic probabilities. They are correlated given x. In
    a deeper network, every hidden layer is stochastic given the states of the layer below. `fit`
    maximises the exact marginal log-likelihood minus ``alpha / 2`` times the squared weights.

    Parameters
    ----------
    hidden_layer_sizes : tuple of ints, int or "auto", default="auto"
        Number of units m of each hidden layer. "auto" is one layer of 10 units, or of 64 if these
        predict held-out rows better. More than 10 are tried if ``e_step="auto"``, no starting
        values are given, there are at least 500 different rows, and one of three conditions holds:
        the penalty found for 10 units is at most 0.05, there are more than five classes, or there
        are 20 rows per parameter. By enumeration, time and memory of an E-step grow as ``2**m``;
        with two or three classes and one layer they can grow as m (quadrature). A further layer
        adds ``8 g 2**(m + m_above)`` flops per E-step, for any number of samples. Multilabel
        networks with several layers need ``e_step="sampling"``.
    e_step : {"auto", "enumeration", "quadrature", "sampling"} or engine instance, default="auto"
        Algorithm of the E-step. "auto" selects the cheapest exact engine: enumeration, or
        quadrature for two or three classes and one layer with many units. If no exact engine is
        affordable, it warns and falls back to sampling, which gives estimates.
    m_step : {"auto", "newton", "bound", "gradient"}, default="auto"
        Damped Newton steps; steps under a fixed bound on the curvature; or gradient steps with
        rate `learning_rate_init`, halved until the objective does not fall. With exact E-steps, no
        iteration lowers the objective. "auto" is Newton, or the bound if Newton's steps would take
        much longer than the E-steps, as with hundreds of features.
    solver : {"auto", "em", "lbfgs", "adam"}, default="auto"
        EM; L-BFGS on the marginal likelihood with its exact gradient; or Adam, which takes a
        gradient step per mini-batch. Adam is suited to many rows and to streams of rows
        (`partial_fit`). On small data, EM reaches a better optimum in less time. "auto" is EM,
        unless a fit by exact E-steps takes more than about five seconds and twice as long as Adam
        over 100 samples per row. It considers Adam with ``e_step="auto"`` only. With thousands of
        features and exact E-steps it is L-BFGS.
    accelerate : bool, default=True
        Quasi-Newton acceleration of EM, with EM steps as fallback. It does not apply to
        ``m_step="gradient"`` or to sampling.
    alpha : float or "auto", default="auto"
        L2 penalty: multiplies half the squared norm of the weights on standardised features, in the
        units of the summed log-likelihood. Intercepts are not penalised. "auto" chooses among 14
        values between 0.00015 and 500 by the log-likelihood of held-out rows: of five folds, or
        three from 500 rows on; of one split of 20 % from 5000 rows on, with Adam, and with slow
        E-steps. If there are at least 20 rows per parameter, it is approximated by leave-one-out
        scores instead, unless these are unreliable. Runs begin at the solution under the penalty
        before. With fewer than 20 different rows alpha is 0.01. Equal rows are held out together,
        and these values are multiplied by their mean weight. In tables of few categories, where
        rows are equal by chance, every row counts by itself. A warm start keeps the penalty of the
        earlier fit, and `partial_fit` too; without one, it uses 0.15.
    fit_intercept : bool, default=True
        Whether hidden units and classes have intercepts.
    standardize : bool, default=True
        Whether to standardise the features internally. `coefs_` are in the units of X either way.
    class_weight : dict, "balanced" or None, default=None
        Weight of every class, by label. Multiplies the weights of the rows in `fit` and
        `partial_fit`, and so enters the losses. `log_likelihood`, `aic` and `bic` do not use it.
        "balanced" gives all classes the same total weight. Not for multilabel.
    prediction : {"marginal", "plugin"}, default="marginal"
        Exact predictive probability, or softmax (multilabel: sigmoid) of the mean hidden
        activation.
    learning_rate_init : float or "auto", default="auto"
        Learning rate of the gradient M-step on the summed log-likelihood ("auto" is 0.005), or of
        Adam on the mean over rows. For Adam, "auto" falls linearly from 0.2 to zero during a call
        of `fit`, which ends after about 1200 steps, and 10 to 400 epochs. In `partial_fit` it is
        0.05.
    batch_size : int or "auto", default="auto"
        Rows per mini-batch of Adam, at most ``n_samples``. "auto" is a sixteenth of the rows,
        between 50 and 200. In `partial_fit` it is 200.
    max_iter : int, default=500
        Maximum number of iterations of a call of `fit`, per start; for Adam, of epochs.
    tol : float, default=1e-6
        Relative tolerance. A fit has converged when an iteration increases the objective by less
        than this fraction. Adam with a given `learning_rate_init`: when `n_iter_no_change` epochs
        in a row increase the best running objective by less. EM by sampling: when the mean
        objective of thirty iterations increases by less than thirty times this fraction, twice.
    early_stopping : bool, default=False
        Stop when the loss of a validation set no longer improves, and keep the iterate with the
        lowest one. The set is passed to `fit` or split off.
    validation_fraction : float, default=0.1
        Fraction of the rows that `early_stopping` splits off, of every class. `random_state`
        selects them; an integer selects the same rows in every fit.
    n_iter_no_change : int, default=10
        With `early_stopping`, training stops after this number of iterations in a row without an
        improvement by the fraction `tol`. For Adam with a given `learning_rate_init`, also the
        number of epochs under `tol`.
    n_init : int, default=1
        Number of random starts. The best result is kept; with `early_stopping`, the one with the
        lowest loss of the validation set. With more than two starts and exact E-steps, EM runs 30
        iterations from each. It then continues from the third of them with the lowest losses, and
        from at least two. With one start, a fit whose penalty was compared on a single split begins
        at the parameters that were found there.
    coefs_init, intercepts_init : list of arrays, optional
        Starting values, in the shapes of `coefs_` and `intercepts_`. Overrides random
        initialisation.
    warm_start : bool, default=False
        Whether `fit` resumes the last fit. On the same data, t calls with ``max_iter=1`` equal
        one call with ``max_iter=t`` to the bit (``solver="em"`` and ``"adam"``, without Ctrl-C in
        between). On other data, Adam starts with new moments at the last parameters.
    n_jobs : int, optional
        Number of threads; None uses all cores. Results do not depend on it, to the bit. Threads
        that fit at the same time, and workers of a pool of processes, divide the cores.
    random_state : int, RandomState or None, default=None
        Seed of the starting values, of the validation split, of the order of the rows in every
        epoch, and of `Sampling` without a seed of its own.
    verbose : int, default=0
        0 prints nothing, 1 a progress line, 2 one line per iteration. From 1 on, every penalty that
        is compared has a line too.

    Attributes
    ----------
    classes_ : array (n_classes,)
        Labels; for multilabel, the column numbers of y.
    family_ : Family
        Categorical, or Bernoulli for multilabel.
    coefs_ : list of arrays (n_features, n_hidden), ..., (n_hidden, n_classes)
        Log-odds per unit of the feature; then logits per active unit. Multilabel: one column per
        label, in log-odds.
    intercepts_ : list of arrays (n_hidden,), ..., (n_classes,), log-odds or logits
    alpha_ : float
        Penalty in use.
    alpha_path_ : dict of arrays (n_penalties,)
        Only if `alpha` is "auto" and there are enough rows. "alpha"; mean log-likelihoods per unit
        weight in nats: "cross_validation" of held-out rows, "leave_one_out" (approximate) and
        "training"; "effective_parameters". NaN where a value was not computed. `PenaltyDisplay`
        draws it.
    size_path_ : dict of arrays (n_sizes,)
        Only if `hidden_layer_sizes` is "auto" and there are enough rows: "n_hidden", "alpha", and
        "held_out", the mean log-likelihood of held-out rows in nats. "aic" and "bic" are based on
        the log-likelihood of the training rows. Both may mislead: the usual asymptotics fail for
        the number of latent units, because superfluous units are not identified.
    solver_ : {"em", "lbfgs", "adam"}
        Solver in use.
    starts_ : list of dict
        "loss", "n_iter", "converged", "coefs" and "intercepts" of every random start. Absent if the
        fit resumed an earlier one, or, with ``n_init=1``, began at parameters that were found while
        the penalty was chosen on a single split.
    feature_deviation_ : array (n_features,), in the features' units
        Standard deviation of every feature in the training rows. Warm starts and `partial_fit`
        keep that of the first call. A weight of `coefs_[0]` times this deviation does not depend
        on the unit of the feature.
    n_iter_ : int
        Iterations of the best start, without those that chose the penalty. Adam: epochs plus calls
        of `partial_fit`.
    converged_ : bool
        Always False after `partial_fit`.
    loss_ : float, nats
        Penalised negative log-likelihood per unit weight, without held-out rows. Adam evaluates it
        on all rows at the end of `fit`. After `partial_fit` it is the last entry of `loss_curve_`,
        after Ctrl-C the best.
    loss_curve_ : list of float, nats
        The loss of every iterate, starting with the starting point. Adam: the running loss of every
        epoch or call of `partial_fit`, each batch evaluated before its step. Sampling: estimates,
        which are not monotone.
    data_loss_curve_ : list of float, nats
        The same without penalty.
    validation_loss_curve_ : list of float or None, nats
        Negative log-likelihood per unit weight of the validation set at every iterate of
        `loss_curve_`, without penalty. For Adam, at the end of every epoch. NaN for iterates of an
        earlier fit without this set, infinity if it overflows. None without a validation set.
    best_validation_loss_ : float or None, nats
        Its lowest value.
    loss_curve_seconds_ : list of float
        Wall time of every entry of `loss_curve_` since the ascent began. A resumed curve adds to
        the time of the earlier one.
    e_step_ : engine
        Engine of predictions. `Sampling` includes its seed, so that predictions are reproducible.
    n_features_in_ : int
    feature_names_in_ : array of str
        Present if X has string column names.
    n_layers_ : int
        Number of layers including input and output.

    See Also
    --------
    fastem.FastEMRegressor : Numbers and counts.
    fastem.FastMLPClassifier : Deterministic networks.
    fastem.Inference : Standard errors and intervals of predictions.
    fastem.dask.DaskEMClassifier : Rows in the partitions of a Dask collection.
    fastem.to_onnx : Fitted models in other languages.

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
    0.98
    """

    def __init__(
        self,
        hidden_layer_sizes: tuple[int, ...] | int | str = "auto",
        *,
        e_step: str | Engine = "auto",
        m_step: str = "auto",
        solver: str = "auto",
        accelerate: bool = True,
        alpha: float | str = "auto",
        fit_intercept: bool = True,
        standardize: bool = True,
        class_weight: dict[Any, float] | str | None = None,
        prediction: str = "marginal",
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
        self.e_step = e_step
        self.m_step = m_step
        self.solver = solver
        self.accelerate = accelerate
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.class_weight = class_weight
        self.prediction = prediction
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
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Process some rows once, in mini-batches; only with ``solver="adam"``.

        Training continues after earlier calls and after `fit`. An unpickled model resumes
        exactly. A model from `load` or from another solver continues with new moments: the next
        rows define the standardisation, and the weight of earlier rows counts as zero.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like (n_samples,)
            Labels among `classes`. Not every class needs to occur.
        classes : array-like (n_classes,), optional
            All labels that any call will contain, at least two. Required in the first call.
        sample_weight : array-like (n_samples,), optional
            Nonnegative. Rows of weight zero are ignored.

        Returns
        -------
        self : FastEMClassifier

        Raises
        ------
        AttributeError
            With another solver.
        ValueError
            If a parameter, X, y or a weight is out of range, `classes` is missing or has changed,
            y has other labels, the network has changed, or a batch does not fit into memory.
        DivergenceError
            If the weights diverge.

        Notes
        -----
        A call that raises an error or is stopped by Ctrl-C leaves the estimator as it was.

        *Standardisation*: the rows of the first call define it. They should be typical.
        *Penalty*: the gradient of a batch of weight w contains the penalty times ``w / seen``.
        Here ``seen`` is the weight of all rows so far; repeated rows count again. *Order*: rows
        are shuffled within a call. *Cost*: an E-step on the rows, and an overhead for every
        batch (``pytest --benchmark-only benches/bench_minibatch.py`` measures it). `max_iter`,
        `tol`, `n_init` and `warm_start` have no effect.
        """
        began = time.perf_counter()
        return self._partial_fit(X, y, sample_weight, announced_classes(self, classes), began)

    def _learn_targets(
        self, y: Any, weights: Array, classes: Any, *, resumes: bool
    ) -> tuple[Family, np.ndarray]:
        return learn_labels(self, y, weights, classes, resumes=resumes)

    def _targets_of_part(self, y: Any) -> tuple[np.ndarray | None, Array | None]:
        return labels_of_part(y)

    def _with_class_weights(
        self, targets: np.ndarray, weights: Array, *, incremental: bool
    ) -> Array:
        by_class = class_weight_of_rows(
            self.class_weight, self.classes_, targets, weights, incremental=incremental
        )
        if by_class is None:
            return weights
        weights = weights * by_class
        check_weights(weights, LARGEST_WEIGHT)
        if not incremental:
            check_two_classes(weights, targets, self.classes_)
        return weights

    def _known_targets(
        self, y: ArrayLike, n_samples: int, n_outputs: int | None = None
    ) -> np.ndarray:
        return known_labels(self, y, n_samples)

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: multilabel y is accepted."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
