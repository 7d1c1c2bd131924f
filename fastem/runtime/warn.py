"""Warnings that point at the line of the user's code."""

import os
import re
import sys
import warnings

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
# Modules of scikit-learn that wrap the methods of an estimator.
_WRAPPERS = re.compile(
    r"[\\/]sklearn[\\/](callback[\\/].*|base\.py"
    r"|utils[\\/](metaestimators|_available_if|_set_output|_param_validation|validation)\.py)$"
)


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the first line of code outside the package.

    Frames of this package are skipped. So are frames of the modules of scikit-learn that wrap
    the methods of an estimator. The number of functions between the user's call and this one
    makes no difference.

    Parameters
    ----------
    message : str
    category : type of Warning, default=UserWarning
    """
    level, frame = 1, sys._getframe()
    while _is_skipped(frame.f_code.co_filename) and frame.f_back is not None:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _is_skipped(filename: str) -> bool:
    return filename.startswith(_PACKAGE) or _WRAPPERS.search(filename) is not None
