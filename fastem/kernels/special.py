"""Scalar special functions, written so that the compiler can inline and vectorise them."""

import math

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels._jit import jit_strict

_LOG2_E = 1.4426950408889634
_LN2_HIGH = 6.93147180369123816490e-01  # the low 32 bits are zero: k * _LN2_HIGH is exact
_LN2_LOW = 1.90821492927058770002e-10
_SHIFT = 6755399441055744.0  # 1.5 * 2**52: a sum with it has the rounded integer in its low bits


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
    """Return e and f with ``exp(x) = f (1 + e)``, where f is a power of two and |e| < 0.42.

    Range reduction of Cody and Waite, and a Taylor polynomial of degree 13 for
    |r| <= log(2) / 2. ``math.exp`` is a library call, which prevents vectorisation.
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
    """Return ``exp(x)`` with x clipped to [-708, 709]; error at most 2 ulp."""
    # both comparisons are false for NaN, which is returned
    x = -708.0 if x < -708.0 else x
    x = 709.0 if x > 709.0 else x
    excess, scale = _exp_in_parts(x)
    return (excess + 1.0) * scale


@jit_strict
def expm1_clipped(x):
    """Return ``exp(x) - 1`` for x <= 0; error at most 4 ulp.

    ``scale - 1`` is added last, which avoids cancellation near zero. The result is -1 for x
    below -708.
    """
    x = -708.0 if x < -708.0 else x  # false for NaN, which is returned
    excess, scale = _exp_in_parts(x)
    return excess * scale + (scale - 1.0)


@jit_strict
def add_in_order(a, b):
    """Return ``a + b``, rounded before any further operation.

    Log-space sums subtract the largest of several such sums from each of them. If the compiler
    reordered this into ``(a - largest) + b``, the largest sum would not give exactly zero.
    """
    return a + b


@jit_strict
def log_sigmoid(a):
    """Return ``log(1 / (1 + exp(-a)))`` without overflow or cancellation."""
    if a >= 0.0:
        return -math.log1p(math.exp(-a))
    return a - math.log1p(math.exp(a))


@jit_strict
def sigmoids(a):
    """Return ``1 / (1 + exp(-a))`` and ``1 / (1 + exp(a))``, each with all its digits."""
    e = exp_clipped(-abs(a))
    larger = 1.0 / (1.0 + e)
    smaller = e * larger
    return larger if a >= 0.0 else smaller, smaller if a >= 0.0 else larger


@jit_strict
def log_positive(x):
    """Return ``log(x)`` of a normal positive number; error at most 4 ulp.

    With ``x = 2**k f`` and f in [sqrt(1/2), sqrt(2)), ``log(f) = 2 atanh((f - 1) / (f + 1))``
    is computed by its series. Unlike ``math.log``, this vectorises.
    """
    bits = _bits_of(x)
    # 0x3FE6A09E667F3BCD holds the bits of sqrt(1/2); k is the exponent of x relative to it
    k = (bits - 0x3FE6A09E667F3BCD) >> 52
    f = _float_of(bits - (k << 52))
    s = (f - 1.0) / (f + 1.0)
    # k * log(2) is added in two parts; the first part is exact
    return k * _LN2_HIGH + (2.0 * _atanh(s) + k * _LN2_LOW)


@jit_strict
def log1p_exp_of_negative(a):
    """Return ``log(1 + exp(-abs(a)))``; error at most 4 ulp."""
    e = exp_clipped(-abs(a))
    return 2.0 * _atanh(e / (2.0 + e))


@jit_strict
def _atanh(s):
    """Return ``atanh(s)`` for |s| <= 1/3, by its series up to s**31."""
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
