"""What the classifier and the regressor have in common."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastem.estimators import _mlp_checks
from fastem.estimators._mlp_training import DivergenceError, Samples, train_epochs, train_lbfgs
from fastem.parameters import Array
from fastem.perceptron import FIRST_SLOPE, LOSSES, FeedForward, Layers, Objective

STOCHASTIC_SOLVERS = ("sgd", "adam")


def has_epochs(estimator: Any) -> bool:
    """Return True, or say why there is no `partial_fit`."""
    if estimator.solver not in STOCHASTIC_SOLVERS:
        raise AttributeError(
            f"partial_fit is only available for stochastic optimizers. {estimator.solver} is not "
            "stochastic."
        )
    return True


class BaseFastMLP:
    """Training and forward pass of a deterministic network.

    Subclasses say what their losses and their output are, how targets are coded, and how a
    validation set is scored.
    """

    _losses: tuple[str, ...]

    def _output_activation(self) -> str:
        raise NotImplementedError

    def _check_data(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        """Check X and y against each other and, unless it resets, against earlier data."""
        raise NotImplementedError

    def _learn_targets(self, y: Any, classes: Any, *, incremental: bool) -> None:
        """Find out what y may hold, or check it against what earlier data held."""

    def _targets(self, y: Any) -> Array:
        """Return checked labels or numbers as targets (n_samples, n_outputs)."""
        raise NotImplementedError

    def _score_outputs(self, outputs: Array, targets: Array, weights: Array | None) -> float:
        """Return the score of a forward pass: NaN where an output is not finite."""
        raise NotImplementedError

    def _loss_scale(self) -> float:
        """Return what turns a loss summed over outputs into the one that is reported."""
        return 1.0

    def _class_weights(self, y: Any, weights: Array, *, incremental: bool) -> Array | None:
        """Return what weights of rows are multiplied by, if anything."""
        return None

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: Any = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
            float32 stays float32, everything else becomes float64.
        y : array-like (n_samples,) or (n_samples, n_outputs)
            Labels, or for multilabel a column of 0 and 1 for each; of a regressor numbers.
        sample_weight : array-like (n_samples,), optional
            Not negative.
        X_val, y_val, sample_weight_val : as X, y, sample_weight, optional
            Validation set: its score and loss are recorded after every epoch, and
            `early_stopping` goes by it.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            If a parameter or the data are out of range, or the loss becomes non-finite; in
            the second case the last finite weights are in place.

        Warns
        -----
        ConvergenceWarning
            If `max_iter` epochs or iterations did not do.

        Notes
        -----
        An epoch costs about ``6 n_samples n_coefs`` flops and, for every batch, a pass over
        all parameters.
        """
        validation = (X_val, y_val, sample_weight_val)
        return self._fit(X, y, sample_weight, incremental=False, validation=validation)

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        incremental: bool,
        classes: Any = None,
        validation: tuple = (None, None, None),
    ) -> Any:
        """Train on checked data; what goes wrong before training leaves all as it was."""
        before = dict(vars(self))
        try:
            sizes = _mlp_checks.check_hyperparameters(self, self._losses)
            if incremental and self.early_stopping:
                raise ValueError("partial_fit does not support early_stopping=True")
            first_pass = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
            X, y = self._check_data(X, y, reset=first_pass)
            self._learn_targets(y, classes, incremental=incremental)
            weights = _check_sample_weight(sample_weight, X, dtype=X.dtype)
            _mlp_checks.check_weights(weights)
            targets = self._targets(y)
            _mlp_checks.check_targets(targets)
            self._random_state = check_random_state(self.random_state)
            network, theta = self._network(sizes, X, targets, first_pass=first_pass)
            by_class = self._class_weights(y, weights, incremental=incremental)
            of_loss = weights if by_class is None else weights * by_class
            scores = None if sample_weight is None else weights
            train = _samples(X, targets, of_loss, scores, theta.dtype)
            check = self._validation(theta.dtype, *validation)
            if self.solver == "lbfgs":
                return train_lbfgs(self, network, theta, train, check)
            return train_epochs(self, network, theta, train, check, incremental=incremental)
        except DivergenceError:  # the last finite weights are in place
            raise
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    def _network(
        self, sizes: list[int], X: Any, targets: Array, *, first_pass: bool
    ) -> tuple[FeedForward, Array]:
        """Lay out the network; return it with the parameters to begin with."""
        names = [self.activation] * len(sizes)
        if not isinstance(self.activation, str):
            names = list(self.activation)
        widths = [X.shape[1], *sizes, targets.shape[1]]
        if first_pass:
            _mlp_checks.check_memory_for(self, widths, X.shape[0], X.dtype.itemsize)
        layers = Layers.of(widths, names, self._output_activation())
        if first_pass:
            self._initialize(layers, X.dtype)
        else:
            _mlp_checks.check_continuation(self, layers)
        theta = self._theta()
        if not np.isfinite(theta).all():
            raise ValueError("coefs_ or intercepts_ hold NaN or infinity; fit anew.")
        if self.solver == "lbfgs":  # SciPy's works in double precision
            theta = theta.astype(np.float64, copy=False)
        smallest = float(np.finfo(theta.dtype).eps)
        objective = Objective(LOSSES[self.loss], float(self.alpha), float(self.dropout), smallest)
        return FeedForward(layers, objective), theta

    def _validation(self, dtype: Any, X: Any, y: Any, sample_weight: Any) -> Samples | None:
        if X is None and y is None and sample_weight is None:
            return None
        if X is None or y is None:
            raise ValueError("X_val and y_val are a validation set only together; pass both.")
        X, y = self._check_data(X, y, reset=False)
        if X.shape[0] < 2:
            raise ValueError(f"X_val must have two rows or more, got {X.shape[0]}.")
        weights = _check_sample_weight(sample_weight, X, dtype=dtype)
        targets = self._targets(y)
        if targets.shape[1] != self.n_outputs_:
            raise ValueError(
                f"y_val must have {self.n_outputs_} outputs, as y has, got {targets.shape[1]}."
            )
        scores = None if sample_weight is None else weights
        return _samples(X, targets, weights, scores, dtype)

    def _initialize(self, layers: Layers, dtype: Any) -> None:
        coefs, intercepts = _mlp_checks.check_start(self, layers)
        self.n_iter_, self.t_ = 0, 0
        self.n_outputs_, self.n_layers_ = int(layers.widths[-1]), len(layers.widths)
        self.out_activation_ = self._output_activation()
        self._layers = layers
        self.coefs_, self.intercepts_ = self._draw(layers, dtype, coefs, intercepts)
        self.slopes_ = [
            np.full(stop - start, FIRST_SLOPE, dtype) if stop > start else None
            for start, stop in zip(layers.slopes[:-2], layers.slopes[1:-1], strict=True)
        ]
        self.loss_curve_, self.validation_loss_curve_ = [], None
        self.loss_curve_seconds_ = []
        for of_last_fit in ("_optimizer", "loss_"):
            vars(self).pop(of_last_fit, None)
        self._no_improvement_count = 0
        self._best_theta = None
        self.validation_scores_, self.best_validation_score_ = None, None
        self.best_loss_ = None if self.early_stopping else np.inf

    def _draw(
        self,
        layers: Layers,
        dtype: Any,
        coefs: list[Array] | None,
        intercepts: list[Array] | None,
    ) -> tuple[list[Array], list[Array]]:
        """Return starting values in the order in which scikit-learn draws them."""
        drawn, offsets = [], []
        hidden = self.activation if not isinstance(self.activation, str) else [self.activation]
        for i, (n_in, n_columns) in enumerate(layers.shapes()):
            # the output layer goes by the last hidden one
            name = hidden[min(i, len(hidden) - 1)] if len(hidden) > 0 else "identity"
            if self.init == "he":
                bound = np.sqrt(6.0 / n_in)
            else:
                bound = np.sqrt((2.0 if name == "logistic" else 6.0) / (n_in + n_columns))
            if coefs is None:
                drawn.append(self._random_state.uniform(-bound, bound, (n_in, n_columns)))
            if intercepts is None:
                at_zero = self.init == "he"
                offsets.append(
                    np.zeros(n_columns)
                    if at_zero
                    else self._random_state.uniform(-bound, bound, n_columns)
                )
        drawn, offsets = coefs or drawn, intercepts or offsets
        return [w.astype(dtype) for w in drawn], [b.astype(dtype) for b in offsets]

    def _keep(self, theta: Array) -> None:
        """Make a vector of parameters the fitted ones."""
        coefs, intercepts, slopes = self._layers.unpack(theta)
        self.coefs_, self.intercepts_, self.slopes_ = coefs, intercepts, slopes

    def _theta(self) -> Array:
        """Return the parameters as a vector, in single precision only if all of them are."""
        theta = self._layers.pack(self.coefs_, self.intercepts_, self.slopes_)
        return theta if theta.dtype == np.float32 else theta.astype(np.float64, copy=False)

    def _forward(self, X: Any) -> Array:
        """Check X; return outputs (n_samples, n_outputs)."""
        check_is_fitted(self, "coefs_")
        X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        theta = self._theta()
        if X.dtype != np.float32:
            theta = theta.astype(np.float64, copy=False)
        objective = Objective(LOSSES[self.loss], 0.0, 0.0, 1.0)
        outputs = FeedForward(self._layers, objective).outputs(theta, _as_rows(X, theta.dtype))
        if not np.isfinite(outputs).all():
            raise FloatingPointError(
                "The network's output is not a number: X times weights overflow. Rescale the "
                "features of X, or fit anew if coefs_ were changed."
            )
        return outputs

    def __sklearn_tags__(self):
        """Return scikit-learn's tags: sparse X is welcome."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _samples(X: Any, targets: Array, weights: Array, scores: Array | None, dtype: Any) -> Samples:
    """Return checked rows in the form and precision that kernels read."""
    _mlp_checks.check_weights(weights)
    return Samples(_as_rows(X, dtype), _own(targets, dtype), _own(weights, dtype), scores)


def _own(array: Array, dtype: Any) -> Array:
    """Return the array in the form that kernels are compiled for; copy only if it has another."""
    return np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED", "WRITEABLE", "ENSUREARRAY"])


def _as_rows(X: Any, dtype: Any) -> Any:
    """Return X in the form and precision that kernels read, copied only if it has another."""
    if not hasattr(X, "tocsr"):
        return _own(X, dtype)
    csr = X.tocsr()
    index = np.int32 if max(csr.nnz, *csr.shape) < 2**31 else np.int64
    parts = _own(csr.data, dtype), _own(csr.indices, index), _own(csr.indptr, index)
    rows = type(csr)(parts, shape=csr.shape, copy=False)
    try:
        rows.check_format(full_check=True)  # kernels would follow a column index anywhere
    except ValueError as error:
        raise ValueError(f"X is not a valid sparse matrix: {error}.") from error
    return rows
