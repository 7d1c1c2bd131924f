"""BaseFastMLP: base class of the deterministic classifier and regressor."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fastem.estimators import mlp_training
from fastem.estimators.arguments import features, row_weights
from fastem.estimators.fitted_attributes import FittedAttributes
from fastem.estimators.held_out import check_complete
from fastem.estimators.hyperparameters import check_mlp_parameters
from fastem.estimators.rollback import unchanged_on_failure
from fastem.estimators.validation import check_same_mlp_network, check_targets, check_weights
from fastem.parameters import Array
from fastem.perceptron import (
    LARGEST_VALUE,
    LOSSES,
    Ending,
    FeedForward,
    Layers,
    Objective,
    Samples,
    ValidationSet,
)
from fastem.runtime import blas_of_worker, in_blocks, kernel_array

STOCHASTIC_SOLVERS = ("sgd", "adam")
FORM = {"accept_sparse": ["csr", "csc"], "dtype": (np.float64, np.float32)}
"""The form of X, as arguments of `features`."""
Floats = NDArray[np.floating[Any]]
"""float32 if X is float32, otherwise float64."""


def has_epochs(estimator: Any) -> bool:
    """Return True, or raise AttributeError: `partial_fit` needs a stochastic solver."""
    if estimator.solver not in STOCHASTIC_SOLVERS:
        raise AttributeError(
            f"partial_fit is only available for stochastic optimizers. {estimator.solver} is not "
            "stochastic."
        )
    return True


class BaseFastMLP(FittedAttributes):
    """Training and forward pass of a deterministic network.

    Subclasses define the losses, the output activation, the coding of targets and the score of
    a validation set.
    """

    activation: str | Sequence[str]
    alpha: float
    dropout: float
    early_stopping: bool
    loss: str
    random_state: int | np.random.RandomState | None
    solver: str
    warm_start: bool
    _losses: tuple[str, ...]

    # fitted attributes
    best_loss_: float | None
    best_validation_score_: float | None
    coefs_: list[Floats]
    intercepts_: list[Floats]
    n_outputs_: int
    out_activation_: str
    slopes_: list[Floats | None]
    t_: int
    validation_scores_: list[float] | None

    def _output_activation(self) -> str:
        raise NotImplementedError

    def _check_data(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        """Check X and y, and unless `reset` compare them with the data of the earlier fit."""
        raise NotImplementedError

    def _learn_targets(self, y: Any, classes: Any, *, incremental: bool) -> None:
        """Learn the coding of targets from y, or compare y with the earlier fit."""

    def _targets(self, y: Any) -> Array:
        """Return checked labels or numbers as targets (n_samples, n_outputs)."""
        raise NotImplementedError

    def _score_outputs(self, outputs: Array, targets: Array, weights: Array | None) -> float:
        """Return the score of a forward pass: NaN where an output is not finite."""
        raise NotImplementedError

    def _loss_scale(self) -> float:
        """Return the factor that turns the loss summed over outputs into the reported loss."""
        return 1.0

    def _class_weights(self, y: Any, weights: Array, *, incremental: bool) -> Array | None:
        """Return the class weight of every row, or None."""
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
            float32 is kept; other types are converted to float64.
        y : array-like (n_samples,) or (n_samples, n_outputs)
            Classifier: labels, or for multilabel problems one column of 0 and 1 per label.
            Regressor: numbers.
        sample_weight : array-like (n_samples,), optional
            Nonnegative. A row of weight w counts as w identical rows.
        X_val, y_val, sample_weight_val : as X, y, sample_weight, optional
            Validation set. Its score and loss are recorded after every epoch. `early_stopping`
            uses it instead of splitting one off.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            If a parameter or the data are out of range. The estimator is left unchanged.
        DivergenceError
            If the loss becomes non-finite. The last finite weights are in place.

        Warns
        -----
        ConvergenceWarning
            If a limit on epochs, iterations or evaluations is reached before convergence.
        UserWarning
            If Ctrl-C was pressed, or `batch_size` is larger than the number of rows.

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
        validation: tuple[Any, ...] = (None, None, None),
    ) -> Self:
        """Check parameters and data, train, and set the fitted attributes."""
        with unchanged_on_failure(self):
            sizes = check_mlp_parameters(self, self._losses)
            if incremental and self.early_stopping:
                raise ValueError("partial_fit does not support early_stopping=True")
            first_pass = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
            X, y = self._check_data(X, y, reset=first_pass)
            self._learn_targets(y, classes, incremental=incremental)
            weights = row_weights(sample_weight, X, X.dtype, non_negative=False)
            _check_weights(weights)
            targets = self._targets(y)
            check_targets(targets)
            random_state = check_random_state(self.random_state)
            network, theta = self._network(sizes, X, targets, random_state, first_pass=first_pass)
            by_class = self._class_weights(y, weights, incremental=incremental)
            of_loss = weights if by_class is None else weights * by_class
            scores = None if sample_weight is None else weights
            samples = _samples(X, targets, of_loss, scores, theta.dtype)
            held_out = self._validation(theta.dtype, *validation)
            state = mlp_training.state_of(
                self, theta, first_pass=first_pass, incremental=incremental
            )
            del theta  # only the state refers to it, so that training may replace it
            with blas_of_worker():
                result = mlp_training.train(
                    self, network, samples, state, held_out, random_state, incremental=incremental
                )
            vars(self).pop("loss_", None)
            vars(self).update(mlp_training.attributes(network.layers, result))
            mlp_training.warn_of_ending(self, result, incremental=incremental)
        if result.ending is Ending.DIVERGED:  # the last finite weights are in place
            raise mlp_training.divergence(self, result)
        return self

    def _network(
        self,
        sizes: list[int],
        X: Any,
        targets: Array,
        random_state: np.random.RandomState,
        *,
        first_pass: bool,
    ) -> tuple[FeedForward, Array]:
        """Lay out the network; return it with its initial parameters."""
        names = [self.activation] * len(sizes)
        if not isinstance(self.activation, str):
            names = list(self.activation)
        widths = [X.shape[1], *sizes, targets.shape[1]]
        if first_pass:
            mlp_training.check_network_memory(self, widths, names, X)
        layers = Layers.of(widths, names, self._output_activation())
        if first_pass:
            theta = mlp_training.draw_start(self, layers, X.dtype, random_state)
            self.n_outputs_, self.n_layers_ = int(layers.widths[-1]), len(layers.widths)
            self.out_activation_ = self._output_activation()
            self._layers = layers
        else:
            check_same_mlp_network(self, self._layers, layers)
            theta = self._theta()
        if not np.isfinite(theta).all():
            raise ValueError("coefs_ or intercepts_ hold NaN or infinity; call fit again.")
        if self.solver == "lbfgs":  # SciPy's L-BFGS uses double precision
            theta = theta.astype(np.float64, copy=False)
        smallest = float(np.finfo(theta.dtype).eps)
        objective = Objective(LOSSES[self.loss], float(self.alpha), float(self.dropout), smallest)
        return FeedForward(layers, objective), theta

    def _validation(self, dtype: Any, X: Any, y: Any, sample_weight: Any) -> ValidationSet | None:
        if X is None and y is None and sample_weight is None:
            return None
        check_complete(X, y)
        try:
            X, y = self._check_data(X, y, reset=False)
            weights = row_weights(sample_weight, X, dtype, non_negative=False)
            targets = self._targets(y)
        except ValueError as error:
            raise ValueError(
                f"The validation set (X_val, y_val) cannot be used: {error}"
            ) from error
        if X.shape[0] < 2:
            raise ValueError(f"X_val must have two rows or more, got {X.shape[0]}.")
        if targets.shape[1] != self.n_outputs_:
            raise ValueError(
                f"y_val must have {self.n_outputs_} outputs, as y has, got {targets.shape[1]}."
            )
        scores = None if sample_weight is None else weights
        return ValidationSet(_samples(X, targets, weights, scores, dtype), self._score_outputs)

    def _theta(self) -> Array:
        """Return the parameters as a vector, in single precision only if all of them are."""
        theta = self._layers.pack(self.coefs_, self.intercepts_, self.slopes_)
        return theta if theta.dtype == np.float32 else theta.astype(np.float64, copy=False)

    def _forward(self, X: Any, finish: Callable[[Array], np.ndarray]) -> np.ndarray:
        """Check X; return a function of the outputs (n_rows, n_outputs), by blocks of rows."""
        check_is_fitted(self, "coefs_")
        X = features(self, X, reset=False, **FORM)
        theta = self._theta()
        if X.dtype != np.float32:
            theta = theta.astype(np.float64, copy=False)
        objective = Objective(LOSSES[self.loss], 0.0, 0.0, 1.0)
        network = FeedForward(self._layers, objective)

        def result(rows: Any) -> np.ndarray:
            outputs = network.outputs(theta, _as_rows(rows, theta.dtype))
            if not np.isfinite(outputs).all():
                raise FloatingPointError(
                    "The network's output is not a number: X times weights overflow. Rescale the "
                    "features of X, or call fit again if coefs_ were changed."
                )
            return finish(outputs)

        X = X.tocsr() if hasattr(X, "tocsr") else X
        with blas_of_worker():
            return in_blocks(result, X, width=max(X.shape[1], self.n_outputs_))

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: sparse X is accepted."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _check_weights(weights: Array) -> None:
    check_weights(weights, LARGEST_VALUE[weights.itemsize])


def _samples(X: Any, targets: Array, weights: Array, scores: Array | None, dtype: Any) -> Samples:
    """Return checked rows in the format and precision that the kernels need."""
    _check_weights(weights)
    return Samples(
        _as_rows(X, dtype), kernel_array(targets, dtype), kernel_array(weights, dtype), scores
    )


def _as_rows(X: Any, dtype: Any) -> Any:
    """Return X in the format and precision that the kernels need, copied only if necessary."""
    if not hasattr(X, "tocsr"):
        return kernel_array(X, dtype)
    csr = X.tocsr()
    index = np.int32 if max(csr.nnz, *csr.shape) < 2**31 else np.int64
    parts = (
        kernel_array(csr.data, dtype),
        kernel_array(csr.indices, index),
        kernel_array(csr.indptr, index),
    )
    rows = type(csr)(parts, shape=csr.shape, copy=False)
    try:
        rows.check_format(full_check=True)  # the kernels check no column index
    except ValueError as error:
        raise ValueError(f"X is not a valid sparse matrix: {error}.") from error
    return rows
