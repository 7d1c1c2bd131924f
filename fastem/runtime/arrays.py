"""Arrays that a caller passes: their form for kernels, and a check of their values."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray


def kernel_array(values: ArrayLike, dtype: DTypeLike = np.float64) -> NDArray:
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
        If ``values`` holds other objects than real numbers, or has another number of dimensions.
    """
    values = detached(values)
    if hasattr(values, "toarray"):
        raise ValueError(f"{name} must be a dense array; pass {name}.toarray().")
    try:
        if np.iscomplexobj(values):
            raise TypeError("complex numbers are not supported")
        array = kernel_array(values)
    except (TypeError, ValueError) as error:
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
