"""Read model files whose class is not known in advance."""

import os

from fastem.estimators import persistence
from fastem.estimators.em_classifier import FastEMClassifier
from fastem.estimators.em_regressor import FastEMRegressor


def load_model(path: str | os.PathLike) -> FastEMClassifier | FastEMRegressor:
    """Read a model that `save` has written. No code from the file is run.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    model : FastEMClassifier or FastEMRegressor
        The class that the file names.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If the file is damaged or holds another kind of model.
    """
    return persistence.load((FastEMClassifier, FastEMRegressor), path)
