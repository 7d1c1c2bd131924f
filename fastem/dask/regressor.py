"""DaskEMRegressor: the regressor on the partitions of Dask collections."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from distributed import Client
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin

from fastem.dask.base import BaseDaskEM
from fastem.dask.collections import features_of_model
from fastem.dask.predictions import apply_to_rows
from fastem.engines import Engine
from fastem.estimators import FastEMRegressor
from fastem.families import Family


class DaskEMRegressor(RegressorMixin, BaseDaskEM):
    """`fastem.FastEMRegressor` on Dask collections, trained by exact EM on a cluster.

    The network, the objective and the parameters are those of `fastem.FastEMRegressor`. Those that
    need all rows at once are different or absent: see below.

    Parameters
    ----------
    hidden_layer_sizes, alpha
        As for `fastem.FastEMRegressor`. With more than 5000 rows, penalty and number of units are
        compared on one split of all partitions.
    e_step
        As for `fastem.FastEMRegressor`. E-steps must be exact.
    family, variance_floor, accelerate, fit_intercept, standardize
        As for `fastem.FastEMRegressor`.
    learning_rate_init, batch_size, max_iter, tol, n_init
        As for `fastem.FastEMRegressor`.
    coefs_init, intercepts_init, warm_start, random_state, verbose
        As for `fastem.FastEMRegressor`.
    m_step, solver
        As for `DaskEMClassifier`.
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
    family_, coefs_, intercepts_, feature_deviation_, variance_, variance_floor_
        As for `fastem.FastEMRegressor`.
    alpha_, alpha_path_, solver_, e_step_, starts_
        As for `fastem.FastEMRegressor`.
    n_iter_, converged_, loss_, loss_curve_, data_loss_curve_, loss_curve_seconds_
        As for `fastem.FastEMRegressor`.
    n_layers_, n_features_in_, feature_names_in_
        As for `fastem.FastEMRegressor`.
    """

    _local_class = FastEMRegressor

    if TYPE_CHECKING:

        def to_local(self) -> FastEMRegressor:
            """Return the fitted estimator for one machine."""

    def __init__(
        self,
        hidden_layer_sizes: tuple[int, ...] | int | str = (10,),
        *,
        family: str | Family = "gaussian",
        e_step: str | Engine = "auto",
        m_step: str = "auto",
        solver: str = "auto",
        accelerate: bool = True,
        alpha: float | str = "auto",
        variance_floor: float | str = "auto",
        fit_intercept: bool = True,
        standardize: bool = True,
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
        self.family = family
        self.e_step = e_step
        self.m_step = m_step
        self.solver = solver
        self.accelerate = accelerate
        self.alpha = alpha
        self.variance_floor = variance_floor
        self.fit_intercept = fit_intercept
        self.standardize = standardize
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

    def partial_fit(self, X: Any, y: Any, *, sample_weight: Any = None) -> Self:
        """Process every partition once, in mini-batches; only with ``solver="adam"``.

        See `DaskEMClassifier.partial_fit`. The rows of the first partition of the first call define
        the standardisation of X and y. They should be typical.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Returns
        -------
        self : DaskEMRegressor

        Raises
        ------
        AttributeError, ValueError, DivergenceError, PartitionError, TimeoutError
            As in `DaskEMClassifier.partial_fit`.
        """
        return self._partial_fit(X, y, sample_weight)

    def predict(self, X: Any) -> Any:
        """Return E[y | x], as `fastem.FastEMRegressor.predict`.

        Parameters
        ----------
        X : dask Array (n_samples, n_features) or dask DataFrame

        Returns
        -------
        mean : dask Array, Series or DataFrame (n_samples,) or (n_samples, n_outputs)
            Lazy, in the partitions of X.
        """
        model = self.to_local()
        X = features_of_model(X, model)
        n_outputs = len(model.intercepts_[-1])
        columns = None if n_outputs == 1 else list(range(n_outputs))
        return apply_to_rows(model.predict, X, columns=columns, name="predict")
