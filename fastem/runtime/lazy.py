"""Properties that are computed at their first use."""

from collections.abc import Callable
from typing import Any


class lazy_property:  # noqa: N801  a decorator, named like `property`
    """Property that is computed at its first use and kept in the instance.

    `functools.cached_property` does the same under a lock in Python 3.11. All instances share the
    lock: threads wait for each other, and a child that is forked while another thread holds the
    lock waits for ever.
    """

    def __init__(self, compute: Callable[[Any], Any]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Return the value; later uses find it in the instance."""
        if instance is None:
            return self
        value = vars(instance)[self._name] = self._compute(instance)
        return value
