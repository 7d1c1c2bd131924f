"""Quadrature of three classes: which integrals a row needs, over a plane or over a line.

A class that matters nowhere is left out: what remains is an integral over a line. Where p is
near one and its own integral is the dearer, the other two classes are integrated.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from fastem.engines.quadrature.line import LineIntegrator
from fastem.engines.quadrature.plane import Hexagons, Logits, log_moments
from fastem.engines.quadrature.refine import Splits, overwrite_by_halves, repeat_until_reached
from fastem.kernels.plane_plan import LOG_PEAKS, POINTS
from fastem.parameters import Array

_PILOT = 0.03  # relative error of the first integral, which only tells how large p is
_LINE_SHARE = 0.7  # of the tolerance, where a class is left out
_LOG_HALF, _LOG_4, _LOG_8 = math.log(0.5), math.log(4.0), math.log(8.0)
_ONE_WAY = int(np.flatnonzero((POINTS == [1.0, 0.0]).all(axis=1))[0])


class ThreeClassIntegrals(NamedTuple):
    """What quadrature finds of some rows.

    Attributes
    ----------
    log_probability : array (n_rows,), nats
    posterior : array (n_rows, n_hidden) or (n_rows, 0), probability
    slopes : array (n_rows, n_hidden + 1, 3) or (n_rows, 0, 3)
        Derivatives of ``log p`` with respect to output weights and, last, intercepts.
    """

    log_probability: Array
    posterior: Array
    slopes: Array


class ThreeClassIntegrator:
    """Quadrature of rows under one set of output weights."""

    def __init__(
        self,
        log_odds: Array,
        output: Array,
        intercepts: Array,
        tol: float,
        n_threads: int,
        splits: Splits | None = None,
    ) -> None:
        self._log_odds, self._logits = log_odds, Logits.of(output, intercepts)
        self._output, self._intercepts = output, intercepts
        self._tol, self._n_threads = tol, n_threads
        self._splits = splits or Splits(len(log_odds), tol)

    def integrate(
        self, rows: Array, classes: Array, floors: Array, *, derivatives: bool
    ) -> ThreeClassIntegrals:
        """Integrate ``p(class|x)`` of rows.

        Parameters
        ----------
        rows, classes : arrays of int (n_tasks,)
        floors : array (n_tasks,), nats
            The error is relative to the larger of p and ``exp(floor)``.
        derivatives : bool

        Raises
        ------
        FloatingPointError
            If the tolerance cannot be reached.
        """
        n_hidden = self._log_odds.shape[1]
        width, depth = (n_hidden, n_hidden + 1) if derivatives else (0, 0)
        found = ThreeClassIntegrals(
            np.full(len(rows), -np.inf),
            np.empty((len(rows), width)),
            np.zeros((len(rows), depth, 3)),
        )
        log_odds, log_tol = self._log_odds[rows], math.log(self._tol)
        moments = log_moments(log_odds, classes, self._logits, self._n_threads)
        most = np.minimum((moments[:, : len(POINTS)] + LOG_PEAKS).min(axis=1), 0.0)
        beyond = moments[:, len(POINTS) :].reshape(-1, 3, 3).min(axis=2)
        moments = np.ascontiguousarray(moments[:, : len(POINTS)])

        left = ~(most <= floors + log_tol - _LOG_8)  # the others are as good as impossible
        found.log_probability[~left] = most[~left]
        if derivatives:
            found.posterior[~left] = expit(log_odds[~left])
        side, least = beyond.argmin(axis=1), beyond.min(axis=1)
        by_line = left & (least <= np.maximum(most, floors) + log_tol - _LOG_8)
        for k in range(3):
            for out in range(3):
                some = np.flatnonzero(by_line & (classes == k) & (side == out))
                if len(some) > 0:
                    self._over_lines(some, k, out, log_odds[some], moments[some], found)
        reached = least <= np.maximum(found.log_probability, floors) + log_tol - _LOG_4
        places = np.flatnonzero(left & ~(by_line & reached))
        if len(places) > 0:
            part = self._over_planes(
                rows[places], classes[places], floors[places], log_odds[places], moments[places],
                derivatives,
            )  # fmt: skip
            for whole, of_part in zip(found, part, strict=True):
                whole[places] = of_part
        return found

    def _over_lines(
        self, places: Array, k: int, out: int, log_odds: Array, moments: Array, found
    ) -> None:
        """Overwrite rows of class k in which one of the three, counted from k, matters nowhere."""
        v, c = self._logits.v[k], self._logits.c[k]
        classes = [k, (k + 1) % 3, (k + 2) % 3]
        derivatives = found.posterior.shape[1] > 0
        tol = _LINE_SHARE * self._tol
        if out > 0:
            over = classes[3 - out]
            line_v, line_c = -v[2 - out], -float(c[2 - out])
        else:  # p is exp(-A) / (1 + exp(B - A)): an expectation under tilted units
            log_odds = log_odds - v[0]
            line_v, line_c = v[0] - v[1], float(c[0] - c[1])
        line = LineIntegrator(
            log_odds, np.ascontiguousarray(line_v), line_c, tol, self._n_threads, self._splits
        ).integrate(np.ones(len(places)), derivatives=derivatives)
        found.log_probability[places] = line.log_probability
        if out == 0:
            found.log_probability[places] += moments[:, _ONE_WAY]
        if not derivatives:
            return
        found.posterior[places] = line.posterior
        slopes = np.column_stack([line.slopes, line.slope_of_c])
        if out > 0:
            found.slopes[places, :, k] = slopes
            found.slopes[places, :, over] = -slopes
        else:
            found.slopes[places, :-1, k] = line.posterior
            found.slopes[places, -1, k] = 1.0
            found.slopes[places, :, classes[1]] = slopes - found.slopes[places, :, k]
            found.slopes[places, :, classes[2]] = -slopes

    def _over_planes(
        self, rows: Array, classes: Array, floors: Array, log_odds: Array, moments: Array,
        derivatives: bool,
    ) -> ThreeClassIntegrals:  # fmt: skip
        hexagons = Hexagons(
            log_odds, classes, floors, self._logits, moments, self._n_threads, self._splits
        )
        needs = np.full(len(rows), np.nan)
        pending, errors = repeat_until_reached(
            lambda some, log_p: hexagons.integrate(some, log_p, _PILOT, False), needs, _PILOT
        )
        known = np.setdiff1d(np.arange(len(rows)), pending)
        needs[known] = np.maximum(needs[known], floors[known])
        nodes = hexagons.plan(known, needs[known], self._tol)
        usual = 0.5 * (1.5 / np.pi * (3.9 - math.log(self._tol)) ** 2 / np.pi) ** 2
        # p near one leaves little of the others: both of them are then the cheaper
        near_one = (nodes > 2.5 * usual) & (needs[known] > _LOG_HALF) & np.isneginf(floors[known])
        others, direct = known[near_one], known[~near_one]

        def attempt(some: Array, log_p: Array) -> tuple[Array, Array]:
            return hexagons.integrate(direct[some], log_p, self._tol, derivatives)

        missed, missed_errors = repeat_until_reached(attempt, needs[direct], self._tol)
        errors[direct] = missed_errors
        found = self._conclude(hexagons, classes, derivatives)
        if len(others) > 0:
            self._from_the_others(others, rows, classes, derivatives, found)
        pending = np.concatenate([pending, direct[missed]])
        if len(pending) > 0:
            self._splits.take(len(pending), float(np.max(errors[pending])))

            def integrate(halves: Array, places: Array) -> ThreeClassIntegrals:
                some = pending[places]
                return ThreeClassIntegrator(
                    halves, self._output, self._intercepts, self._tol, self._n_threads,
                    self._splits,
                ).integrate(
                    np.arange(len(halves)), classes[some], floors[some], derivatives=derivatives
                )  # fmt: skip

            units = hexagons.units_to_split(pending)
            overwrite_by_halves(found, pending, log_odds[pending], units, integrate, self._splits)
        return found

    def _conclude(self, hexagons: Hexagons, classes: Array, derivatives: bool):
        n_rows, n_hidden = len(classes), self._log_odds.shape[1]
        log_p = hexagons.log_probability
        if not derivatives:
            return ThreeClassIntegrals(log_p, np.empty((n_rows, 0)), np.zeros((n_rows, 0, 3)))
        posterior, of_others = hexagons.posterior_and_slopes()
        slopes, each = np.empty((n_rows, n_hidden + 1, 3)), np.arange(n_rows)
        slopes[each, :, classes] = -of_others.sum(axis=1)
        for k in (0, 1):
            slopes[each, :, (classes + 1 + k) % 3] = of_others[:, k]
        return ThreeClassIntegrals(log_p, posterior, slopes)

    def _from_the_others(
        self, places: Array, rows: Array, classes: Array, derivatives: bool, found
    ) -> None:
        """Overwrite rows whose p is near one by what the other two classes leave."""
        n = len(places)
        part = self.integrate(
            np.tile(rows[places], 2),
            np.concatenate([(classes[places] + 1) % 3, (classes[places] + 2) % 3]),
            np.full(2 * n, -_LOG_4),
            derivatives=derivatives,
        )
        p = np.exp(part.log_probability)
        whole = 1.0 - p[:n] - p[n:]
        found.log_probability[places] = np.log1p(-(p[:n] + p[n:]))
        if derivatives:
            one, two = p[:n] / whole, p[n:] / whole
            prior = expit(self._log_odds[rows[places]])
            left = prior / whole[:, None]
            left -= one[:, None] * part.posterior[:n] + two[:, None] * part.posterior[n:]
            found.posterior[places] = np.clip(left, 0.0, 1.0)
            found.slopes[places] = -(
                one[:, None, None] * part.slopes[:n] + two[:, None, None] * part.slopes[n:]
            )


def log_probabilities(integrator: ThreeClassIntegrator, likely: Array) -> Array:
    """Return ``log p(y = k | x)`` (n_rows, 3): two integrals a row, mostly.

    Parameters
    ----------
    integrator : ThreeClassIntegrator
    likely : array of int (n_rows,)
        The likeliest class of each row: a guess. What the other two leave is its own, and only
        where the guess was wrong has it an integral of its own.
    """
    n_rows = len(likely)
    out, rows = np.empty((n_rows, 3)), np.arange(n_rows)
    for k in (1, 2):
        classes = (likely + k) % 3
        floors = np.full(n_rows, -np.inf)
        found = integrator.integrate(rows, classes, floors, derivatives=False)
        out[rows, classes] = found.log_probability
    rest = np.exp(out[rows, (likely + 1) % 3]) + np.exp(out[rows, (likely + 2) % 3])
    with np.errstate(all="ignore"):
        out[rows, likely] = np.log1p(-rest)
    wrong = rows[rest > 0.75]
    if len(wrong) > 0:
        floors = np.full(len(wrong), -np.inf)
        found = integrator.integrate(wrong, likely[wrong], floors, derivatives=False)
        out[wrong, likely[wrong]] = found.log_probability
    return out
