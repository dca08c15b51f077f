"""Kernels of ``layers/unpooling.py``: a plane gets its zeros and its elements while it is in the cache.

That the indices are inside of their planes is checked before, for all of them at once.
"""

from __future__ import annotations

import math

from numba import prange
from torch import Tensor

from ...layers.unpooling import MaxUnpoolFunction
from .. import Twin, plain
from ._jit import compiled

__all__ = ["TWINS"]


@compiled(y="planes, size", x="planes, count", index="int64: planes, count")
def unpool_forward(y, x, index, planes, count, size):
    for p in prange(planes):
        y[p, :] = 0
        for o in range(count):
            y[p, index[p, o]] = x[p, o]


@compiled(g="planes, size", index="int64: planes, count", grad_x="planes, count")
def unpool_backward(g, index, grad_x, planes, count, size):
    for p in prange(planes):
        for o in range(count):
            grad_x[p, o] = g[p, index[p, o]]


class MaxUnpoolCPU(MaxUnpoolFunction):
    @staticmethod
    def forward(x: Tensor, index: Tensor, plane):
        lead = x.shape[: -len(plane)]
        y = x.new_empty(*lead, *plane)
        planes = math.prod(lead)
        unpool_forward(y, x.contiguous(), index.contiguous(), planes, x.numel() // planes, math.prod(plane))
        return y

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        if not plain(grad_y):
            return MaxUnpoolFunction.backward(ctx, grad_y)
        (index,) = ctx.saved_tensors
        grad_x = grad_y.new_empty(index.shape)
        size = math.prod(ctx.plane)
        planes = grad_y.numel() // size
        unpool_backward(
            grad_y.contiguous(), index.contiguous(), grad_x, planes, index.numel() // planes, size
        )
        return grad_x, None, None


TWINS = {MaxUnpoolFunction: Twin(MaxUnpoolCPU, smallest=2048)}
