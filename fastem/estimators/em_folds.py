"""A network on the training rows of a fold, followed along a path of penalties."""

import copy
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from fastem.engines import Engine, Enumeration
from fastem.estimators.ascent import Problem
from fastem.estimators.base_training import BaseTraining
from fastem.estimators.choices import with_values
from fastem.estimators.em_epochs import training_for
from fastem.estimators.inference import FittedNetwork
from fastem.oracle import row_gradients
from fastem.parameters import Array, Parameters
from fastem.selection import LeaveOneOut, leave_one_out


class BaseFold:
    """A network on the training rows of a split, followed along a path of penalties.

    Parameters
    ----------
    training : BaseTraining
        On the training rows.
    settings : BaseFastEM
    """

    def __init__(self, training: BaseTraining, settings: Any) -> None:
        self._training = training
        self._random_state = check_random_state(copy.deepcopy(settings.random_state))
        self._by_epochs = settings.solver == "adam"
        self._base: Array | None = None
        self._solutions: dict[float, tuple[Array, float]] = {}

    def solve(self, alpha: float) -> Array:
        """Return the parameters under a penalty, on standardised features.

        EM begins at the solution under the penalty that is closest. Runs by mini-batches all begin
        at the parameters of one longer run, because later ones would gain from further epochs.
        """
        is_first = self._base is None
        if is_first:
            found = self._begun(alpha)
            self._base = found[0]
        if not is_first or self._by_epochs:
            theta = self._base if self._by_epochs else self._closest(alpha)
            found = self._training.follow(theta, alpha, self._random_state)
        self._solutions[alpha] = found
        return found[0]

    def _begun(self, alpha: float) -> tuple[Array, float]:
        """Return the parameters of a run from random starting values."""
        training, random_state = self._training, self._random_state
        theta = training.start(random_state)
        training.model.set_penalty(alpha)
        theta = training.settled(theta, random_state)
        return training.follow(theta, alpha, random_state, begins=True)

    def _closest(self, alpha: float) -> Array:
        """Return the solution under the closest penalty, on a logarithmic scale."""
        last = min(self._solutions, key=lambda other: abs(np.log(other / alpha)))
        return self._solutions[last][0]

    def log_density(self, alpha: float) -> Array:
        """Return the log-density of every held-out row under a penalty, in nats."""
        raise NotImplementedError

    def parameters(self, alpha: float) -> Parameters:
        """Return the parameters found under a penalty, in the units of X and y."""
        return self._training.folded(self._solutions[alpha][0])

    def training_score(self, alpha: float) -> float:
        """Return the mean log-likelihood of the training rows, in nats."""
        _, log_likelihood = self._solutions[alpha]
        return -self._training.loss(log_likelihood)


class Fold(BaseFold):
    """A fold of rows in this process.

    Parameters
    ----------
    settings : BaseFastEM
    trained, held : Problem
    engine : Engine
        The engine that predicts.
    """

    def __init__(self, settings: Any, trained: Problem, held: Problem, engine: Engine) -> None:
        super().__init__(training_for(with_values(settings, alpha=1.0), trained), settings)
        self._held, self._engine, self._n_jobs = held, engine, settings.n_jobs

    def log_density(self, alpha: float) -> Array:
        """Return the log-density of every held-out row under a penalty, in nats."""
        self.solve(alpha)
        held, parameters = self._held, self.parameters(alpha)
        coefs, intercepts = held.shape.to_lists(parameters)
        network = FittedNetwork(
            coefs, intercepts, self._engine, self._n_jobs, held.shape.family, parameters.variance
        )
        return network.log_density(held.X, held.targets)

    def leave_one_out(self, alpha: float, unit: float) -> LeaveOneOut:
        """Return approximate leave-one-out scores of the training rows under a penalty.

        ``unit`` is the weight of one row.
        """
        theta, training = self.solve(alpha), self._training
        rows, shape = training.rows, training.shape
        gradients = row_gradients(Enumeration(), rows, shape, shape.unpack(theta), 1)
        _, statistics = training.model.expect(theta)
        penalty = alpha / unit * shape.penalty_weights()
        return leave_one_out(gradients, statistics.log_likelihood, rows.weights / unit, penalty)
