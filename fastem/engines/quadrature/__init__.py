"""The quadrature engine: two or three classes, linear in the number of hidden units."""

from fastem.engines.quadrature.engine import Quadrature

__all__ = [
    "Quadrature",
]
