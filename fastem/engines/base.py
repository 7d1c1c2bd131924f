"""The interface of E-step engines: an engine has settings and makes plans; a plan runs many times.

The interface is public. A subclass of `Engine` with two methods, `plan` and `log_marginal`, can be
passed to ``FastEMClassifier(e_step=...)``, to ``FastEMRegressor(e_step=...)`` and to
``fastem.e_step(..., method=...)``.
"""

import copy
from abc import ABC, abstractmethod
from typing import ClassVar, Protocol, Self

import numpy as np

from fastem.expectations import Statistics
from fastem.families import Gaussian
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import TrainingRows
from fastem.runtime import HasSettings

RandomState = int | np.random.RandomState | None
"""Seed or generator, in scikit-learn's sense."""


KINDS_OF_STATISTICS = "counts", "means", "estimates"


class Plan(Protocol):
    """An E-step prepared for given rows: its memory is allocated and its work is cut into pieces.

    It need not be a subclass of this protocol; it needs both methods.
    """

    def rebind(self, rows: TrainingRows) -> None:
        """Rebind the plan to new rows, at most as many as it was made for, in the same memory.

        Only mini-batches need it: ``solver="adam"`` and `FastEMClassifier.partial_fit`.
        """

    def expect(self, parameters: Parameters, draw: int = 0) -> Statistics:
        """Run the E-step under the given parameters.

        Parameters
        ----------
        parameters : Parameters
        draw : int
            Number of the random draw: equal numbers give equal samples. Exact engines ignore it.

        Returns
        -------
        statistics : Statistics
            Arrays are float64, and rows are in the order of the plan's rows. Arrays may be
            overwritten by the next call. `Engine.statistics` determines which of them are None.

        Raises
        ------
        FloatingPointError
            If inputs times weights overflow, or if a tolerance cannot be reached.
        """


class Engine(HasSettings, ABC):
    """An algorithm for the E-step, with its settings.

    Attributes
    ----------
    name : str
        Used in messages.
    statistics : {"counts", "means", "estimates"}, default="means"
        Kind of the `Statistics` that its plans return. The M-step of the output layer depends on
        it.

        - "counts": ``counts`` holds expected weights of the configurations of the last hidden
          layer: for classes one array per class, for other families one array that is the sum over
          all rows. ``output_table`` holds P(y|z) of every class; it is None for other families.
          Every hidden layer has ``inputs`` and ``probability``.
        - "means": exact posterior means of the units. ``counts`` and ``output_table`` are None.
          Hidden layers after the first have ``input_posterior`` in place of ``inputs`` and
          ``probability``, which are None. EM needs a family with a ``curvature_bound`` then, unless
          ``m_step="gradient"``.
        - "estimates": the same as "means", with a sampling error. The solver "lbfgs" refuses
          such engines, and EM takes decreasing steps. ``effective_sample_size`` may be given.

        All kinds need ``log_likelihood``, the gradients, the posterior and the weights of every
        hidden layer, and ``inputs`` and ``probability`` of the first one. If the family has a noise
        variance, all kinds need ``squared_residuals`` too.

    Notes
    -----
    A subclass must define `plan` and `log_marginal`. By default an engine draws no random numbers,
    and its cost and memory are estimated as zero. The settings of an engine are the parameters of
    its constructor, stored under the same names, as scikit-learn requires. Engines can therefore
    be cloned, pickled, and tuned by a grid search (``e_step__tol``). Settings can be changed, so
    engines are not hashable. `FastEMClassifier.save` supports only the engines of this package.

    Examples
    --------
    An engine that counts its plans and delegates the work to enumeration. A fit makes one plan; the
    copy of the engine that it uses is ``model.e_step_``:

    >>> from dataclasses import dataclass
    >>> import fastem
    >>> @dataclass
    ... class Counted(fastem.Engine):
    ...     name = "counted"
    ...     statistics = "counts"
    ...     n_plans: int = 0
    ...
    ...     def plan(self, rows, shape, n_threads):
    ...         self.n_plans += 1
    ...         return fastem.Enumeration().plan(rows, shape, n_threads)
    ...
    ...     def log_marginal(self, inputs, parameters, shape, n_threads):
    ...         return fastem.Enumeration().log_marginal(inputs, parameters, shape, n_threads)
    >>> model = fastem.FastEMClassifier((2,), e_step=Counted())
    """

    name: ClassVar[str] = "engine"
    statistics: ClassVar[str] = "means"
    __hash__ = None  # type: ignore[assignment]

    @property
    def is_exact(self) -> bool:
        """Whether equal parameters give equal expectations, without sampling error."""
        return self.statistics != "estimates"

    @abstractmethod
    def plan(self, rows: TrainingRows, shape: Shape, n_threads: int) -> Plan:
        """Prepare E-steps on the given rows.

        Raises
        ------
        ValueError
            If the engine cannot serve this problem, or if it does not fit into memory; before
            anything large is allocated.
        """

    @abstractmethod
    def log_marginal(
        self, inputs: Array, parameters: Parameters, shape: Shape, n_threads: int
    ) -> Array:
        """Return ``log p(y = k | x)`` of every row and class.

        `FastEMClassifier` calls it to predict. With several labels it calls it once per label, for
        a network of two classes. If the outputs are not classes, the engines of this package raise
        ValueError.

        Parameters
        ----------
        inputs : array (n_samples, n_inputs)
            Rows, with a column of ones last if the network has intercepts.
        parameters : Parameters
        shape : Shape
        n_threads : int

        Returns
        -------
        log_marginal : array (n_samples, n_classes), nats
            Without NaN.
        """

    def seeded(self, random_state: RandomState, earlier: "Engine | None" = None) -> "Engine":
        """Return the engine with a seed. The default is for engines without random numbers.

        Parameters
        ----------
        random_state : int, RandomState or None
            That of the estimator or of `fastem.e_step`.
        earlier : Engine or None
            The seeded engine of the fit that is resumed, if any. Its seed should be kept.

        Returns
        -------
        engine : Engine
            The default returns the engine itself.
        """
        return self

    def warn_if_noisy(self, effective_sample_size: float) -> None:
        """Warn if estimates with this median effective sample size are noisy.

        Called at the end of a fit and of `fastem.e_step`, if the statistics hold effective sample
        sizes. The default does not warn.
        """

    def seconds(self, shape: Shape, n_samples: int) -> float:
        """Estimate the time of an E-step on one thread, in seconds.

        Infinity if the engine cannot serve the problem.
        """
        return 0.0

    def bytes_needed(self, shape: Shape, n_samples: int, n_threads: int = 1) -> int:
        """Return the peak memory of a plan, in bytes."""
        return 0

    def bytes_to_predict(self, shape: Shape, n_samples: int, n_threads: int = 1) -> int:
        """Return the peak memory of `log_marginal`, in bytes."""
        return 0

    def copy(self) -> Self:
        """Return a copy: later changes of the settings do not reach it."""
        return copy.copy(self)


def check_depth(shape: Shape) -> None:
    """Check that an exact engine can serve the depth of a network.

    Raises
    ------
    ValueError
        If a network with several hidden layers has outputs other than classes.
    """
    if shape.depth > 1 and not shape.has_classes:
        raise ValueError(
            f"An exact E-step for family={shape.family.name!r} needs one hidden layer, got "
            f"hidden_layer_sizes={shape.hidden_layer_sizes}: the layers above the first would need "
            "a table for every distinct y. Use one layer, or fastem.Sampling(), which estimates."
        )


def check_classes(shape: Shape) -> None:
    """Check that the outputs are classes: `Engine.log_marginal` returns one column per class.

    Raises
    ------
    ValueError
        If the family is not `Categorical`.
    """
    if not shape.has_classes:
        raise ValueError(
            f"log_marginal needs classes, got family={shape.family!r}: its outputs have no list of "
            "values. The log-density of given outputs is the log_likelihood that "
            "plan(...).expect(...) returns."
        )


def quadrature_serves(shape: Shape) -> bool:
    """Return whether an integral over a line or a plane gives the E-step of a network.

    This is the case for one hidden layer with two or three classes, or with one Gaussian output.
    """
    if shape.has_classes:
        return shape.depth == 1 and shape.n_outputs in (2, 3)
    return shape.depth == 1 and shape.n_outputs == 1 and type(shape.family) is Gaussian
