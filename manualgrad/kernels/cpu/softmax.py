"""Kernels of ``layers/softmax.py``: one pass over y and g for the sum, one for the gradient.

Along the last axis a row stays in the cache between the two; along another axis a block of neighbours does.
The forward is ATen's, which nothing here is faster than.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import prange
from torch import Tensor

from ...layers.softmax import LogSoftmaxFunction, SoftmaxFunction, SoftminFunction
from .. import Twin, plain
from ._jit import compiled
from ._math import exp

__all__ = ["TWINS"]

# Neighbours that are summed at once along an axis that is not the last.
BLOCK = 512


@compiled(y="rows, count, inner", g="rows, count, inner", grad_x="rows, count, inner")
def softmax_backward(y, g, grad_x, rows, count, inner, sign):
    T = y.dtype.type
    if inner == 1:
        for row in prange(rows):
            total = T(0)
            for i in range(count):
                total += g[row, i, 0] * y[row, i, 0]
            for i in range(count):
                grad_x[row, i, 0] = T(sign) * y[row, i, 0] * (g[row, i, 0] - total)
    else:
        blocks = (inner + BLOCK - 1) // BLOCK
        for task in prange(rows * blocks):
            row, start = task // blocks, task % blocks * BLOCK
            width = min(BLOCK, inner - start)
            total = np.zeros(width, y.dtype)
            for i in range(count):
                ys, gs = y[row, i, start : start + width], g[row, i, start : start + width]
                for k in range(width):
                    total[k] += gs[k] * ys[k]
            for i in range(count):
                ys, gs = y[row, i, start : start + width], g[row, i, start : start + width]
                grad = grad_x[row, i, start : start + width]
                for k in range(width):
                    grad[k] = T(sign) * ys[k] * (gs[k] - total[k])


@compiled(y="rows, count, inner", g="rows, count, inner", grad_x="rows, count, inner")
def log_softmax_backward(y, g, grad_x, rows, count, inner):
    T = y.dtype.type
    if inner == 1:
        for row in prange(rows):
            total = T(0)
            for i in range(count):
                total += g[row, i, 0]
            for i in range(count):
                grad_x[row, i, 0] = g[row, i, 0] - exp(y[row, i, 0]) * total
    else:
        blocks = (inner + BLOCK - 1) // BLOCK
        for task in prange(rows * blocks):
            row, start = task // blocks, task % blocks * BLOCK
            width = min(BLOCK, inner - start)
            total = np.zeros(width, y.dtype)
            for i in range(count):
                gs = g[row, i, start : start + width]
                for k in range(width):
                    total[k] += gs[k]
            for i in range(count):
                ys, gs = y[row, i, start : start + width], g[row, i, start : start + width]
                grad = grad_x[row, i, start : start + width]
                for k in range(width):
                    grad[k] = gs[k] - exp(ys[k]) * total[k]


def backward_by(formula, loop, *options):
    """A backward that runs ``loop`` over y and its gradient."""

    def kernel_backward(ctx, grad_y: Tensor):
        if not plain(grad_y):
            return formula.backward(ctx, grad_y)
        (y,) = ctx.saved_tensors
        y, g = y.contiguous(), grad_y.contiguous()
        grad_x = torch.empty_like(y)
        shape, dim = y.shape or (1,), ctx.dim % max(y.dim(), 1)
        loop(y, g, grad_x, math.prod(shape[:dim]), shape[dim], math.prod(shape[dim + 1 :]), *options)
        return grad_x, None

    return staticmethod(kernel_backward)


class SoftmaxCPU(SoftmaxFunction):
    backward = backward_by(SoftmaxFunction, softmax_backward, 1)


class LogSoftmaxCPU(LogSoftmaxFunction):
    backward = backward_by(LogSoftmaxFunction, log_softmax_backward)


class SoftminCPU(SoftminFunction):
    backward = backward_by(SoftminFunction, softmax_backward, -1)


TWINS = {
    SoftmaxFunction: Twin(SoftmaxCPU),
    LogSoftmaxFunction: Twin(LogSoftmaxCPU),
    SoftminFunction: Twin(SoftminCPU),
}
