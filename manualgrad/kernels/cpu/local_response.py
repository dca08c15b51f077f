"""Kernels of ``layers/local_response.py``: all channels of some positions at a time, which stay in the cache.

Both layers are one loop: windows of so many channels before and after, and perhaps channel 0. The power −3/4,
which both have by default, is made of two square roots, and those are vector instructions.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from ...layers.local_response import CrossMapLRN2dFunction, LocalResponseNormFunction
from .. import Twin, plain
from ._jit import compiled, inlined
from ._math import inlined as strict

__all__ = ["TWINS"]

# Positions at a time.
TILE = 256


@strict
def damped(x, d):
    """x d^(−3/4), without leave to divide by way of an estimated reciprocal, which at d = ∞ gives NaN"""
    root = np.sqrt(d)
    return x / (root * np.sqrt(root))


@strict
def quotient(x, d):
    return x / d


@inlined
def add_squares(total, x):
    for s in range(total.size):
        total[s] += x[s] * x[s]


@inlined
def add(total, x):
    for s in range(total.size):
        total[s] += x[s]


@compiled(x="batch, channels, size", y="batch, channels, size", d="batch, channels, size")
def local_response_forward(x, y, d, batch, channels, size, before, after, with_first, slope, k):
    T = x.dtype.type
    tiles = (size + TILE - 1) // TILE
    for tile in prange(batch * tiles):
        b, start = tile // tiles, tile % tiles * TILE
        stop = min(start + TILE, size)
        total = np.empty(stop - start, x.dtype)
        for c in range(channels):
            total[:] = 0
            for j in range(max(c - before, 0), min(c + after + 1, channels)):
                add_squares(total, x[b, j, start:stop])
            if with_first and c > before:
                add_squares(total, x[b, 0, start:stop])
            x_c, y_c, d_c = x[b, c, start:stop], y[b, c, start:stop], d[b, c, start:stop]
            for s in range(total.size):
                d_c[s] = T(k) + T(slope) * total[s]
            for s in range(total.size):
                y_c[s] = damped(x_c[s], T(k) + T(slope) * total[s])


@compiled(
    x="batch, channels, size", d="batch, channels, size", g="batch, channels, size",
    grad_x="batch, channels, size",
)  # fmt: skip
def local_response_backward(x, d, g, grad_x, batch, channels, size, before, after, with_first, factor):
    T = x.dtype.type
    tiles = (size + TILE - 1) // TILE
    for tile in prange(batch * tiles):
        b, start = tile // tiles, tile % tiles * TILE
        stop = min(start + TILE, size)
        direct = np.empty((channels, stop - start), x.dtype)
        v = np.empty((channels, stop - start), x.dtype)
        total = np.empty(stop - start, x.dtype)
        for c in range(channels):
            x_c, d_c, g_c = x[b, c, start:stop], d[b, c, start:stop], g[b, c, start:stop]
            direct_c, v_c = direct[c], v[c]
            for s in range(total.size):
                direct_c[s] = damped(g_c[s], d_c[s])
            for s in range(total.size):
                v_c[s] = quotient(direct_c[s] * x_c[s], d_c[s])
        for j in range(channels):
            total[:] = 0
            for c in range(max(j - after, 0), min(j + before + 1, channels)):
                add(total, v[c])
            if with_first and j == 0:
                for c in range(before + 1, channels):
                    add(total, v[c])
            x_j, grad_j, direct_j = x[b, j, start:stop], grad_x[b, j, start:stop], direct[j]
            for s in range(total.size):
                grad_j[s] = direct_j[s] - T(factor) * x_j[s] * total[s]


def takes(x, size, alpha, beta, k) -> bool:
    return beta == 0.75 and x.is_contiguous()


def response(x: Tensor, before: int, after: int, with_first: bool, slope: float, k: float):
    y, d = torch.empty_like(x), torch.empty_like(x)
    batch, channels = x.shape[:2]
    local_response_forward(
        x, y, d, batch, channels, x.numel() // (batch * channels), before, after, with_first, slope, float(k)
    )
    return y, d


def gradient(ctx, grad_y: Tensor, before: int, after: int, with_first: bool) -> Tensor:
    x, d = ctx.saved_tensors
    grad_x = torch.empty_like(x)
    batch, channels = x.shape[:2]
    factor = 2 * ctx.alpha * ctx.beta / ctx.size
    local_response_backward(
        x, d, grad_y.contiguous(), grad_x, batch, channels, x.numel() // (batch * channels),
        before, after, with_first, factor,
    )  # fmt: skip
    return grad_x


class LocalResponseNormCPU(LocalResponseNormFunction):
    @staticmethod
    def forward(x: Tensor, size: int, alpha: float, beta: float, k: float):
        return response(x, size // 2, (size - 1) // 2, False, alpha / size, k)

    @staticmethod
    def backward(ctx, grad_y: Tensor, _d):
        if not plain(grad_y):
            return LocalResponseNormFunction.backward(ctx, grad_y, _d)
        return gradient(ctx, grad_y, ctx.size // 2, (ctx.size - 1) // 2, False), None, None, None, None


class CrossMapLRN2dCPU(CrossMapLRN2dFunction):
    @staticmethod
    def forward(x: Tensor, size: int, alpha: float, beta: float, k: float):
        h = (size - 1) // 2
        return response(x, h, h, True, alpha / size, k)

    @staticmethod
    def backward(ctx, grad_y: Tensor, _d):
        if not plain(grad_y):
            return CrossMapLRN2dFunction.backward(ctx, grad_y, _d)
        h = (ctx.size - 1) // 2
        return gradient(ctx, grad_y, h, h, True), None, None, None, None


TWINS = {
    LocalResponseNormFunction: Twin(
        LocalResponseNormCPU, takes=takes, asks="a contiguous input, and beta=0.75"
    ),
    CrossMapLRN2dFunction: Twin(CrossMapLRN2dCPU, takes=takes, asks="a contiguous input, and beta=0.75"),
}
