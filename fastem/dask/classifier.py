"""DaskEMClassifier: the classifier on the partitions of Dask collections."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from distributed import Client
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin

from fastem.dask.base import BaseDaskEM
from fastem.dask.collections import features_of_model
from fastem.dask.predictions import apply_to_rows
from fastem.engines import Engine
from fastem.estimators import FastEMClassifier


class DaskEMClassifier(ClassifierMixin, BaseDaskEM):
    """`fastem.FastEMClassifier` on Dask collections, trained by exact EM on a cluster.

    The network, the objective and the parameters are those of `fastem.FastEMClassifier`. Those that
    need all rows at once are different or absent: see below.

    Parameters
    ----------
    hidden_layer_sizes, alpha
        As for `fastem.FastEMClassifier`. With more than 5000 rows, penalty and number of units are
        compared on one split of all partitions.
    e_step
        As for `fastem.FastEMClassifier`. E-steps must be exact.
    accelerate, fit_intercept, standardize, class_weight, prediction
        As for `fastem.FastEMClassifier`.
    learning_rate_init, batch_size, max_iter, tol, n_init
        As for `fastem.FastEMClassifier`.
    coefs_init, intercepts_init, warm_start, random_state, verbose
        As for `fastem.FastEMClassifier`.
    m_step : {"auto", "bound", "gradient"}, default="auto"
        As for `fastem.FastEMClassifier`, without Newton's, which needs several rounds in an
        iteration. "auto" is the bound.
    solver : {"auto", "em", "lbfgs", "adam"}, default="auto"
        As for `fastem.FastEMClassifier`. "auto" is EM, or L-BFGS with thousands of features.
        "adam" is for `partial_fit` only.
    client : distributed.Client, optional
        The client of the cluster; by default the current one.
    timeout : float, default=300.0
        Seconds without a finished partition after which workers that do not answer are removed. If
        all answer, `fit` raises TimeoutError.
    checkpoint : path-like, optional
        File to which `fit` writes the current iterate from time to time. It is a model file. With
        ``warm_start=True``, `fit` of a new estimator continues there: to the bit as if it had not
        been stopped, except for L-BFGS, whose memory is not kept.
    checkpoint_seconds : float, default=60.0
        Time between two checkpoints.

    Attributes
    ----------
    classes_, family_, coefs_, intercepts_, feature_deviation_
        As for `fastem.FastEMClassifier`.
    alpha_, alpha_path_, size_path_, solver_, e_step_, starts_
        As for `fastem.FastEMClassifier`.
    n_iter_, converged_, loss_, loss_curve_, data_loss_curve_, loss_curve_seconds_
        As for `fastem.FastEMClassifier`.
    n_layers_, n_features_in_, feature_names_in_
        As for `fastem.FastEMClassifier`.

    Examples
    --------
    >>> import dask.array as da
    >>> from distributed import Client, LocalCluster
    >>> from fastem.dask import DaskEMClassifier
    >>> cluster = LocalCluster(n_workers=2, threads_per_worker=1)  # doctest: +SKIP
    >>> client = Client(cluster)  # doctest: +SKIP
    >>> X = da.random.default_rng(0).standard_normal((100_000, 5), chunks=(25_000, 5))
    >>> y = (X[:, 0] * X[:, 1] > 0).astype(int)
    >>> model = DaskEMClassifier((8,), random_state=0).fit(X, y)  # doctest: +SKIP
    >>> probability = model.predict_proba(X)  # a lazy Dask array  # doctest: +SKIP
    """

    _local_class = FastEMClassifier

    if TYPE_CHECKING:

        def to_local(self) -> FastEMClassifier:
            """Return the fitted estimator for one machine."""

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
        n_init: int = 1,
        coefs_init: Sequence[ArrayLike] | None = None,
        intercepts_init: Sequence[ArrayLike] | None = None,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        client: Client | None = None,
        timeout: float = 300.0,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_seconds: float = 60.0,
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
        self.n_init = n_init
        self.coefs_init = coefs_init
        self.intercepts_init = intercepts_init
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.client = client
        self.timeout = timeout
        self.checkpoint = checkpoint
        self.checkpoint_seconds = checkpoint_seconds

    def partial_fit(
        self, X: Any, y: Any, *, classes: ArrayLike | None = None, sample_weight: Any = None
    ) -> Self:
        """Process every partition once, in mini-batches; only with ``solver="adam"``.

        Every partition is passed to `fastem.FastEMClassifier.partial_fit`, in the order of the
        partitions and one at a time. Only one partition needs to be in the memory of the cluster.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        classes : array-like (n_classes,), optional
            All labels that any call will contain. Required in the first call.

        Returns
        -------
        self : DaskEMClassifier

        Raises
        ------
        AttributeError, ValueError, DivergenceError
            As in `fastem.FastEMClassifier.partial_fit`.
        PartitionError, TimeoutError
            As in `fit`.
        """
        return self._partial_fit(X, y, sample_weight, classes=classes)

    def predict(self, X: Any) -> Any:
        """Return the most probable label of every row; for multilabel, of every label by itself.

        Parameters
        ----------
        X : dask Array (n_samples, n_features) or dask DataFrame

        Returns
        -------
        labels : dask Array, Series or DataFrame (n_samples,) or (n_samples, n_labels)
            Lazy, in the partitions of X.
        """
        model = self.to_local()
        X = features_of_model(X, model)
        if not model._has_labels():
            return apply_to_rows(model.predict, X, labels=model.classes_, name="predict")
        columns = model.classes_.tolist()
        return apply_to_rows(model.predict, X, columns=columns, dtype=np.int64, name="predict")

    def predict_proba(self, X: Any) -> Any:
        """Return P(y = k | x) of every class, as `fastem.FastEMClassifier.predict_proba`.

        Parameters
        ----------
        X : dask Array (n_samples, n_features) or dask DataFrame

        Returns
        -------
        probability : dask Array or DataFrame (n_samples, n_classes)
            Lazy, in the partitions of X. Columns of a DataFrame are the labels.
        """
        return self._by_class("predict_proba", X)

    def predict_log_proba(self, X: Any) -> Any:
        """Return log P(y = k | x) in nats, as `fastem.FastEMClassifier.predict_log_proba`.

        Parameters and result are those of `predict_proba`.
        """
        return self._by_class("predict_log_proba", X)

    def _by_class(self, method: str, X: Any) -> Any:
        model = self.to_local()
        X = features_of_model(X, model)
        columns = model.classes_.tolist()
        return apply_to_rows(getattr(model, method), X, columns=columns, name=method)
