"""Scalar functions against 60-digit arithmetic, in units in the last place."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest

from fastem.kernels import special

_RNG = np.random.default_rng(0)
_TINY = np.finfo(float).tiny
_SUBNORMAL = math.ulp(0.0)


def _ulps(got, exact):
    return float(abs(Decimal(got) - exact) / Decimal(math.ulp(float(exact))))


def _worst(function, truth, arguments):
    with localcontext() as context:
        context.prec = 60
        return max((_ulps(function(x), truth(Decimal(x))), x) for x in map(float, arguments))


def _log1p_exp(x):
    """log(1 + exp(x)) for any x."""
    e = x.exp()
    return e - e * e / 2 if x < -80 else (1 + e).ln()


_EXPONENTS = np.r_[
    _RNG.uniform(-708.0, 709.0, 1500),
    _RNG.uniform(-1.0, 1.0, 500),
    (np.arange(-1021, 1023) + 0.5) * math.log(2.0),  # where the range reduction turns
    [0.0, -0.0, 1e-300, -1e-300, _SUBNORMAL, -_SUBNORMAL, -708.0, 709.0],
]


def test_exp_clipped_is_exp_inside_its_range():
    error, where = _worst(special.exp_clipped, Decimal.exp, _EXPONENTS)
    assert error <= 2.0, where


@pytest.mark.parametrize("x", [-708.1, -745.2, -800.0, -1e308, -math.inf])
def test_exp_clipped_never_underflows(x):
    assert special.exp_clipped(x) == special.exp_clipped(-708.0) >= _TINY


@pytest.mark.parametrize("x", [709.1, 710.0, 800.0, 1e308, math.inf])
def test_exp_clipped_never_overflows(x):
    assert special.exp_clipped(x) == special.exp_clipped(709.0) < math.inf


def test_expm1_clipped_is_expm1_of_negative_numbers():
    def truth(x):
        return x + x * x / 2 if abs(x) < Decimal("1e-40") else x.exp() - 1

    negative = _EXPONENTS[(_EXPONENTS <= 0.0) & (np.abs(_EXPONENTS) >= 1e-300)]
    error, where = _worst(special.expm1_clipped, truth, negative)
    assert error <= 4.0, where


@pytest.mark.parametrize("x", [-708.1, -745.2, -1e308, -math.inf])
def test_expm1_clipped_ends_at_minus_one(x):
    assert special.expm1_clipped(x) == -1.0


def test_expm1_clipped_of_nothing_is_nothing():
    assert special.expm1_clipped(0.0) == special.expm1_clipped(-0.0) == 0.0


def test_log_positive_is_log_of_normal_numbers():
    ranges = np.exp2(_RNG.uniform(-1021.0, 1023.0, 1500))
    near_one = 1.0 + np.r_[np.spacing(1.0), -np.spacing(0.5), _RNG.uniform(-0.3, 0.42, 500)]
    turns = np.ldexp(math.sqrt(0.5), np.arange(-1020, 1025, 5))
    extremes = [_TINY, np.nextafter(_TINY, 1.0), np.finfo(float).max, 1.0, 2.0, 0.5]
    values = np.r_[ranges, near_one, turns, np.nextafter(turns, 0.0), extremes]
    error, where = _worst(special.log_positive, Decimal.ln, values)
    assert error <= 4.0, where


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_log1p_exp_of_negative(sign):
    values = np.r_[
        _RNG.uniform(0.0, 708.0, 1000), _RNG.uniform(0.0, 2.0, 500), 0.0, _SUBNORMAL, 1e-300, 708.0
    ]
    error, where = _worst(
        special.log1p_exp_of_negative, lambda a: _log1p_exp(-abs(a)), sign * values
    )
    assert error <= 4.0, where


@pytest.mark.parametrize("a", [708.1, 745.0, 800.0, 1e308, math.inf])
def test_log1p_exp_of_negative_is_almost_zero_far_out(a):
    for value in (special.log1p_exp_of_negative(a), special.log1p_exp_of_negative(-a)):
        assert 0.0 < value < 1e-307


def test_log_sigmoid():
    values = np.r_[
        _RNG.uniform(-800.0, 740.0, 1500),
        _RNG.uniform(-2.0, 2.0, 500),
        [0.0, -0.0, _SUBNORMAL, -_SUBNORMAL, 1e-300, 708.5, 744.0, -745.5, -1e308],
    ]
    error, where = _worst(
        special.log_sigmoid, lambda a: -_log1p_exp(-a) if a > -1000 else a, values
    )
    assert error <= 3.0, where


@pytest.mark.parametrize(
    ("a", "expected"), [(800.0, 0.0), (math.inf, 0.0), (-800.0, -800.0), (-math.inf, -math.inf)]
)
def test_log_sigmoid_at_extremes(a, expected):
    assert special.log_sigmoid(a) == expected


@pytest.mark.parametrize(
    "function",
    [
        special.exp_clipped,
        special.expm1_clipped,
        special.log_sigmoid,
        special.log1p_exp_of_negative,
    ],
)
def test_not_a_number_stays_so(function):
    assert math.isnan(function(math.nan))
