"""Kernels of ``layers/gating.py``: one pass over memory each, the gate computed again in backward."""

from __future__ import annotations

import math

import torch
from numba import prange
from torch import Tensor

from ...layers.gating import GELUFunction, GLUFunction, MishFunction, SiLUFunction
from .. import Twin, plain
from ._elementwise import backward_of, elementwise, forward_of, mapped, mapped_backward
from ._jit import compiled
from ._math import exp, inlined, normal_cdf, normal_pdf_and_cdf, sigmoid

__all__ = ["TWINS"]

ROOT_2_OVER_PI = math.sqrt(2 / math.pi)
CUBIC = 0.044715
# Elements of a tile of a row, as long rows are shared between threads.
TILE = 4096


def silu(x, a, b, T):
    return x * sigmoid(x)


def silu_backward(x, g, a, b, T):
    sigma = sigmoid(x)
    return g * (sigma * (T(1) + x * (T(1) - sigma)))


@inlined
def mish_gate(x, T):
    """t = tanh log(1 + e^x) = ((1 + e^x)² − 1) / ((1 + e^x)² + 1), of e^−|x|, which cannot overflow"""
    e = exp(-abs(x))
    n = e * (e + T(2)) if x < T(0) else T(1) + T(2) * e
    return n / (n + (T(2) if x < T(0) else T(2) * e * e))


def mish(x, a, b, T):
    return x * mish_gate(x, T)


def mish_backward(x, g, a, b, T):
    t = mish_gate(x, T)
    return g * (t + x * sigmoid(x) * (T(1) - t * t))


def gelu(x, a, b, T):
    return x * normal_cdf(x)


def gelu_backward(x, g, a, b, T):
    pdf, cdf = normal_pdf_and_cdf(x)
    return g * (cdf + x * pdf)


def gelu_tanh(x, a, b, T):
    u = T(ROOT_2_OVER_PI) * (x + T(CUBIC) * x * x * x)
    return x * sigmoid(T(2) * u)  # σ(2u) = (1 + tanh u) / 2


def gelu_tanh_backward(x, g, a, b, T):
    u = T(ROOT_2_OVER_PI) * (x + T(CUBIC) * x * x * x)
    grad_u = T(ROOT_2_OVER_PI) * (T(1) + T(3 * CUBIC) * x * x)
    sigma = sigmoid(T(2) * u)
    return g * (sigma + x * (T(2) * sigma * (T(1) - sigma) * grad_u))


GELU_FORWARD = {"none": forward_of(gelu), "tanh": forward_of(gelu_tanh)}
GELU_BACKWARD = {"none": backward_of(gelu_backward), "tanh": backward_of(gelu_tanh_backward)}


class GELUCPU(GELUFunction):
    @staticmethod
    def forward(x: Tensor, approximate: str):
        return mapped(GELU_FORWARD[approximate], x)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        if not plain(grad_y):
            return GELUFunction.backward(ctx, grad_y)
        (x,) = ctx.saved_tensors
        return mapped_backward(GELU_BACKWARD[ctx.approximate], x, grad_y), None


@compiled(x="rows, 2, half", y="rows, half")
def glu_forward(x, y, rows, half, tiles, width):
    for tile in prange(rows * tiles):
        row = tile // tiles
        start = tile % tiles * width
        stop = min(start + width, half)
        # Slices, as the compiler doesn't know that start is not negative.
        a, b = x[row, 0, start:stop], x[row, 1, start:stop]
        out = y[row, start:stop]
        for i in range(out.size):
            out[i] = a[i] * sigmoid(b[i])


@compiled(x="rows, 2, half", g="rows, half", grad_x="rows, 2, half")
def glu_backward(x, g, grad_x, rows, half, tiles, width):
    T = x.dtype.type
    for tile in prange(rows * tiles):
        row = tile // tiles
        start = tile % tiles * width
        stop = min(start + width, half)
        a, b = x[row, 0, start:stop], x[row, 1, start:stop]
        grad_a, grad_b = grad_x[row, 0, start:stop], grad_x[row, 1, start:stop]
        grad_y = g[row, start:stop]
        for i in range(grad_y.size):
            sigma = sigmoid(b[i])
            grad_a[i] = grad_y[i] * sigma
            grad_b[i] = grad_y[i] * (a[i] * (sigma * (T(1) - sigma)))


class GLUCPU(GLUFunction):
    @staticmethod
    def tiles(x: Tensor, dim: int) -> tuple[int, int, int, int]:
        """Rows, each of which is a and then b; how long a is; its tiles, and the length of one"""
        rows = math.prod(x.shape[: dim % x.dim()])
        half = x.numel() // rows // 2
        return rows, half, -(-half // TILE), TILE

    @staticmethod
    def forward(x: Tensor, dim: int):
        shape = list(x.shape)
        shape[dim] //= 2
        y = x.new_empty(shape)
        glu_forward(x.contiguous(), y, *GLUCPU.tiles(x, dim))
        return y

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        if not plain(grad_y):
            return GLUFunction.backward(ctx, grad_y)
        (x,) = ctx.saved_tensors
        x = x.contiguous()
        grad_x = torch.empty_like(x)
        glu_backward(x, grad_y.contiguous(), grad_x, *GLUCPU.tiles(x, ctx.dim))
        return grad_x, None


TWINS = {
    SiLUFunction: elementwise(SiLUFunction, forward=silu, backward=silu_backward),
    MishFunction: elementwise(MishFunction, forward=mish, backward=mish_backward),
    GELUFunction: Twin(GELUCPU),
    GLUFunction: Twin(GLUCPU),
}
