"""Kernels of ``layers/fractional_pooling.py``: windows are placed and searched plane by plane.

All axes are taken for three, the missing ones of length 1. Backward is that of max pooling with indices.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from numba import prange
from torch import Tensor

from ...layers.fractional_pooling import FractionalMaxPoolFunction, order_of_samples
from .. import Twin, plain
from ._jit import compiled
from ._windows import inlined, three
from .max_pooling import scattered

__all__ = ["TWINS"]


# Without fast arithmetic: each step is rounded as in the formula, so that windows start where its do.
@numba.njit(error_model="numpy")
def place_windows(starts, u, length, kernel):
    T = u.dtype.type
    last = starts.size - 1
    if last > 0:
        step = T(length - kernel) / T(last)
        before = np.int64(u[0] * step)
        for o in range(last):
            starts[o] = np.int64((T(o) + u[0]) * step) - before
    if last >= 0:
        starts[last] = length - kernel


@inlined
def largest_of_windows(flat, starts, y, winner, row, plane, kernel, width):
    T = flat.dtype.type
    for o in range(y.size):
        place = corner = row + starts[o]
        best = T(-np.inf)
        for i in range(kernel[0]):
            for j in range(kernel[1]):
                first = corner + (i * plane[1] + j) * plane[2]
                for k in range(width):
                    v = flat[first + k]
                    better = (v > best) | (v != v)
                    best = v if better else best
                    place = first + k if better else place
        y[o] = best
        winner[o] = place


@compiled(
    x="planes, plane[0] * plane[1] * plane[2]",
    samples="planes, axes",
    y="planes, size[0], size[1], size[2]",
    winner="int64: planes, size[0], size[1], size[2]",
)
def fractional_max_pool_forward(x, samples, y, winner, planes, axes, order, plane, size, kernel):
    for p in prange(planes):
        starts = np.zeros((3, max(size)), np.int64)
        for axis in range(3 - axes, 3):
            u = samples[p, order[axis] : order[axis] + 1]
            place_windows(starts[axis, : size[axis]], u, plane[axis], kernel[axis])
        for o_d in range(size[0]):
            for o_h in range(size[1]):
                row = (starts[0, o_d] * plane[1] + starts[1, o_h]) * plane[2]
                places = (starts[2], y[p, o_d, o_h], winner[p, o_d, o_h])
                if kernel[2] == 2:
                    largest_of_windows(x[p], *places, row, plane, kernel, 2)
                else:
                    largest_of_windows(x[p], *places, row, plane, kernel, kernel[2])


class FractionalMaxPoolCPU(FractionalMaxPoolFunction):
    @staticmethod
    def forward(x: Tensor, samples: Tensor, kernel, size):
        ndim = len(kernel)
        plane, lead = x.shape[-ndim:], x.shape[:-ndim]
        samples = samples[: lead[0] if len(lead) > 1 else 1].contiguous()
        y = x.new_empty(*lead, *size)
        winner = torch.empty_like(y, dtype=torch.int64)
        fractional_max_pool_forward(
            x.contiguous(), samples, y, winner, math.prod(lead), ndim, three(order_of_samples(ndim), 0),
            three(plane, 1), three(size, 1), three(kernel, 1),
        )  # fmt: skip
        return y, winner

    @staticmethod
    def backward(ctx, grad_y: Tensor, _winner):
        if not plain(grad_y):
            return FractionalMaxPoolFunction.backward(ctx, grad_y, _winner)
        (winner,) = ctx.saved_tensors
        return scattered(grad_y, winner, ctx.plane), None, None, None


TWINS = {FractionalMaxPoolFunction: Twin(FractionalMaxPoolCPU, smallest=2048)}
