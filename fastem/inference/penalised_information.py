"""The observed information of a penalised likelihood, and the directions that it identifies."""

from typing import NamedTuple

import numpy as np

from fastem.parameters import Array

# Directions with less information are not identified (nats per squared unit). Parameters are
# log-odds, logits and standardised outputs, so a standard error of 100 is no information.
_NEGLIGIBLE = 1e-4
# Eigenvalues below this share of the largest one are rounding errors.
_ROUNDING = 1e-12
_SHARE_OF_PENALTY = (
    0.1  # least curvature of a penalised direction, as a share of that of the penalty
)
# A prediction depends on directions that are not identified if this share of its gradient lies in
# them. Below, as with units that are constant over the rows, they add the largest error above.
_SHARE = 0.05


class PenalisedInformation(NamedTuple):
    """Inverse of the penalised information on the directions that it identifies.

    Attributes
    ----------
    root : array (n_parameters, n_identified)
        The covariance of the parameters is ``root @ root.T``.
    null : array (n_parameters, n_unidentified)
        Orthonormal directions in which the penalised likelihood hardly curves.
    smallest : float
        Smallest eigenvalue, as a share of the largest.
    """

    root: Array
    null: Array
    smallest: float

    @classmethod
    def of(cls, information: Array, penalty: Array, free: np.ndarray) -> "PenalisedInformation":
        """Invert an information.

        Parameters
        ----------
        information : array (n_parameters, n_parameters)
            Without penalty.
        penalty : array (n_parameters,)
            Diagonal of the second derivative of the penalty.
        free : array (n_parameters,) of bool
            Parameters that were estimated.
        """
        places = np.flatnonzero(free)
        own = information[np.ix_(places, places)]
        found, vectors = np.linalg.eigh(own + np.diag(penalty[places]))
        # The penalty limits a direction even where the likelihood cancels its curvature, as it does
        # on the plateaus of units that are nearly equal.
        values = np.maximum(found, _SHARE_OF_PENALTY * (penalty[places] @ vectors**2))
        largest = max(values.max(initial=0.0), np.finfo(float).tiny)
        is_identified = values > max(_NEGLIGIBLE, _ROUNDING * largest)
        root = np.zeros((len(penalty), int(is_identified.sum())))
        root[places] = vectors[:, is_identified] / np.sqrt(values[is_identified])
        null = np.zeros((len(penalty), int((~is_identified).sum())))
        null[places] = vectors[:, ~is_identified]
        return cls(root, null, float(found.min(initial=0.0) / largest))

    def trace(self, information: Array) -> float:
        """Return the trace of an information, without penalty, times the inverse."""
        return float(np.sum(self.root * (information @ self.root)))

    def standard_errors(self, gradients: Array) -> Array:
        """Return standard errors of functions, given their gradients (..., n_parameters).

        A function that depends on a direction that is not identified has the standard error inf.
        """
        errors = np.linalg.norm(gradients @ self.root, axis=-1)
        if self.null.shape[1] == 0:
            return errors
        outside = np.linalg.norm(gradients @ self.null, axis=-1)
        errors = np.hypot(errors, outside / np.sqrt(_NEGLIGIBLE))
        return np.where(outside > _SHARE * np.linalg.norm(gradients, axis=-1), np.inf, errors)
