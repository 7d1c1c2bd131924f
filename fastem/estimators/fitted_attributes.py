"""Attributes that training leaves in every kind of network."""

from typing import Any

from numpy.typing import NDArray


class FittedAttributes:
    """Declares the types of the fitted attributes that all estimators have."""

    converged_: bool
    data_loss_curve_: list[float]
    feature_names_in_: NDArray[Any]
    loss_: float
    loss_curve_: list[float]
    loss_curve_seconds_: list[float]
    n_features_in_: int
    n_iter_: int
    n_layers_: int
    validation_loss_curve_: list[float] | None
