"""What an E-step engine is: settings that plan, and a plan that is run many times."""

import dataclasses
from typing import Any, ClassVar, Protocol

from fastem.expectations import Statistics
from fastem.parameters import Array, Parameters, Shape
from fastem.rows import ClassSortedRows


class EngineSettings:
    """The settings of an engine as scikit-learn knows parameters: ``e_step__tol`` and the like.

    Engines are frozen dataclasses of their settings.
    """

    is_exact: ClassVar[bool] = True

    def seeded(self, random_state: Any) -> "EngineSettings":
        """Return the engine as it runs under a ``random_state``: exact ones draw nothing."""
        return self

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def set_params(self, **settings: Any) -> "EngineSettings":
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
            object.__setattr__(self, name, value)
        return self


class Plan(Protocol):
    """An E-step prepared for given rows: memory allocated, pieces cut."""

    def take(self, rows: ClassSortedRows) -> None:
        """Go over to other rows, as many as it was planned for or fewer, in the same memory."""

    def rewind(self, n_done: int) -> None:
        """Go on as if so many E-steps had been done; only plans that draw number theirs."""

    def expect(self, parameters: Parameters) -> Statistics:
        """Run the E-step under the given parameters."""


class Engine(Protocol):
    """An algorithm for the E-step, with its settings."""

    name: str
    has_table: bool
    """Whether its statistics hold counts of configurations, for M-steps of the output layer."""
    is_exact: bool
    """Whether equal parameters give equal expectations, without error of sampling."""

    def seeded(self, random_state: Any) -> "Engine":
        """Return the engine as it runs under a ``random_state``: with a seed, if it draws."""

    def seconds(self, shape: Shape, n_samples: int) -> float:
        """Return about what an E-step takes on one thread; infinity where it does not apply."""

    def bytes_needed(self, shape: Shape, n_samples: int, n_threads: int = 1) -> int:
        """Return the peak memory of a plan, in bytes."""

    def bytes_to_predict(self, shape: Shape, n_samples: int, n_threads: int = 1) -> int:
        """Return the peak memory of `log_marginal`, in bytes."""

    def plan(self, rows: ClassSortedRows, shape: Shape, n_threads: int) -> Plan:
        """Prepare E-steps on the given rows."""

    def log_marginal(
        self, inputs: Array, parameters: Parameters, shape: Shape, n_threads: int
    ) -> Array:
        """Return ``log p(y = k | x)`` (n_samples, n_classes), in nats."""
