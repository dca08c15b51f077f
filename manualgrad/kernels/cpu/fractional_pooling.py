"""Kernels of ``layers/fractional_pooling.py``: windows are placed and searched plane by plane.

All axes are taken for three, the missing ones of length 1. The rows of a row of windows compete place by
place, and then the columns of each window. Backward is that of max pooling with indices.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from numba import prange
from torch import Tensor

from ...function import values_known
from ...layers.fractional_pooling import FractionalMaxPoolFunction, order_of_samples
from .. import Twin, plain
from ._jit import compiled, forceinline
from ._windows import three
from .adaptive_pooling import champion, compete
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


@forceinline
def larger_of_two(best, number, starts, y, taken, tap):
    """Of two neighbours each, as :func:`champion` chooses, without a branch."""
    T = best.dtype.type
    for o in range(y.size):
        a, b = best[starts[o]], best[starts[o] + 1]
        n, m = number[starts[o]], number[starts[o] + 1]
        second = (b > a) | ((b == a) & (m < n)) | ((b != b) & ((a == a) | (m >= n)))
        y[o] = b if second else a
        taken[o] = m if second else n
        tap[o] = T(1) if second else T(0)


@compiled(
    x="planes, plane[0] * plane[1] * plane[2]",
    samples="planes, axes",
    y="planes, size[0], size[1], size[2]",
    winner="int64: planes, size[0], size[1], size[2]",
)
def fractional_max_pool_forward(x, samples, y, winner, planes, axes, order, plane, size, kernel):
    T = x.dtype.type
    rows, width = kernel[0] * kernel[1], plane[2]
    for p in prange(planes):
        starts = np.zeros((3, max(size)), np.int64)
        for axis in range(3 - axes, 3):
            u = samples[p, order[axis] : order[axis] + 1]
            place_windows(starts[axis, : size[axis]], u, plane[axis], kernel[axis])
        columns = starts[2, : size[2]]
        # From the first row of a window to each of its rows.
        ahead = np.empty(rows, np.int64)
        for n in range(rows):
            ahead[n] = (n // kernel[1] * plane[1] + n % kernel[1]) * width
        best, new_best = np.empty(width, x.dtype), np.empty(width, x.dtype)
        number, new_number = np.empty(width, x.dtype), np.empty(width, x.dtype)
        taken, tap = np.empty(size[2], x.dtype), np.empty(size[2], x.dtype)
        for o_d in range(size[0]):
            for o_h in range(size[1]):
                first = (starts[0, o_d] * plane[1] + starts[1, o_h]) * width
                best[:] = x[p, first : first + width]
                number[:] = 0
                for n in range(1, rows):
                    row = x[p, first + ahead[n] : first + ahead[n] + width]
                    compete(row, T(n), best, number, new_best, new_number)
                    best, new_best = new_best, best
                    number, new_number = new_number, number
                largest, place = y[p, o_d, o_h], winner[p, o_d, o_h]
                if kernel[2] == 2:
                    larger_of_two(best, number, columns, largest, taken, tap)
                else:
                    for o in range(columns.size):
                        w = columns[o]
                        k = champion(best[w : w + kernel[2]], number[w : w + kernel[2]])
                        largest[o], taken[o], tap[o] = best[w + k], number[w + k], k
                for o in range(columns.size):
                    place[o] = first + ahead[np.int64(taken[o])] + columns[o] + np.int64(tap[o])


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


def takes(x: Tensor, samples: Tensor, kernel, size) -> bool:
    # With others, the last digits of (o + u) α decide where windows start, which may be outside.
    if not values_known(samples):
        return False
    least, most = torch.aminmax(samples)
    return least.item() >= 0 and most.item() <= 1


TWINS = {
    FractionalMaxPoolFunction: Twin(
        FractionalMaxPoolCPU, smallest=2048, takes=takes, asks="random numbers between 0 and 1"
    )
}
