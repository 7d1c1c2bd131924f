"""What a fit needs of a place where the rows are divided into parts."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

Function = Callable[..., Any]


class PreparedParts(Protocol):
    """Prepared parts, which stay where they are."""

    def map(self, stage: str, function: Function, *arguments: Any) -> list[Any]:
        """Return ``function(part, *arguments)`` of every part, in the order of the parts."""


class DividedRows(Protocol):
    """Rows in parts.

    A function that runs on a part is at the top level of a module, so that a reference to it can be
    sent to another process. Arguments and results are small.

    Attributes
    ----------
    n_threads : int
        Number of parts that can be worked on at the same time.
    memory : float
        Bytes that the work on one part may use; infinity if unknown.
    """

    n_threads: int
    memory: float

    def map(self, stage: str, function: Function, *arguments: Any) -> list[Any]:
        """Return ``function(X, y, sample_weight, *arguments)`` of every part, in their order."""

    def prepare(
        self, stage: str, function: Function, *arguments: Any, n_bytes: Sequence[int]
    ) -> PreparedParts:
        """Keep ``function(X, y, sample_weight, *arguments)`` of every part where its rows are.

        ``n_bytes`` is the memory of every result. A result may vanish at any time: it is computed
        again then.
        """
