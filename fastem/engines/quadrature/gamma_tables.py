"""Tables of the three Gamma functions over the nodes of a hexagon, and its truncation error."""

from typing import NamedTuple

import numpy as np
from scipy.special import gamma

from fastem.parameters import Array


class GammaTables(NamedTuple):
    """The factors of the integrand that do not depend on the units.

    Attributes
    ----------
    values : complex array (3, 2 * size + 1)
        ``Gamma(w1) exp(-i t c1)``, ``Gamma(w2) exp(-i t c2)`` and ``Gamma(1 - w1 - w2)`` at
        ``t = j step`` for j from -size to size. In the last one, t is ``t1 + t2``.
    truncation : float
        About the sum of moduli of their product at the nodes beyond the hexagon.
    """

    values: np.ndarray
    truncation: float


def gamma_tables(d: Array, c: Array, step: float, size: int) -> GammaTables:
    """Return the tables for a plane.

    Parameters
    ----------
    d : array (2,)
        Real part of the plane.
    c : array (2,), log-odds
    step : float
    size : int
        Size of the hexagon, in steps.
    """
    t = step * np.arange(size + 1)
    arguments = np.stack([d[0] + 1j * t, d[1] + 1j * t, (1.0 - d[0] - d[1]) - 1j * t])
    half = gamma(arguments)
    half[:2] *= np.exp(-1j * np.outer(c, t))
    values = np.concatenate([half[:, :0:-1].conj(), half], axis=1)
    return GammaTables(values, _truncation(np.abs(half), step))


def _truncation(moduli: Array, step: float) -> float:
    """Return about the sum of moduli beyond the hexagon.

    It is a geometric series with ratio ``exp(-pi step)`` that starts with the moduli along the
    edges. Edge v has the v-th argument fixed at its largest value, and the others sum to it.
    """
    size = moduli.shape[1] - 1
    edges = sum(moduli[v, -1] * (moduli[v - 2] @ moduli[v - 1, ::-1]) for v in range(3))
    ratio = np.exp(-np.pi * step)
    longer = 1.0 + 2.0 / max(size * step, 1.0)  # edges become longer outwards
    # 2: each edge has an opposite one; 3: nodes are a third of those of the square lattice
    return float(2.0 / 3.0 * edges * ratio / (1.0 - ratio) * longer)
