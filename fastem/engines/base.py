"""What an E-step engine is: settings from which a plan is made, and a plan that runs many times.

The protocol is open. An engine of your own is a subclass of `Engine` with two methods, `plan` and
`log_marginal`; it can be passed to ``FastEMClassifier(e_step=...)`` and to
``fastem.e_step(..., method=...)``.
"""

import copy
import inspect
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol, Self

from fastem.expectations import Statistics
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import ClassSortedRows


class Plan(Protocol):
    """An E-step prepared for given rows: its memory is allocated and its work is cut."""

    def rebind(self, rows: ClassSortedRows) -> None:
        """Rebind the plan to new rows, at most as many as it was made for, in the same memory."""

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
            Rows are in the order of the plan's rows. Arrays may be overwritten by the next call.

        Raises
        ------
        FloatingPointError
            If inputs times weights overflow, or if a tolerance cannot be reached.
        """


class Engine(ABC):
    """An algorithm for the E-step, with its settings.

    Attributes
    ----------
    name : str
        Used in messages.
    statistics : {"counts", "means", "estimates"}
        What its statistics say about the last hidden layer, from which the M-step of the output
        layer selects its step. "counts": expected weights of every class in every configuration,
        and the table P(y|z). "means": exact posterior means of the units, without counts.
        "estimates": posterior means with a sampling error.

    Notes
    -----
    A subclass defines `plan` and `log_marginal`. The other methods have defaults: no setting, no
    random numbers, unknown cost and memory. The settings of an engine are its constructor's
    parameters, kept under the same names, as in scikit-learn: so an engine can be cloned, searched
    (``e_step__tol``) and pickled. Settings can be changed, therefore engines are not hashable.

    Examples
    --------
    An engine that counts how often it is used and leaves the work to enumeration:

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
    def plan(self, rows: ClassSortedRows, shape: Shape, n_threads: int) -> Plan:
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
        """

    def seeded(self, random_state: Any) -> "Engine":
        """Return the engine as it runs under a ``random_state``: with a seed, if it draws."""
        return self

    def seconds(self, shape: Shape, n_samples: int) -> float:
        """Estimate the time of an E-step on one thread; infinity if it does not apply."""
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

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **settings: Any) -> Self:
        """Change settings; return the engine.

        Raises
        ------
        ValueError
            If there is no such setting.
        """
        known = self.get_params()
        for name, value in settings.items():
            if name not in known:
                raise ValueError(
                    f"{type(self).__name__} has no setting {name!r}; it has {sorted(known)}."
                )
            setattr(self, name, value)
        return self
