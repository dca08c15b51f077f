"""Kernels of ``layers/leaky.py``: one pass over memory each.

Elements of one channel that follow each other in memory make a run, cut into tiles; a tile has one slope, and
its share of that slope's gradient is one number. If channels are the last axis, a tile is some rows with all
slopes, and its share one number for each.
"""

from __future__ import annotations

import math

import torch
from numba import prange
from torch import Tensor

from ...layers.leaky import LeakyReLUFunction, PReLUFunction
from .. import Twin, plain
from ._elementwise import elementwise
from ._jit import compiled
from .batchnorm import PARTS

__all__ = ["TWINS"]

# Elements of a tile: few enough for the cache, many for vectors.
TILE = 4096


def leaky_relu_backward(x, g, slope, b, T):
    return g if x > T(0) else slope * g


@compiled(x="runs, count", weight="channels", y="runs, count")
def prelu_forward(x, weight, y, runs, count, channels, tiles, width):
    T = x.dtype.type
    for tile in prange(runs * tiles):
        run = tile // tiles
        start = tile % tiles * width
        stop = min(start + width, count)
        w = weight[run % channels]
        # Slices, as the compiler doesn't know that start is not negative.
        x_here, y_here = x[run, start:stop], y[run, start:stop]
        for i in range(x_here.size):
            y_here[i] = x_here[i] if x_here[i] > T(0) else w * x_here[i]


@compiled(
    x="runs, count", g="runs, count", weight="channels", grad_x="runs, count", grad_weight="runs, tiles"
)
def prelu_backward(x, g, weight, grad_x, grad_weight, runs, count, channels, tiles, width):
    T = x.dtype.type
    for tile in prange(runs * tiles):
        run = tile // tiles
        start = tile % tiles * width
        stop = min(start + width, count)
        w = weight[run % channels]
        x_here, g_here, grad_here = x[run, start:stop], g[run, start:stop], grad_x[run, start:stop]
        for i in range(x_here.size):
            grad_here[i] = g_here[i] if x_here[i] > T(0) else w * g_here[i]
        total = T(0)
        for i in range(x_here.size):
            total += g_here[i] * (T(0) if x_here[i] > T(0) else x_here[i])
        grad_weight[run, tile % tiles] = total


@compiled(x="rows, channels", weight="channels", y="rows, channels")
def prelu_last_forward(x, weight, y, rows, channels):
    T = x.dtype.type
    for row in prange(rows):
        for i in range(channels):
            y[row, i] = x[row, i] if x[row, i] > T(0) else weight[i] * x[row, i]


@compiled(
    x="rows, channels", g="rows, channels", weight="channels",
    grad_x="rows, channels", grad_weight="parts, channels",
)  # fmt: skip
def prelu_last_backward(x, g, weight, grad_x, grad_weight, rows, channels, parts):
    T = x.dtype.type
    for part in prange(parts):
        for i in range(channels):
            grad_weight[part, i] = 0
        for row in range(part * rows // parts, (part + 1) * rows // parts):
            for i in range(channels):
                grad_x[row, i] = g[row, i] if x[row, i] > T(0) else weight[i] * g[row, i]
            for i in range(channels):
                grad_weight[part, i] += g[row, i] * (T(0) if x[row, i] > T(0) else x[row, i])


class PReLUCPU(PReLUFunction):
    @staticmethod
    def runs(x: Tensor, weight: Tensor) -> tuple[int, int, int, int, int]:
        """Runs, how long one is, channels; the tiles of a run, and the length of one"""
        channels = weight.numel()
        runs = channels * math.prod(x.shape[:1]) if channels > 1 else 1
        count = x.numel() // runs
        return runs, count, channels, -(-count // TILE), TILE

    @staticmethod
    def forward(x: Tensor, weight: Tensor):
        x = x.contiguous()
        weight = weight.contiguous()
        y = torch.empty_like(x)
        runs, count, channels, *tiles = PReLUCPU.runs(x, weight)
        if count == 1:
            prelu_last_forward(x, weight, y, runs // channels, channels)
        else:
            prelu_forward(x, weight, y, runs, count, channels, *tiles)
        return y

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        if not plain(grad_y):
            return PReLUFunction.backward(ctx, grad_y)
        x, weight = ctx.saved_tensors
        x = x.contiguous()
        w = weight.contiguous()
        g = grad_y.contiguous()
        grad_x = torch.empty_like(x)
        runs, count, channels, tiles, width = PReLUCPU.runs(x, w)
        if count == 1:
            rows = runs // channels
            parts = min(PARTS, rows)
            shares = x.new_empty(parts, channels)
            prelu_last_backward(x, g, w, grad_x, shares, rows, channels, parts)
        else:
            shares = x.new_empty(runs, tiles)
            prelu_backward(x, g, w, grad_x, shares, runs, count, channels, tiles, width)
            shares = shares.view(-1, channels, tiles).sum(2)
        grad_weight = shares.sum(0).view(weight.shape) if ctx.needs_input_grad[1] else None
        return grad_x, grad_weight


TWINS = {
    LeakyReLUFunction: elementwise(
        LeakyReLUFunction, backward=leaky_relu_backward, options=("negative_slope",)
    ),
    PReLUFunction: Twin(PReLUCPU),
}
