"""Undo the changes of a failed fit in an estimator."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def unchanged_on_failure(estimator: Any) -> Iterator[None]:
    """Restore the attributes of an estimator if the body raises, Ctrl-C included.

    Attributes are restored by reference: the body must replace the objects of an earlier fit
    and must not modify them. The attributes of scikit-learn's callbacks are kept, because
    scikit-learn removes them itself.

    Parameters
    ----------
    estimator : estimator
    """
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        now = vars(estimator)
        of_callbacks = {name: value for name, value in now.items() if "callback" in name}
        now.clear()
        now.update({**before, **of_callbacks})
        raise
