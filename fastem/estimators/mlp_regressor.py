"""FastMLPRegressor: scikit-learn's multi-layer perceptron for regression, compiled."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import validate_data

from fastem.estimators import _mlp_checks
from fastem.estimators.mlp import BaseFastMLP, has_epochs
from fastem.parameters import Array


class FastMLPRegressor(RegressorMixin, BaseFastMLP, BaseEstimator):
    """Deterministic network trained by backpropagation: scikit-learn's `MLPRegressor`, compiled.

    ``E[y|x] = f(... f(x W_1 + b_1) ...) W_L + b_L``. Parameters, attributes, methods and the use of
    `random_state` are those of `sklearn.neural_network.MLPRegressor`, so that a seed gives the
    same numbers to rounding. What scikit-learn does not have stands last.

    Parameters
    ----------
    loss : {"squared_error", "poisson", "absolute_error"}, default="squared_error"
        Half the squared error; half the Poisson deviance, with an exponential output; or the
        absolute error, for the conditional median. With several outputs `loss_` is the mean
        over them for "squared_error" and the sum for the others; gradients are of the sum.
    hidden_layer_sizes : sequence of int, or int, default=(100,)
        Units of each hidden layer; ``()`` for linear regression.
    activation : str or sequence of str, default="relu"
        Of the hidden layers, one name for all or one for each: "identity", "logistic", "tanh",
        "relu", "leaky_relu" (``max(0.1 a, a)``), "prelu" (slopes below zero are learned, from
        0.25 on), "elu", or "maxout" (the larger of two weighted sums: `coefs_` have two columns
        to a unit, all first ones before all second ones).
    solver : {"adam", "sgd", "lbfgs"}, default="adam"
        Stochastic descent, or SciPy's L-BFGS on all rows at once, which has no use for batches,
        rates, momentum, `shuffle` and `early_stopping`.
    alpha : float, default=0.0001
        Penalty on half the squared coefs, divided by the weight of the batch.
    batch_size : int or "auto", default="auto"
        Rows to a step; "auto" is ``min(200, n_samples)``, 1 is on-line learning.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Schedule of "sgd": fixed; divided by ``t_**power_t``; or divided by five where training
        would stop, until it is 1e-6.
    learning_rate_init : float, default=0.001
        Rate of "sgd" and "adam" to begin with.
    power_t : float, default=0.5
        Of "invscaling".
    max_iter : int, default=200
        Most epochs, or iterations of "lbfgs".
    shuffle : bool, default=True
        Whether every epoch takes the rows in another order.
    random_state : int, RandomState or None, default=None
        Draws starting values, the validation split, orders and dropout.
    tol : float, default=1e-4
        An epoch that improves by less counts as none; also the gradient tolerance of "lbfgs".
    verbose : bool or int, default=False
        Whether to print the loss of every epoch or iteration.
    warm_start : bool, default=False
        Go on from the last fit.
    momentum : float, default=0.9
        Share of the last step that "sgd" adds to the next.
    nesterovs_momentum : bool, default=True
        Whether the gradient is taken after that share.
    early_stopping : bool, default=False
        Stop by the score of a validation set, given to `fit` or split off, and keep its best epoch.
    validation_fraction : float, default=0.1
        Share of the rows that `early_stopping` splits off.
    beta_1, beta_2, epsilon : float, default=0.9, 0.999, 1e-8
        Of "adam".
    n_iter_no_change : int, default=10
        Training stops after more epochs than this without improvement.
    max_fun : int, default=15000
        Most evaluations of "lbfgs".
    dropout : float, default=0.0
        Rate at which hidden values are set to zero in training, the others scaled up to match.
    init : {"glorot", "he"}, default="glorot"
        Uniform starting values within ``sqrt(6 / (n_in + n_out))`` (2 for "logistic"), as
        scikit-learn draws them; or within ``sqrt(6 / n_in)``, intercepts zero.
    coefs_init, intercepts_init : list of arrays, optional
        Starting values, as in `coefs_` and `intercepts_`. What is given is not drawn.

    Attributes
    ----------
    loss_, best_loss_ : float
        Of the last epoch; least of all epochs (None with `early_stopping`).
    loss_curve_ : list of float
        Mean loss of every epoch, penalty included, each batch before its step; of every
        iteration of "lbfgs".
    loss_curve_seconds_ : list of float
        Wall time of every entry of `loss_curve_` since training began, earlier calls included.
    validation_scores_, validation_loss_curve_ : list of float or None
        R2 and mean loss, without penalty, of a validation set if there is one: after every
        epoch, or once after "lbfgs".
    best_validation_score_ : float or None
    t_ : int
        Rows seen in training.
    coefs_ : list of arrays (n_in, n_columns)
    intercepts_ : list of arrays (n_columns,)
    slopes_ : list of arrays (n_units,) or None
        Learned slopes of "prelu" layers, one entry per hidden layer.
    n_features_in_ : int
    feature_names_in_ : array of str
        When X has string column names.
    n_iter_ : int
    converged_ : bool
        Whether a stopping rule, and not a limit, ended the training.
    n_layers_ : int
    n_outputs_ : int
    out_activation_ : str

    References
    ----------
    As for `FastMLPClassifier`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import FastMLPRegressor
    >>> X = np.linspace(-2, 2, 50)[:, None]
    >>> model = FastMLPRegressor(hidden_layer_sizes=(10,), solver="lbfgs", random_state=0)
    >>> round(model.fit(X, np.sin(2 * X.ravel())).score(X, np.sin(2 * X.ravel())), 1)
    1.0
    """

    _losses = _mlp_checks.REGRESSOR_LOSSES

    def __init__(
        self,
        loss: str = "squared_error",
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
        dropout: float = 0.0,
        init: str = "glorot",
        coefs_init: list[ArrayLike] | None = None,
        intercepts_init: list[ArrayLike] | None = None,
    ) -> None:
        self.loss = loss
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
        self.dropout = dropout
        self.init = init
        self.coefs_init = coefs_init
        self.intercepts_init = intercepts_init

    @available_if(has_epochs)
    def partial_fit(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> "FastMLPRegressor":
        """Train for one epoch on these rows.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Returns
        -------
        self : FastMLPRegressor

        Raises
        ------
        ValueError
            As `fit`.
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Array:
        """Return the network's output.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)

        Returns
        -------
        y : array (n_samples,) or (n_samples, n_outputs)
        """
        return self._numbers(self._forward(X))

    def _output_activation(self) -> str:
        return "exp" if self.loss == "poisson" else "identity"

    def _check_data(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        X, y = validate_data(
            self, X, y, accept_sparse=["csr", "csc"], multi_output=True, y_numeric=True,
            dtype=(np.float64, np.float32), reset=reset,
        )  # fmt: skip
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if y.dtype.kind not in "buif":
            raise ValueError(f"y must hold real numbers, got {y.dtype}.")
        if self.loss == "poisson" and y.min() < 0:
            raise ValueError(f"loss='poisson' needs y >= 0, got {y.min():g}.")
        return X, y

    def _targets(self, y: Any) -> Array:
        return np.ascontiguousarray(y.reshape(len(y), -1), dtype=np.float64)

    def _loss_scale(self) -> float:
        return 1.0 / self.n_outputs_ if self.loss == "squared_error" else 1.0

    def _numbers(self, outputs: Array) -> Array:
        return outputs.ravel() if outputs.shape[1] == 1 else outputs

    def _score_outputs(self, outputs: Array, targets: Array, weights: Array | None) -> float:
        if not np.isfinite(outputs).all():
            return np.nan
        return float(r2_score(targets, outputs, sample_weight=weights))
