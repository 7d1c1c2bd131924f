"""Check of an array that a caller passes."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def finite_array(name: str, values: ArrayLike, ndim: int | None = None) -> NDArray[np.float64]:
    """Return finite numbers as a float64 array in C order, writeable and aligned.

    Parameters
    ----------
    name : str
        Name of the argument in messages.
    values : array-like
        Copied only if it has another form.
    ndim : int, optional
        Required number of dimensions; None accepts any number.

    Returns
    -------
    array : array of the shape of ``values``

    Raises
    ------
    ValueError
        If ``values`` holds other objects than real numbers, NaN or infinity, or has another
        number of dimensions.
    """
    try:
        if np.iscomplexobj(values):
            raise TypeError("complex numbers are not supported")
        form = ["C_CONTIGUOUS", "ALIGNED", "WRITEABLE", "ENSUREARRAY"]
        array = np.require(values, np.float64, form)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of numbers: {error}") from error
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimension(s), got shape {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} contains NaN or infinity; remove or impute such values.")
    return array
