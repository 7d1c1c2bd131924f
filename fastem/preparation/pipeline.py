"""Model files as pipelines of scikit-learn."""

import os

import numpy as np
from sklearn.pipeline import Pipeline

from fastem.estimators import (
    FastEMClassifier,
    FastEMRegressor,
    load_model,
    read_preparation,
)
from fastem.preparation.preparation import Preparation


def load_prepared(
    path: str | os.PathLike[str],
) -> tuple[FastEMClassifier | FastEMRegressor, Preparation | None]:
    """Read a model, and how columns of a table become its features. No code is run.

    Parameters
    ----------
    path : path-like
        A model file.

    Returns
    -------
    model : FastEMClassifier or FastEMRegressor
    preparation : Preparation or None
        None if the file has no preparation.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If the file is damaged or not a model of this package.
    ImportError
        If the file has a preparation and pandas is not installed.
    """
    model, content = load_model(path), read_preparation(path)
    if content is None:
        return model, None
    try:
        import pandas  # noqa: F401  the error names the remedy
    except ImportError:
        raise ImportError(
            "the model takes tables with named columns, which needs pandas: "
            "pip install 'fastem[cli]'"
        ) from None
    try:
        preparation = Preparation.from_json(content)
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}") from error
    names = getattr(model, "feature_names_in_", None)
    if names is None or not np.array_equal(names.astype(str), preparation.feature_names):
        raise ValueError(
            f"{str(path)!r} is damaged: the features of its preparation are not those of its model."
        )
    return model, preparation


def load_pipeline(path: str | os.PathLike[str]) -> Pipeline:
    """Read a model file as a fitted pipeline that takes tables as they are. No code is run.

    The command ``fastem fit`` writes such files. It keeps how the columns of its table became
    features: categories of text and boolean columns, and medians for missing values.

    Parameters
    ----------
    path : path-like
        A model file, of ``fastem fit`` or of the method ``save`` of a model.

    Returns
    -------
    pipeline : Pipeline
        The step "model" is the `FastEMClassifier` or `FastEMRegressor`. If the file has a
        preparation, the step "preparation" comes first and takes a DataFrame (n_rows, any) with
        the columns of the training table, in any order; other columns are ignored. Without a
        preparation, the pipeline takes what the model takes. A category that did not occur in
        training has zeros in all its features. Blanks around text are ignored, and empty text is
        a missing value.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If the file is damaged or not a model of this package. The methods of the pipeline raise
        ValueError if columns are absent or hold values of another kind, or if values are missing
        and the model was fitted without imputation; the message lists all such columns.
    ImportError
        If the file has a preparation and pandas is not installed.

    Notes
    -----
    The predictions are those of ``fastem predict`` if pandas reads the file in the same way. In
    text columns, ``fastem`` reads only empty fields as missing values:
    ``pandas.read_csv(path, keep_default_na=False, na_values=[""])``.

    See Also
    --------
    FastEMClassifier.load, FastEMRegressor.load : Return the model only, which takes features.

    Examples
    --------
    >>> import tempfile
    >>> from fastem import FastEMClassifier, load_pipeline
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = FastEMClassifier((2,), alpha=1.0, random_state=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/iris.npz")
    ...     pipeline = load_pipeline(f"{folder}/iris.npz")
    >>> list(pipeline.named_steps)
    ['model']
    >>> bool((pipeline.predict(X) == model.predict(X)).all())
    True
    """
    model, preparation = load_prepared(path)
    steps = [] if preparation is None else [("preparation", preparation.transformer())]
    return Pipeline([*steps, ("model", model)])
