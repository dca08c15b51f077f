"""Elementary functions for kernels, ``from ._math import exp``: each takes float32 or float64.

Those of float32 are polynomials without branches, which the compiler turns into vector instructions; a call
of the C library, as those of float64 are, stays a call, and is many times slower. They are within 4 units in
the last place over all of float32 (Φ, in its far tail, within 5), and right at infinities, where they
overflow and where they vanish; NaN gives NaN. None may be compiled with reassociation allowed: it would take
x − k·HIGH − k·LOW for x − k·(HIGH + LOW), and lose the digits that LOW is there for.

The coefficients are those of the smallest largest relative error, found by Remez' exchange in 40 digits (the
rational one by its linearized form in 50), then rounded to float32. What error they leave stands beside them.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import overload

__all__ = [
    "exp",
    "expm1",
    "log",
    "log1p",
    "log1p_exp",
    "normal_cdf",
    "normal_pdf",
    "normal_pdf_and_cdf",
    "sigmoid",
    "tanh",
]

f32 = np.float32
ZERO, HALF, ONE, TWO = f32(0), f32(0.5), f32(1), f32(2)

LOG2_E = f32(1.4426950408889634)
# ln 2, of which HIGH has so few digits that its product with a small whole number is exact.
LN2_HIGH, LN2_LOW = f32(0.693359375), f32(-2.12194440054690583e-4)
# Added to a small number, it leaves the nearest whole number in the lowest bits.
ROUNDER = f32(1.5 * 2**23)
ROUNDER_BITS = np.int32(0x4B400000)
# Below the first, e^x is 0, and above the second, infinite.
UNDERFLOW, OVERFLOW = f32(-104), f32(89)

# (e^r − 1 − r) / r² on |r| ≤ ln 2 / 2; 1.3e-8 of e^r − 1
E2, E3, E4, E5, E6 = (
    f32(c) for c in (0.499999981365, 0.166665433517, 0.0416672071774, 0.00836655690274, 0.00138819651891)
)
# (2 artanh √v / √v − 2) / v on 0 ≤ v ≤ 1/9; 4.5e-9 of 2 artanh √v / √v
A0, A1, A2, A3 = (f32(c) for c in (0.666664133862, 0.400216825456, 0.279994389314, 0.280228689865))
# Φ(−a) / e^(−a²/2) on 0 ≤ a ≤ 14.7, a quotient of two polynomials, whose coefficients were then moved among
# the nearest float32; 9.1e-9 as rounded
P0, P1, P2, P3, P4 = (f32(c) for c in (0.5, 0.438696504, 0.183533087, 0.0407338254, 0.00413127802))
Q1, Q2, Q3, Q4, Q5 = (f32(c) for c in (1.67527795, 1.20373976, 0.470257342, 0.102110863, 0.0103554623))
# A number is 2^k m with √½ ≤ m < √2; the smallest one that has all its digits
SQRT_HALF_BITS = np.int32(0x3F3504F3)
NORMAL = f32(2.0**-126)
SCALE = f32(2.0**24)
# Where Φ′ and Φ(−a) are 0, in float32
FAR = f32(15)
UPPER_HALF = np.int32(-4096)

RSQRT_2_PI = 1 / math.sqrt(2 * math.pi)
RSQRT_2_PI_32 = f32(RSQRT_2_PI)
RSQRT_2 = math.sqrt(0.5)

strict: Any = {"fastmath": {"contract"}, "forceinline": True, "error_model": "numpy"}
inlined = numba.njit(**strict)


def exp(x):
    """e^x"""
    raise NotImplementedError("for kernels only")


def expm1(x):
    """e^x − 1, which is about x where x is small"""
    raise NotImplementedError("for kernels only")


def log(x):
    """The natural logarithm"""
    raise NotImplementedError("for kernels only")


def log1p(x):
    """log(1 + x), which is about x where x is small"""
    raise NotImplementedError("for kernels only")


def log1p_exp(x):
    """log(1 + e^x)"""
    raise NotImplementedError("for kernels only")


def sigmoid(x):
    """1 / (1 + e^−x)"""
    raise NotImplementedError("for kernels only")


def tanh(x):
    """(e^x − e^−x) / (e^x + e^−x)"""
    raise NotImplementedError("for kernels only")


def normal_pdf_and_cdf(x) -> Any:
    """Φ′(x) = e^(−x²/2) / √(2π) and Φ(x), the probability that a standard normal variable is below x"""
    raise NotImplementedError("for kernels only")


@inlined
def normal_cdf(x):
    """Φ(x)"""
    return normal_pdf_and_cdf(x)[1]


@inlined
def normal_pdf(x):
    """Φ′(x)"""
    return normal_pdf_and_cdf(x)[0]


@inlined
def bits(x):
    return np.float32(x).view(np.int32)


@inlined
def power_of_two(k):
    """2^k for −126 ≤ k ≤ 127"""
    return np.int32((k + np.int32(127)) << np.int32(23)).view(np.float32)


@inlined
def reduced(x, low):
    """A whole number k, as an integer and as a float, and r: x + low = k ln 2 + r with |r| ≤ ln 2 / 2"""
    shifted = x * LOG2_E + ROUNDER
    k = shifted - ROUNDER
    r = ((x - k * LN2_HIGH) - k * LN2_LOW) + low
    return np.int32(bits(shifted) - ROUNDER_BITS), r


@inlined
def expm1_near_0(r):
    """e^r − 1 for |r| ≤ ln 2 / 2"""
    return r + r * r * (E2 + r * (E3 + r * (E4 + r * (E5 + r * E6))))


@inlined
def parts_of_exp(x, low):
    """m, f and g: e^(x + low) = (1 + m) f g, where low is small beside x"""
    x = UNDERFLOW if x < UNDERFLOW else x
    x = OVERFLOW if x > OVERFLOW else x
    k, r = reduced(x, low)
    # 2^k in two factors: there is no single one for k = 128, nor below −126.
    half = np.int32(k >> np.int32(1))
    return expm1_near_0(r), power_of_two(half), power_of_two(np.int32(k - half))


@inlined
def exp_32(x):
    m, f, g = parts_of_exp(x, ZERO)
    return (ONE + m) * f * g


@inlined
def expm1_32(x):
    least = f32(-18)
    x = least if x < least else x
    x = OVERFLOW if x > OVERFLOW else x
    k, r = reduced(x, ZERO)
    # 2^k (e^r − 1) + (2^k − 1), of which half is taken, as there is no 2^128
    scale = power_of_two(np.int32(k - np.int32(1)))
    return (expm1_near_0(r) * scale + (scale - HALF)) * TWO


@inlined
def log1p_of_fraction(x):
    """log(1 + x) for 0 ≤ x ≤ 1, which is 2 artanh(x / (2 + x))"""
    s = x / (TWO + x)
    v = s * s
    return TWO * s + s * v * (A0 + v * (A1 + v * (A2 + v * A3)))


@inlined
def split(x):
    """k and m: x = 2^k m with √½ ≤ m < √2, for positive x"""
    tiny = x < NORMAL
    i = bits(x * SCALE if tiny else x)
    k = np.int32((i - SQRT_HALF_BITS) >> np.int32(23))
    m = np.int32(i - np.int32(k << np.int32(23))).view(np.float32)
    return f32(np.int32(k - np.int32(24)) if tiny else k), m


@inlined
def log_of_parts(k, s):
    """k ln 2 + 2 artanh s"""
    v = s * s
    return k * LN2_HIGH + (TWO * s + (s * v * (A0 + v * (A1 + v * (A2 + v * A3))) + k * LN2_LOW))


@inlined
def beyond_log(x, y):
    """log x: y if x is positive and finite, else as it should be"""
    y = f32(-np.inf) if x == ZERO else y
    y = f32(np.nan) if x < ZERO else y
    return y if x < f32(np.inf) else x


@inlined
def log_32(x):
    k, m = split(x)
    return beyond_log(x, log_of_parts(k, (m - ONE) / (m + ONE)))


@inlined
def log1p_32(x):
    k, m = split(ONE + x)
    # Near 0 the sum would round x.
    near = abs(x) < HALF
    numerator, denominator = (x if near else m - ONE), (TWO + x if near else m + ONE)
    return beyond_log(ONE + x, log_of_parts(ZERO if near else k, numerator / denominator))


@inlined
def log1p_exp_32(x):
    return (x if x > ZERO else ZERO) + log1p_of_fraction(exp_32(-abs(x)))


@inlined
def sigmoid_32(x):
    e = exp_32(-abs(x))
    return (e if x < ZERO else ONE) / (ONE + e)


@inlined
def tanh_32(x):
    e = expm1_32(f32(-2) * abs(x))
    return np.copysign(e / (TWO + e), x)


@inlined
def normal_32(x):
    a = abs(x)
    a = FAR if a > FAR else a
    # Of a² a rounding error would be one of e^(−a²/2) as many times larger as a² is: it is taken exactly.
    high = np.int32(bits(a) & UPPER_HALF).view(np.float32)
    low = (a - high) * (a + high)
    m, f, g = parts_of_exp(-HALF * (high * high), -HALF * low)
    # Even and odd powers apart, so that fewer roundings are behind each other.
    s = a * a
    p = P0 + (a * P1 + s * (P2 + a * P3 + s * P4))
    q = (ONE + s * (Q2 + s * Q4)) + a * (Q1 + s * (Q3 + s * Q5))
    # c (1 + m) as c + c m, which is rounded once.
    c = p / q
    beyond = (c + c * m) * f * g
    return (RSQRT_2_PI_32 + RSQRT_2_PI_32 * m) * f * g, (beyond if x < ZERO else ONE - beyond)


@inlined
def log1p_exp_64(x):
    return (x if x > 0 else 0.0) + math.log1p(math.exp(-abs(x)))


@inlined
def sigmoid_64(x):
    e = math.exp(-abs(x))
    return (e if x < 0 else 1.0) / (1.0 + e)


@inlined
def normal_64(x):
    return math.exp(-0.5 * x * x) * RSQRT_2_PI, 0.5 * math.erfc(-x * RSQRT_2)


def of_either(function, single, double):
    """Let ``function`` in a kernel be ``single`` of float32, and ``double`` of float64."""

    @overload(function, jit_options=strict)
    def choice(x):
        return (lambda x: single(x)) if x == types.float32 else (lambda x: double(x))


of_either(exp, exp_32, inlined(lambda x: math.exp(x)))
of_either(expm1, expm1_32, inlined(lambda x: math.expm1(x)))
of_either(log, log_32, inlined(lambda x: math.log(x)))
of_either(log1p, log1p_32, inlined(lambda x: math.log1p(x)))
of_either(log1p_exp, log1p_exp_32, log1p_exp_64)
of_either(sigmoid, sigmoid_32, sigmoid_64)
of_either(tanh, tanh_32, inlined(lambda x: math.tanh(x)))
of_either(normal_pdf_and_cdf, normal_32, normal_64)
