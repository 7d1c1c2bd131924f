"""Scalar special functions that the compiler can inline and vectorise."""

import math

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels._jit import jit_strict

_LOG2_E = 1.4426950408889634
_LN2_HIGH = 6.93147180369123816490e-01  # low 32 bits are zero: k * _LN2_HIGH is exact
_LN2_LOW = 1.90821492927058770002e-10
_SHIFT = 6755399441055744.0  # 1.5 * 2**52: adding it rounds to an integer in the low bits


@intrinsic
def _bits_of(typing_context, x):
    def generate(context, builder, signature, args):
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), generate


@intrinsic
def _float_of(typing_context, bits):
    def generate(context, builder, signature, args):
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), generate


@jit_strict
def _exp_in_parts(x):
    """Return e and f of ``exp(x) = f (1 + e)``, f a power of two and |e| < 0.42.

    ``math.exp`` is a library call that blocks vectorisation; this is Cody and Waite's
    range reduction with a Taylor polynomial of degree 13 on |r| <= log(2) / 2.
    """
    shifted = x * _LOG2_E + _SHIFT
    k = shifted - _SHIFT
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    p = 1.0 / 6227020800.0
    p = p * r + 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    return p * r, _float_of((_bits_of(shifted) + 1023) << 52)


@jit_strict
def exp_clipped(x):
    """Return ``exp(x)`` with x clipped to [-708, 709], within 2 units in the last place."""
    # written so that NaN fails both comparisons and stays NaN
    x = -708.0 if x < -708.0 else x
    x = 709.0 if x > 709.0 else x
    excess, scale = _exp_in_parts(x)
    return (excess + 1.0) * scale


@jit_strict
def expm1_clipped(x):
    """Return ``exp(x) - 1`` of x <= 0, within 4 units in the last place, vectorisable.

    ``scale - 1`` is added last, so that nothing cancels near zero. Below -708 the result
    is -1.
    """
    x = -708.0 if x < -708.0 else x  # NaN stays NaN
    excess, scale = _exp_in_parts(x)
    return excess * scale + (scale - 1.0)


@jit_strict
def add_in_order(a, b):
    """Return ``a + b``, rounded at once.

    Log-space sums subtract the largest of several such sums. Reordered into
    ``(a - largest) + b`` the largest itself would no longer give exactly zero.
    """
    return a + b


@jit_strict
def log_sigmoid(a):
    """Return ``log(1 / (1 + exp(-a)))`` without overflow or cancellation."""
    if a >= 0.0:
        return -math.log1p(math.exp(-a))
    return a - math.log1p(math.exp(a))


@jit_strict
def log_positive(x):
    """Return ``log(x)`` of a normal positive number, within 4 units in the last place.

    Splits off the exponent and sums the series of ``2 atanh((f - 1) / (f + 1))`` for a
    fraction f in [sqrt(1/2), sqrt(2)); unlike ``math.log`` it vectorises.
    """
    bits = _bits_of(x)
    # 0x3FE6A09E667F3BCD is sqrt(1/2): the exponent of x relative to it
    k = (bits - 0x3FE6A09E667F3BCD) >> 52
    f = _float_of(bits - (k << 52))
    s = (f - 1.0) / (f + 1.0)
    # k * log(2) is added in two parts, the first of them exact
    return k * _LN2_HIGH + (2.0 * _atanh(s) + k * _LN2_LOW)


@jit_strict
def log1p_exp_of_negative(a):
    """Return ``log(1 + exp(-abs(a)))`` within 4 units in the last place, vectorisable."""
    e = exp_clipped(-abs(a))
    return 2.0 * _atanh(e / (2.0 + e))


@jit_strict
def _atanh(s):
    """Return atanh of |s| <= 1/3, by its series to s**31."""
    t = s * s
    p = 1.0 / 31.0
    p = p * t + 1.0 / 29.0
    p = p * t + 1.0 / 27.0
    p = p * t + 1.0 / 25.0
    p = p * t + 1.0 / 23.0
    p = p * t + 1.0 / 21.0
    p = p * t + 1.0 / 19.0
    p = p * t + 1.0 / 17.0
    p = p * t + 1.0 / 15.0
    p = p * t + 1.0 / 13.0
    p = p * t + 1.0 / 11.0
    p = p * t + 1.0 / 9.0
    p = p * t + 1.0 / 7.0
    p = p * t + 1.0 / 5.0
    p = p * t + 1.0 / 3.0
    return s + s * t * p
