"""Model files whose class is not known in advance, and the preparation of columns in them."""

import os
from typing import Any

from sklearn.utils.validation import check_is_fitted

from fastem.estimators import persistence
from fastem.estimators.em_classifier import FastEMClassifier
from fastem.estimators.em_regressor import FastEMRegressor
from fastem.estimators.model_files import read_model


def save_model(
    model: FastEMClassifier | FastEMRegressor,
    path: str | os.PathLike[str],
    preparation: dict[str, Any] | None = None,
) -> None:
    """Write a fitted model, and how columns of a table become its features.

    Parameters
    ----------
    model : FastEMClassifier or FastEMRegressor
    path : path-like
        As in `FastEMClassifier.save`.
    preparation : dict of JSON values, optional
        `load_model` ignores it, and `read_preparation` returns it.

    Raises
    ------
    NotFittedError, ValueError, OSError
        As `FastEMClassifier.save`.
    """
    check_is_fitted(model)
    persistence.save(model, path, preparation)


def load_model(path: str | os.PathLike[str]) -> FastEMClassifier | FastEMRegressor:
    """Read a model that `save` has written. No code from the file is run.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    model : FastEMClassifier or FastEMRegressor
        The class that the file names. A preparation of columns in the file is ignored.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If the file is damaged or holds another kind of model.
    """
    return persistence.load((FastEMClassifier, FastEMRegressor), path)


def read_preparation(path: str | os.PathLike[str]) -> Any:
    """Return the preparation of columns that `save_model` has written, or None.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    preparation : JSON value or None
        A dict, unless the file is damaged: the values are not checked. None if the file has no
        preparation.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If the file is damaged or not a model of this package.
    """
    return read_model(path)[0].get("preparation")
