"""BaseDaskEM: what both estimators on Dask collections share."""

import os
from functools import partial
from typing import Any, Self

from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from fastem.dask.collections import features_of_model, partitioned
from fastem.dask.divided import DaskRows
from fastem.dask.predictions import apply_to_rows, sum_over_partitions
from fastem.dask.rounds import Rounds
from fastem.estimators import (
    Checkpoints,
    continue_from,
    fit_parts,
    log_likelihood_of_part,
    partial_fit_part,
)


class BaseDaskEM(BaseEstimator):
    """Estimator whose rows are in the partitions of Dask collections.

    Subclasses define the constructor and `_local_class`. Fitted attributes are those of that class.
    """

    _local_class: type

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the network by maximum penalised marginal likelihood on all partitions.

        Every iteration is one round: the parameters go to the workers, and sums over the rows of
        every partition come back. They are added up in the order of the partitions. Results
        therefore do not depend on the number of workers, on which worker has which partition, or on
        whether a worker was lost, to the bit.

        Parameters
        ----------
        X : dask Array (n_samples, n_features) or dask DataFrame
            Numbers. Partitions may be empty, of different lengths and of unknown lengths.
        y : dask Array, Series or DataFrame (n_samples,) or (n_samples, n_outputs)
            As in `fit` of the estimator for one machine, in partitions like those of X.
        sample_weight : dask Array or Series (n_samples,), optional
            Nonnegative.

        Returns
        -------
        self : estimator

        Raises
        ------
        TypeError, ValueError
            If X, y or the weights are not Dask collections with the same partitions, a parameter or
            a value is out of range, or a partition does not fit into the memory of a worker.
        DivergenceError
            If no start has a finite objective.
        PartitionError
            If a partition cannot be read, or workers die repeatedly while they work on it.
        TimeoutError
            If no partition is finished for `timeout` seconds.
        ConnectionError
            If the scheduler is lost.
        OSError
            If the checkpoint cannot be written or read.
        KeyboardInterrupt
            If Ctrl-C is pressed before the first iteration has ended.

        Warns
        -----
        ConvergenceWarning
            If the best start did not converge, or Ctrl-C was pressed; the best parameters so far
            are kept.

        Notes
        -----
        A call that raises an error leaves the estimator as it was. The partitions are read two to
        four times before the first iteration: to summarise them, for choices that need few rows,
        and to prepare them. Prepared partitions stay on the workers up to 60 % of the memory
        limits. The others are read again in every iteration.
        """
        data, rounds = partitioned(X, y, sample_weight), self._rounds()
        model, checkpoints = self._local(), None
        if self.checkpoint is not None:
            checkpoints = self._checkpoints(model)
        rows = DaskRows(rounds, data)
        try:
            fit_parts(model, rows, (X, y, sample_weight), checkpoints)
        finally:
            rows.release()
        self._take(model)
        return self

    def _checkpoints(self, model: Any) -> Checkpoints:
        """Return the writer of checkpoints; a warm start of a new estimator begins at the last."""
        if self.n_init != 1:
            raise ValueError(
                f"checkpoint={self.checkpoint!r} needs n_init=1, got n_init={self.n_init!r}: a "
                "checkpoint holds one start."
            )
        checkpoints = Checkpoints(self.checkpoint, self.checkpoint_seconds, model)
        if self.warm_start and not hasattr(model, "coefs_") and os.path.exists(self.checkpoint):
            continue_from(model, self.checkpoint)
        return checkpoints

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, **classes: Any) -> Self:
        """Process the partitions one after the other, in mini-batches."""
        model = self._local()
        _ = model.partial_fit  # raises AttributeError if the solver has no mini-batches
        data, rounds = partitioned(X, y, sample_weight), self._rounds()
        for part in data.parts:
            (model,) = rounds.run("fastem-partial-fit", partial_fit_part, [part], model, classes)
        self._take(model)
        return self

    def to_local(self) -> Any:
        """Return the fitted estimator for one machine.

        Raises
        ------
        NotFittedError
            If `fit` has not been called.
        """
        check_is_fitted(self, "coefs_")
        return self._local()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model to a file, in the form of the estimator for one machine.

        Parameters and errors are those of `fastem.FastEMClassifier.save`.
        """
        self.to_local().save(path)

    def transform(self, X: Any) -> Any:
        """Return P(Z_h = 1 | x), the prior probability of the units of the first hidden layer.

        Parameters
        ----------
        X : dask Array (n_samples, n_features) or dask DataFrame

        Returns
        -------
        probability : dask Array or dask DataFrame (n_samples, n_hidden)
            Lazy, in the partitions of X.
        """
        model = self.to_local()
        X = features_of_model(X, model)
        names = model.get_feature_names_out().tolist()
        return apply_to_rows(model.transform, X, columns=names, name="transform")

    def log_likelihood(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Return the total marginal log-likelihood ``sum_i w_i log p(y_i | x_i)``.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Returns
        -------
        log_likelihood : dask Array (), nats
            Lazy. Without penalty and without class weights.
        """
        model = self.to_local()
        data = partitioned(features_of_model(X, model), y, sample_weight)
        of_part = partial(log_likelihood_of_part, model=model)
        return sum_over_partitions(of_part, data.parts, name="log_likelihood")

    def _rounds(self) -> Rounds:
        return Rounds(self.client, timeout=self.timeout)

    def _local(self) -> Any:
        """Return the estimator for one machine, with the fitted attributes of this one."""
        names = self._local_class._get_param_names()
        parameters = self.get_params(deep=False)
        model = self._local_class(**{k: v for k, v in parameters.items() if k in names})
        vars(model).update({k: v for k, v in vars(self).items() if k not in parameters})
        return model

    def _take(self, model: Any) -> None:
        """Replace the fitted attributes by those of a model for one machine."""
        parameters = self.get_params(deep=False)
        for name in [name for name in vars(self) if name not in parameters]:
            delattr(self, name)
        own = model.get_params(deep=False)
        vars(self).update({k: v for k, v in vars(model).items() if k not in own})

    def __sklearn_clone__(self) -> Self:
        return type(self)(**self.get_params(deep=False))  # a client cannot be copied

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "client": None}
