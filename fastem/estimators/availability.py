"""Methods that an estimator has under some settings only."""

from collections.abc import Callable
from typing import Any, TypeVar

from sklearn.utils.metaestimators import available_if

Method = TypeVar("Method", bound=Callable[..., Any])


def available(check: Callable[[Any], bool]) -> Callable[[Method], Method]:
    """Return scikit-learn's decorator ``available_if(check)``; it keeps the type of the method."""
    decorator: Callable[[Method], Method] = available_if(check)
    return decorator
