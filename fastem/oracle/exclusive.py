"""Methods of an instance that threads run one after the other."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

Method = TypeVar("Method", bound=Callable[..., Any])


def exclusive(method: Method) -> Method:
    """Let one thread at a time run the marked methods of an instance: they share its memory.

    The instance holds the re-entrant lock ``_lock``.
    """

    @functools.wraps(method)
    def run(self: Any, *args: Any, **settings: Any) -> Any:
        with self._lock:
            return method(self, *args, **settings)

    return cast(Method, run)
