"""FastMLPClassifier: scikit-learn's multi-layer perceptron for classification, compiled."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import unique_labels

from fastem.estimators.arguments import ScoresLabels, features_and_targets
from fastem.estimators.availability import available
from fastem.estimators.class_weight import class_weight_of_rows
from fastem.estimators.hyperparameters import CLASSIFIER_LOSSES
from fastem.estimators.mlp import FORM, BaseFastMLP, Floats, has_epochs
from fastem.estimators.validation import announced_classes
from fastem.parameters import Array


class FastMLPClassifier(ScoresLabels, ClassifierMixin, BaseFastMLP, BaseEstimator):
    """Deterministic network trained by backpropagation: scikit-learn's `MLPClassifier`, compiled.

    ``P(y|x) = softmax(f(... f(x W_1 + b_1) ...) W_L + b_L)``. Parameters, attributes, methods and
    the use of `random_state` are those of `sklearn.neural_network.MLPClassifier`. The same seed
    gives the same numbers up to rounding. Parameters that scikit-learn lacks are listed last.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, or int, default=(100,)
        Number of units of each hidden layer. ``()`` means no hidden layer: logistic regression.
    activation : str or sequence of str, default="relu"
        Activation function of the hidden layers: one name for all layers, or one name per layer.
        "identity", "logistic", "tanh", "relu", "leaky_relu" (``max(0.1 a, a)``), "prelu" (learned
        slope below zero, initially 0.25), "elu", or "maxout" (maximum of two weighted sums:
        `coefs_` has two columns per unit, all first sums before all second sums).
    solver : {"adam", "sgd", "lbfgs"}, default="adam"
        Stochastic gradient descent ("adam", "sgd"), or SciPy's L-BFGS on all rows at once.
        "lbfgs" ignores batches, learning rates, momentum, `shuffle` and `early_stopping`.
    alpha : float, default=0.0001
        L2 penalty: multiplies half the squared coefs, divided by the total weight of the batch.
    batch_size : int or "auto", default="auto"
        Rows per gradient step. "auto" is ``min(200, n_samples)``.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Schedule of the learning rate of "sgd": constant; divided by ``(t_ + 1)**power_t`` after
        every epoch; or divided by five each time training would stop, until it is 1e-6.
    learning_rate_init : float, default=0.001
        Initial learning rate of "sgd" and "adam".
    power_t : float, default=0.5
        Exponent of the "invscaling" schedule.
    max_iter : int, default=200
        Maximum number of epochs, or of iterations of "lbfgs".
    shuffle : bool, default=True
        Whether to shuffle the rows before every epoch.
    random_state : int, RandomState or None, default=None
        Seed of starting values, of the validation split, of shuffling and of dropout.
    tol : float, default=1e-4
        An epoch counts as an improvement only if it improves by at least `tol`. Also the
        gradient tolerance of "lbfgs".
    verbose : bool or int, default=False
        Whether to print the loss after every epoch or iteration.
    warm_start : bool, default=False
        Whether `fit` starts from the parameters of the previous call.
    momentum : float, default=0.9
        Momentum of "sgd".
    nesterovs_momentum : bool, default=True
        Whether "sgd" uses Nesterov's momentum.
    early_stopping : bool, default=False
        Stop when the score of a validation set no longer improves, and keep the parameters of the
        epoch with the best score. The set is passed to `fit` or split off.
    validation_fraction : float, default=0.1
        Fraction of the rows that `early_stopping` splits off.
    beta_1, beta_2, epsilon : float, default=0.9, 0.999, 1e-8
        Parameters of "adam": decay rates of the two moments, and a constant in the denominator.
    n_iter_no_change : int, default=10
        Training stops after more than this number of epochs in a row without improvement.
    max_fun : int, default=15000
        Maximum number of loss evaluations of "lbfgs".
    loss : {"log_loss", "squared_error"}, default="log_loss"
        Negative log-likelihood, or half the squared error of the probabilities.
    dropout : float, default=0.0
        Probability that a hidden value is set to zero in training. The others are divided by
        ``1 - dropout``.
    class_weight : dict, "balanced" or None, default=None
        Weight of every class, by label. Multiplies the weights of the rows. "balanced" gives all
        classes the same total weight.
    init : {"glorot", "he"}, default="glorot"
        Distribution of starting values. "glorot": weights and intercepts are uniform within
        ``sqrt(6 / (n_in + n_out))`` (2 instead of 6 for "logistic"), as in scikit-learn. "he":
        weights are uniform within ``sqrt(6 / n_in)`` and intercepts are zero.
    coefs_init, intercepts_init : list of arrays, optional
        Starting values, in the shapes of `coefs_` and `intercepts_`. Overrides random
        initialisation.

    Attributes
    ----------
    classes_ : array (n_classes,)
    loss_ : float
        Loss of the last epoch or iteration.
    best_loss_ : float or None
        Smallest loss of all epochs; None with `early_stopping`.
    loss_curve_ : list of float
        Mean loss of every epoch, penalty included, each batch evaluated before its step; or loss
        of every iteration of "lbfgs".
    data_loss_curve_ : list of float
        The same without penalty.
    loss_curve_seconds_ : list of float
        Wall time of every entry of `loss_curve_` since training began. Earlier calls of a warm
        start or of `partial_fit` are included.
    validation_scores_, validation_loss_curve_ : list of float or None
        Accuracy and mean loss (without penalty) of the validation set after every epoch, or once
        after "lbfgs". None without a validation set.
    best_validation_score_ : float or None
    t_ : int
        Number of rows processed in training.
    coefs_ : list of arrays (n_in, n_columns)
    intercepts_ : list of arrays (n_columns,)
    slopes_ : list of arrays (n_units,) or None
        Learned slopes of "prelu" layers; one entry per hidden layer.
    n_features_in_ : int
    feature_names_in_ : array of str
        Present if X has string column names.
    n_iter_ : int
        Epochs or iterations of the last call.
    converged_ : bool
        Whether a stopping rule ended training, not a limit or Ctrl-C.
    n_layers_ : int
    n_outputs_ : int
    out_activation_ : str

    References
    ----------
    Rumelhart, Hinton and Williams (1986), Learning representations by back-propagating errors,
    Nature 323. Kingma and Ba (2015), Adam, arXiv 1412.6980. Glorot and Bengio (2010), AISTATS.
    He et al. (2015), Delving deep into rectifiers, arXiv 1502.01852.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastem import FastMLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = FastMLPClassifier((8,), solver="lbfgs", max_iter=500, random_state=0).fit(X, y)
    >>> round(model.score(X, y), 2)
    0.99
    """

    _losses = CLASSIFIER_LOSSES
    classes_: NDArray[Any]

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] | int = (100,),
        activation: str | Sequence[str] = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int = 10,
        max_fun: int = 15000,
        loss: str = "log_loss",
        dropout: float = 0.0,
        class_weight: dict[Any, float] | str | None = None,
        init: str = "glorot",
        coefs_init: Sequence[ArrayLike] | None = None,
        intercepts_init: Sequence[ArrayLike] | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.loss = loss
        self.dropout = dropout
        self.class_weight = class_weight
        self.init = init
        self.coefs_init = coefs_init
        self.intercepts_init = intercepts_init

    @available(has_epochs)
    def partial_fit(
        self,
        X: Any,
        y: ArrayLike,
        *,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train for one epoch on these rows.

        Parameters
        ----------
        X, y
            As in `fit`.
        classes : array-like (n_classes,), optional
            All labels that any call will contain. Required in the first call.
        sample_weight : array-like (n_samples,), optional
            As in `fit`.

        Returns
        -------
        self : FastMLPClassifier

        Raises
        ------
        AttributeError
            If ``solver="lbfgs"``.
        ValueError
            As `fit`. Also if `classes` is missing in the first call, `classes` differs from an
            earlier call, or y has other labels.
        DivergenceError
            As `fit`.

        Warns
        -----
        UserWarning
            As `fit`.
        """
        return self._fit(X, y, sample_weight, incremental=True, classes=classes)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable labels.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)

        Returns
        -------
        y : array (n_samples,), or (n_samples, n_labels) for multilabel

        Raises
        ------
        NotFittedError
            If `fit` has not been called.
        ValueError
            If X has other features than in `fit`, NaN or infinity.
        FloatingPointError
            If X times weights overflow.
        """
        return self._forward(X, self._labels)

    def predict_proba(self, X: Any) -> Floats:
        """Return the probability of every class.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)

        Returns
        -------
        p : array (n_samples, n_classes)
            Columns are ordered as `classes_`; a single class has probability 1. For multilabel
            problems, the probability of each label.

        Raises
        ------
        NotFittedError, ValueError, FloatingPointError
            As `predict` does.
        """
        return self._forward(X, self._probability)

    def _probability(self, outputs: Floats) -> Floats:
        """Return the probability of every class, for outputs of the network."""
        if len(self.classes_) == 1:
            return np.ones_like(outputs)
        if self.n_outputs_ == 1:
            return np.hstack([1.0 - outputs, outputs])
        return outputs

    def predict_log_proba(self, X: Any) -> Floats:
        """Return the logarithm of the probability of every class.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)

        Returns
        -------
        log_p : array (n_samples, n_classes), nats
            -inf for probability zero.

        Raises
        ------
        NotFittedError, ValueError, FloatingPointError
            As `predict` does.
        """
        p = self.predict_proba(X)
        with np.errstate(divide="ignore"):
            return np.log(p, out=p)

    def _output_activation(self) -> str:
        return "softmax" if self._label_binarizer.y_type_ == "multiclass" else "logistic"

    def _check_data(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        X, y = features_and_targets(self, X, self._prepared_y(y), reset=reset, **FORM)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y

    def _learn_targets(self, y: Any, classes: Any, *, incremental: bool) -> None:
        known = hasattr(self, "classes_")
        if incremental:
            classes = announced_classes(self, classes)
        if not known or not (self.warm_start or incremental):
            of_fit = y if not incremental or y.ndim == 2 else classes
            self._label_binarizer = LabelBinarizer().fit(of_fit)
            self.classes_ = classes if incremental else self._label_binarizer.classes_
        elif self.warm_start and not incremental:
            found = unique_labels(y)
            if set(found) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous "
                    f"call to fit. Previously got {self.classes_}, `y` has {found}"
                )

    def _targets(self, y: Any) -> Array:
        classes = unique_labels(y)
        if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. "
                f"'y' has {classes}."
            )
        return self._label_binarizer.transform(y).astype(bool).astype(np.float64)

    def _class_weights(self, y: Any, weights: Array, *, incremental: bool) -> Array | None:
        targets = y if y.ndim == 2 else np.searchsorted(self.classes_, y)
        return class_weight_of_rows(
            self.class_weight, self.classes_, targets, weights, incremental=incremental
        )

    def _labels(self, outputs: Array) -> np.ndarray:
        return self._label_binarizer.inverse_transform(
            outputs.ravel() if self.n_outputs_ == 1 else outputs
        )

    def _score_outputs(self, outputs: Array, targets: Array, weights: Array | None) -> float:
        if not np.isfinite(outputs).all():
            return np.nan
        if self.out_activation_ == "softmax":
            right = outputs.argmax(axis=1) == targets.argmax(axis=1)
        else:
            right = ((outputs > 0.5) == (targets > 0.5)).all(axis=1)
        return float(np.average(right, weights=weights))

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: multilabel y is accepted."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
