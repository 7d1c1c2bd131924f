"""Acceleration of EM: quasi-Newton steps that fall back to the EM step.

EM converges linearly. Its rate is the fraction of missing information, which is near one for
networks with hidden units. The first EM steps are efficient. Later, the curvature of the objective
is estimated from differences of its gradient, which every E-step provides by Fisher's identity, and
quasi-Newton steps are longer than EM steps.
"""

from typing import Any, Protocol

import numpy as np

from fastem.kernels import quasi_newton
from fastem.parameters import Array
from fastem.solvers.em import Iterate, Model, PlainStep

_MEMORY = 20
_PLAIN_STEPS = 7
_MAX_TRIALS = 6
_SUFFICIENT = 1e-4  # share of the first-order gain that a step must reach (Armijo's rule)


class DifferentiableModel(Model, Protocol):
    """A model that also provides the gradient of its objective."""

    def gradient(self, theta: Array, statistics: Any) -> Array:
        """Return the gradient of the objective at theta, nats per unit of parameter."""


class QuasiNewtonStep:
    """Plain EM steps first, then quasi-Newton steps; an EM step whenever those fail.

    A quasi-Newton step is accepted if the objective rises by a fixed share of its first-order
    gain. If several lengths fail, the plain EM step, which cannot lower the objective, is taken
    instead, and the stored secants are discarded. An accelerated iteration costs one E-step if
    its first trial is accepted, which is the usual case.

    Parameters
    ----------
    n_plain : int, default=7
        EM steps before the first quasi-Newton step.
    is_short : bool, default=False
        Whether EM steps are much shorter than the way to the optimum, as those of the bound M-step
        are. Their small gains are no convergence.

    References
    ----------
    Lange (1995), A quasi-Newton acceleration of the EM algorithm, Statistica Sinica 5.
    Jamshidian and Jennrich (1997), Acceleration of the EM algorithm by using quasi-Newton
    methods, JRSS B 59.
    """

    def __init__(self, n_plain: int = _PLAIN_STEPS, *, is_short: bool = False) -> None:
        self._plain, self._n_plain, self._is_short = PlainStep(), n_plain, is_short
        self.restart()

    def restart(self) -> None:
        """Discard all secants and start with plain EM steps."""
        self._n_plain_left, self._last_is_plain = self._n_plain, False
        self._pairs: tuple[Array, Array] | None = None
        self._first = 0
        self._n_pairs = 0
        self._last: tuple[Array, Array] | None = None

    def memory(self) -> dict[str, np.ndarray]:
        """Return what is stored of earlier iterates, as arrays of numbers.

        Returns
        -------
        memory : dict of arrays
            ``counts`` (4,) of int. After the first step also ``secants`` (2, n_stored,
            n_parameters), and ``last`` (2, n_parameters): the last iterate and its gradient.
        """
        counts = self._n_plain, self._n_plain_left, self._first, self._n_pairs
        memory = {"counts": np.array(counts)}
        if self._pairs is not None:
            memory["secants"] = np.stack(self._pairs)
            memory["secants"][:, self._unused_slots()] = 0.0
        if self._last is not None:
            memory["last"] = np.stack(self._last)
        return memory

    def restore(self, memory: dict[str, np.ndarray]) -> None:
        """Continue with a memory that `memory` has returned: the next steps are equal to the bit.

        Raises
        ------
        ValueError
            If the arrays are not such a memory.
        """
        counts = [int(count) for count in memory["counts"]]
        secants, last = memory.get("secants"), memory.get("last")
        n_plain, n_plain_left, first, n_pairs = counts
        is_valid = 0 <= n_plain_left <= n_plain and 0 <= first < _MEMORY and 0 <= n_pairs <= _MEMORY
        is_valid &= (secants is None) == (last is None) and (n_pairs == 0 or secants is not None)
        if secants is not None and last is not None:
            is_valid &= last.ndim == 2 and secants.shape == (2, _MEMORY, last.shape[1])
            is_valid &= len(last) == 2 and secants.dtype == last.dtype == np.float64
        if not is_valid:
            raise ValueError("the memory of the quasi-Newton steps is damaged")
        self._n_plain, self._n_plain_left, self._first, self._n_pairs = counts
        self._pairs = None if secants is None else (secants[0].copy(), secants[1].copy())
        self._last = None if last is None else (last[0].copy(), last[1].copy())

    def _unused_slots(self) -> list[int]:
        return [(self._first + i) % _MEMORY for i in range(self._n_pairs, _MEMORY)]

    def may_converge(self) -> bool:
        """Return whether a small gain of the last step means convergence."""
        return not (self._is_short and self._last_is_plain)

    def advance(self, model: DifferentiableModel, iterate: Iterate) -> Iterate:
        """Return the next iterate: accelerated if a trial is accepted, otherwise of plain EM."""
        gradient = model.gradient(iterate.theta, iterate.statistics)
        self._store_secant(iterate.theta, gradient)
        if self._n_plain_left > 0:
            self._n_pairs = 0  # only the secant of the last EM step is kept, for the scale
            candidate = self._plain.advance(model, iterate)
            self._n_plain_left -= 1
            self._last_is_plain = True
            return candidate
        self._last_is_plain = False
        candidate = self._try_along(self._direction(gradient), model, iterate, gradient)
        if candidate is not None:
            return candidate
        self._n_pairs = 0
        # the trials have overwritten the statistics: compute them again
        return self._plain.advance(model, Iterate(iterate.theta, *model.expect(iterate.theta)))

    def _store_secant(self, theta: Array, gradient: Array) -> None:
        """Store the secant to this iterate if the objective is concave along it."""
        if self._pairs is None:
            self._pairs = np.empty((_MEMORY, theta.size)), np.empty((_MEMORY, theta.size))
        if self._last is not None:
            step, decrease = theta - self._last[0], self._last[1] - gradient
            with np.errstate(over="ignore"):  # then the secant is not stored
                smallest = 1e-10 * np.sqrt((step @ step) * (decrease @ decrease))
            if step @ decrease > smallest:
                if self._n_pairs == _MEMORY:
                    self._first = (self._first + 1) % _MEMORY
                    self._n_pairs -= 1
                slot = (self._first + self._n_pairs) % _MEMORY
                self._pairs[0][slot], self._pairs[1][slot] = step, decrease
                self._n_pairs += 1
        self._last = theta, gradient

    def _direction(self, gradient: Array) -> Array:
        if self._n_pairs > 0:
            direction = quasi_newton.direction(gradient, *self._pairs, self._first, self._n_pairs)
            if direction @ gradient > 0.0:
                return direction
            self._n_pairs = 0
        return gradient / max(np.abs(gradient).sum(), 1.0)

    def _try_along(
        self, direction: Array, model: DifferentiableModel, iterate: Iterate, gradient: Array
    ) -> Iterate | None:
        slope = direction @ gradient
        length = 1.0
        for _ in range(_MAX_TRIALS):
            theta = iterate.theta + length * direction
            try:
                candidate = Iterate(theta, *model.expect(theta))
            except FloatingPointError:  # overflow: try a much shorter step
                length *= 0.1
                continue
            gain = candidate.objective - iterate.objective
            if gain >= _SUFFICIENT * length * slope:
                return candidate
            # the maximum of the parabola through both values and the slope, within limits
            top = 0.5 * slope * length**2 / (slope * length - gain)
            length = min(max(top, 0.1 * length), 0.5 * length) if top > 0.0 else 0.1 * length
        return None
