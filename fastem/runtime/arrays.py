"""Arrays that a caller passes: their form for kernels, and a check of their values."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

_USUAL_KINDS = "fiub"
_KINDS_OF_TIME = "M", "m"


def kernel_array(values: ArrayLike, dtype: DTypeLike = np.float64) -> NDArray[Any]:
    """Return an array in the form that kernels are compiled for.

    Parameters
    ----------
    values : array-like
        Copied only if it has another form.
    dtype : dtype, default=float64

    Returns
    -------
    array : array of the shape of ``values``
        In C order, aligned and writeable.
    """
    return np.require(values, dtype, ["C_CONTIGUOUS", "ALIGNED", "WRITEABLE", "ENSUREARRAY"])


def detached(values: Any) -> Any:
    """Return a tensor without its record of operations, and other objects unchanged.

    A PyTorch tensor that requires a gradient cannot be converted to an array.

    Parameters
    ----------
    values : array-like

    Returns
    -------
    values : array-like
    """
    return values.detach() if hasattr(values, "detach") else values


def check_kind(name: str, values: Any) -> None:
    """Check that an array or table can be converted to real numbers without a silent error.

    NumPy converts masked values, complex numbers, and dates to floats without an exception.

    Parameters
    ----------
    name : str
        Name of the argument in messages.
    values : object
        Other objects than arrays and tables pass.

    Raises
    ------
    ValueError
        If a value is masked, or values are complex numbers, dates, durations or records.
    """
    if type(values) is np.ndarray and values.dtype.kind in _USUAL_KINDS:
        return
    check_mask(name, values)
    for dtype in _dtypes(values):
        kind = getattr(dtype, "kind", "")
        if kind == "c":
            raise ValueError(
                f"Complex data not supported: {name} must hold real numbers, got {dtype}."
            )
        if kind in _KINDS_OF_TIME or getattr(dtype, "is_temporal", bool)():
            raise ValueError(
                f"{name} holds dates or durations ({dtype}), which have no natural unit; convert "
                "them to numbers, such as days since a date."
            )
        if getattr(dtype, "names", None) is not None:
            raise ValueError(
                f"{name} is a structured array with the fields {list(dtype.names)}; pass an array "
                "of numbers, for example "
                f"numpy.lib.recfunctions.structured_to_unstructured({name})."
            )


def _dtypes(values: Any) -> list[Any]:
    """Return the types of the columns of a table, or the type of an array."""
    found = getattr(values, "dtypes", getattr(values, "dtype", None))
    if found is None:
        return []
    return list(found) if hasattr(found, "__iter__") and not hasattr(found, "kind") else [found]


def check_mask(name: str, values: Any) -> None:
    """Check that no value of a masked array is masked.

    Raises
    ------
    ValueError
        If a value is masked.
    """
    if not isinstance(values, np.ma.MaskedArray):
        return
    mask = np.ma.getmaskarray(values)
    if mask.dtype.names is None and mask.any():
        raise ValueError(
            f"{name} has {np.count_nonzero(mask)} masked value(s), the first in row "
            f"{int(np.argwhere(mask)[0][0]) if mask.ndim else 0}; remove these rows, or fill the "
            f"values, for example by {name}.filled(0)."
        )


def real_array(name: str, values: ArrayLike, ndim: int | None = None) -> NDArray[np.float64]:
    """Return real numbers as a float64 array in the form of `kernel_array`.

    Parameters
    ----------
    name : str
        Name of the argument in messages.
    values : array-like
        Copied only if it has another form. A tensor may require a gradient.
    ndim : int, optional
        Required number of dimensions; None accepts any number.

    Returns
    -------
    array : array of the shape of ``values``

    Raises
    ------
    ValueError
        If ``values`` holds other objects than real numbers or masked values, or has another number
        of dimensions.
    """
    values = detached(values)
    if hasattr(values, "toarray"):
        raise ValueError(f"{name} must be a dense array; pass {name}.toarray().")
    check_mask(name, values)
    try:
        if np.iscomplexobj(values):
            raise TypeError("complex numbers are not supported")
        with np.errstate(over="ignore"):  # a larger type overflows to infinity
            array = kernel_array(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be an array of numbers: {error}") from error
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimension(s), got shape {array.shape}.")
    return array


def finite_array(name: str, values: ArrayLike, ndim: int | None = None) -> NDArray[np.float64]:
    """Return finite real numbers as `real_array` does.

    Raises
    ------
    ValueError
        As `real_array`, and if a value is NaN or infinity.
    """
    array = real_array(name, values, ndim)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} contains NaN or infinity; remove or impute such values.")
    return array
