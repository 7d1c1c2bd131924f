"""Training of networks with stochastic units on all rows at once."""

from typing import Any

from fastem.estimators.ascent import Problem
from fastem.estimators.base_training import BaseTraining
from fastem.estimators.choices import learning_rate
from fastem.estimators.held_out import HeldOutRows
from fastem.estimators.standardization import Standardization
from fastem.estimators.validation import check_raw_features
from fastem.rows import largest_inputs, sort_rows
from fastem.runtime import effective_n_jobs
from fastem.solvers import BatchedNetwork, Network


class Training(BaseTraining):
    """Training on all rows at once, by EM or L-BFGS.

    Parameters
    ----------
    estimator : BaseFastEM
        Its parameters are read. It is not changed.
    problem : Problem
        Rows of weight zero are removed.
    standardization : Standardization, optional
        By default that of these rows.
    """

    def __init__(
        self,
        estimator: Any,
        problem: Problem,
        standardization: Standardization | None = None,
    ) -> None:
        shape = problem.shape
        problem = problem.of_rows(problem.weights > 0.0)
        if standardization is None:
            if not estimator.standardize:
                check_raw_features(largest_inputs(problem.X))
            standardization = Standardization.of(
                problem.X,
                problem.targets,
                problem.weights,
                shape,
                features=estimator.standardize,
            )
        problem = problem.standardized(standardization)
        typical, weight = problem.summed_targets(), problem.weights.sum()
        if shape.has_classes:
            weight = typical.sum()
        else:
            typical = typical / weight
        super().__init__(estimator, shape, problem.engine, standardization, typical, float(weight))
        self.model = self._new_model(problem)
        if problem.held_out is not None:
            self._held_out = HeldOutRows(
                problem.held_out, standardization, estimator, self._new_held_out_model
            )

    def _new_model(self, problem: Problem) -> Network | BatchedNetwork:
        """Return the model whose objective is maximised, for standardised features."""
        estimator = self._estimator
        if self._engine.is_exact:
            problem = problem.merged()
        self.rows = sort_rows(problem.X, problem.targets, problem.weights, self.shape)
        return Network(
            self.rows,
            self.shape,
            self._engine,
            estimator.m_step if estimator.solver == "em" else None,
            alpha=float(estimator.alpha),
            learning_rate=learning_rate(estimator),
            n_threads=effective_n_jobs(estimator.n_jobs),
        )

    def _new_held_out_model(self, problem: Problem) -> Network | BatchedNetwork:
        rows = sort_rows(problem.X, problem.targets, problem.weights, self.shape)
        n_threads = effective_n_jobs(self._estimator.n_jobs)
        return Network(rows, self.shape, self._engine, None, alpha=0.0, n_threads=n_threads)
