"""X, y, sample_weight and seeds as callers pass them: checked before they become arrays.

scikit-learn converts them. The checks here refuse values that it would convert silently, and add
the name of the argument to messages that lack it.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import _check_sample_weight, _check_y, validate_data

from fastem.parameters import Array
from fastem.runtime import check_kind, check_mask

_REMEDY = " (X must be a table of finite numbers: encode text, impute or remove missing values.)"


@contextmanager
def naming(name: str, synonym: str | None = None, remedy: str = "") -> Iterator[None]:
    """Add the name of an argument, and a remedy, to a message that lacks the name.

    Raises
    ------
    TypeError, ValueError
        As inside the block.
    """
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # a larger type overflows
            yield
    except (TypeError, ValueError, OverflowError) as error:
        if re.search(rf"\b({name}|{synonym or name})\b", str(error)):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name} cannot be used: {str(error).rstrip()}{remedy}") from error


def features(estimator: Any, X: Any, *, reset: bool, **form: Any) -> Any:
    """Return X as an array or sparse matrix (n_samples, n_features) of finite numbers.

    Parameters
    ----------
    estimator : estimator
    X : array-like or sparse matrix (n_samples, n_features)
    reset : bool
        Whether to store the number and names of the columns; otherwise they are compared.
    form
        Arguments of scikit-learn's ``check_array``.

    Raises
    ------
    TypeError, ValueError
        If X is not a table of finite real numbers, or has other columns than in `fit`.
    """
    check_kind("X", X)
    with naming("X", remedy=_REMEDY):
        return validate_data(estimator, X, reset=reset, **form)


def features_and_targets(
    estimator: Any, X: Any, y: Any, *, reset: bool, y_numeric: bool = False, **form: Any
) -> tuple[Any, Any]:
    """Return X as `features` does, and y as an array or sparse matrix of the same length.

    Parameters
    ----------
    estimator, X, reset, form
        As for `features`.
    y : array-like (n_samples,) or (n_samples, n_outputs)
        None raises the error of scikit-learn.
    y_numeric : bool, default=False
        Whether to convert objects to numbers.

    Raises
    ------
    TypeError, ValueError
        As `features` does; if y is missing, has masked values, or has another length.
    """
    if y is None:
        validate_data(estimator, X, y, reset=reset, **form)  # raises
    check_mask("y", y)
    if issparse(y) and (y_numeric or y.ndim != 2):
        raise TypeError("y must be a dense array, or a sparse matrix of labels; use y.toarray().")
    X = features(estimator, X, reset=reset, **form)
    with naming("y"):
        y = _check_y(y, multi_output=True, y_numeric=y_numeric, estimator=estimator)
    if y_numeric and y.dtype.kind == "f" and not np.isfinite(y).all():  # of objects
        raise ValueError("y contains NaN or infinity; remove those rows.")
    check_consistent_length(X, y)
    return X, y


def row_weights(
    sample_weight: Any, rows: Any, dtype: Any = np.float64, *, non_negative: bool = True
) -> Array:
    """Return the weights of rows (n_samples,); ones if there are none.

    Parameters
    ----------
    sample_weight : array-like (n_samples,), number or None
    rows : array or sparse matrix (n_samples, ...)
    dtype : dtype, default=float64
    non_negative : bool, default=True
        Whether negative weights are refused here.

    Raises
    ------
    TypeError, ValueError
        If the weights are not finite real numbers, or have another length.
    """
    check_kind("sample_weight", sample_weight)
    with naming("sample_weight", "Sample weights"):
        return _check_sample_weight(
            sample_weight, rows, dtype=dtype, ensure_non_negative=non_negative
        )


def generator_of(random_state: Any) -> np.random.RandomState:
    """Return the generator of random numbers for a seed.

    Raises
    ------
    ValueError
        If the seed is not one of those that scikit-learn accepts.
    """
    try:
        return check_random_state(random_state)
    except ValueError as error:
        raise ValueError(
            f"random_state must be an integer from 0 to 2**32 - 1, a numpy.random.RandomState or "
            f"None, got {random_state!r}."
        ) from error


def labels_of(name: str, y: Any) -> Any:
    """Return labels in a form that can be sorted, without missing ones.

    Parameters
    ----------
    name : str
        Name of the argument in messages.
    y : array-like (n_samples,) or (n_samples, n_labels), sparse matrix or None

    Returns
    -------
    y : as passed, or an array
        Objects that are numbers become an array of numbers. None, sparse matrices and objects
        without rows are returned as they are.

    Raises
    ------
    ValueError
        If a label is missing or masked, or labels have several types, such as numbers and text.
    """
    check_mask(name, y)
    if y is None or issparse(y) or not (isinstance(y, (list, tuple)) or hasattr(y, "__array__")):
        return y
    values = _without_conversion(y)
    if values.dtype.names is not None or values.dtype.kind == "c":
        check_kind(name, values)  # raises
    if values.ndim == 0:
        return y
    is_missing = _is_missing(values)
    if is_missing.any():
        row = int(np.argwhere(is_missing)[0][0])
        raise ValueError(
            f"{name} contains NaN, None or NA: {np.count_nonzero(is_missing)} label(s) are "
            f"missing, the first in row {row}. Remove these rows, or give missing labels a name "
            "of their own."
        )
    if values.dtype != object:
        return y
    kinds = [_kind_of_label(value) for value in values.flat]
    first = {kind: i for i, kind in reversed(list(enumerate(kinds)))}
    if len(first) > 1:
        n_columns = values.shape[1] if values.ndim == 2 else 1
        places = ", ".join(
            f"{kind} (first in row {i // n_columns})" for kind, i in sorted(first.items())
        )
        raise ValueError(
            f"{name} holds labels of several types: {places}. Convert all labels to one type, for "
            f"example by [str(label) for label in {name}]."
        )
    if list(first) == ["number"] and not isinstance(y, (list, tuple)):
        with naming(name):
            return np.array(values.tolist())
    return y


def _without_conversion(y: Any) -> NDArray[Any]:
    """Return an array; the elements of lists keep their types."""
    try:
        if isinstance(y, (list, tuple)):
            values = np.asarray(y)
            return values if values.dtype.kind in "biufc" else np.asarray(y, dtype=object)
        return np.asarray(y)
    except (TypeError, ValueError):  # rows of several lengths; scikit-learn describes them
        return np.empty(())


def _is_missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which values are None, NaN, NaT or NA; of the shape of ``values``."""
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype.kind in "Mm":
        return np.isnat(values)
    if values.dtype != object:
        return np.zeros(values.shape, dtype=bool)
    found = np.fromiter(map(_is_missing_object, values.flat), dtype=bool, count=values.size)
    return found.reshape(values.shape)


def _is_missing_object(value: Any) -> bool:
    if value is None or isinstance(value, (str, bytes)):
        return value is None
    try:
        return bool(value != value)  # NaN and NaT differ from themselves
    except TypeError:  # the truth value of pandas.NA is undefined
        return True
    except ValueError:  # an array
        return False


def _kind_of_label(value: Any) -> str:
    if isinstance(value, (bool, int, float, np.bool_, np.integer, np.floating)):
        return "number"
    return "str" if isinstance(value, str) else type(value).__name__


class CheckedScore:
    """The method `score` of scikit-learn's mixins, with checks of y and weights."""

    def _prepared_y(self, y: Any) -> Any:
        """Return y in a form that scikit-learn takes."""
        check_kind("y", y)
        return y

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the accuracy of the predicted labels, or R^2 of the predicted numbers.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like (n_samples,), optional

        Returns
        -------
        score : float
            At most 1.

        Raises
        ------
        NotFittedError, ValueError, FloatingPointError
            As `predict` does. ValueError also if a label is missing, or a weight is not a number.
        """
        y = self._prepared_y(y)
        if sample_weight is not None:
            sample_weight = row_weights(sample_weight, y, non_negative=False)
        return super().score(X, y, sample_weight)  # type: ignore[misc]  # of a mixin


class ScoresLabels(CheckedScore):
    """`CheckedScore` of a classifier."""

    def _prepared_y(self, y: Any) -> Any:
        return labels_of("y", y)
