"""Kernels of ``layers/pooling.py`` for adaptive pooling, whose windows have different lengths.

All axes are taken for three, the missing ones of length 1. Of a row of windows the rows of the input are
combined first, place by place, in vectors, and only then the places of each window.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from numba import prange
from torch import Tensor

from ...layers.pooling import AdaptiveAvgPoolFunction, AdaptiveMaxPoolFunction
from .. import Twin, plain
from ._jit import FASTMATH, compiled, forceinline
from ._windows import three
from .batchnorm import CHUNK
from .max_pooling import scattered

__all__ = ["TWINS", "champion", "compete"]


@forceinline
def window(o, windows, length):
    """Of ``windows`` along an axis the ``o``-th: its first element, and the one behind its last."""
    return o * length // windows, -(-(o + 1) * length // windows)


@forceinline
def total_of(x):
    """Σ x in float64; parts that are exact to their last digits in the precision of x."""
    T = x.dtype.type
    total = 0.0
    for start in range(0, x.size, CHUNK):
        chunk = x[start : start + CHUNK]
        part = T(0)
        for k in range(chunk.size):
            part += chunk[k]
        total += part
    return total


@compiled(x="planes, plane[0], plane[1], plane[2]", y="planes, size[0], size[1], size[2]")
def adaptive_avg_pool_forward(x, y, planes, plane, size):
    for p in prange(planes):
        rows = np.empty(plane[2], x.dtype)
        for o_d in range(size[0]):
            d, d_end = window(o_d, size[0], plane[0])
            for o_h in range(size[1]):
                h, h_end = window(o_h, size[1], plane[1])
                count = (d_end - d) * (h_end - h)
                whole = x[p, d, h]
                if count > 1:
                    whole = rows
                    rows[:] = 0
                    for i in range(d, d_end):
                        for j in range(h, h_end):
                            row = x[p, i, j]
                            for k in range(row.size):
                                rows[k] += row[k]
                for o in range(size[2]):
                    w, w_end = window(o, size[2], plane[2])
                    y[p, o_d, o_h, o] = total_of(whole[w:w_end]) / (count * (w_end - w))


# The gradient of x comes first: the work is to fill it, and windows may be few.
@compiled(grad_x="planes, plane[0], plane[1], plane[2]", g="planes, size[0], size[1], size[2]")
def adaptive_avg_pool_backward(grad_x, g, planes, plane, size):
    T = g.dtype.type
    overlap = plane[0] % size[0] != 0 or plane[1] % size[1] != 0
    for p in prange(planes):
        rows = np.empty(plane[2], g.dtype)
        if overlap:
            grad_x[p] = 0
        for o_d in range(size[0]):
            d, d_end = window(o_d, size[0], plane[0])
            for o_h in range(size[1]):
                h, h_end = window(o_h, size[1], plane[1])
                count = (d_end - d) * (h_end - h)
                whole = rows
                if count == 1 and not overlap:
                    whole = grad_x[p, d, h]
                filled = 0
                for o in range(size[2]):
                    w, w_end = window(o, size[2], plane[2])
                    each = g[p, o_d, o_h, o] / T(count * (w_end - w))
                    for k in range(w, filled):
                        whole[k] += each
                    new = whole[max(w, filled) : w_end]
                    for k in range(new.size):
                        new[k] = each
                    filled = w_end
                if count == 1 and not overlap:
                    continue
                for i in range(d, d_end):
                    for j in range(h, h_end):
                        row = grad_x[p, i, j]
                        if overlap:
                            for k in range(row.size):
                                row[k] += rows[k]
                        else:
                            for k in range(row.size):
                                row[k] = rows[k]


@forceinline
def compete(x, n, best, number, new_best, new_number):
    """Let the ``n``-th row compete with the best of those before it, place by place."""
    # Not in place: a store of what may be unchanged becomes a masked one, which is many times slower.
    for k in range(best.size):
        v, m, before = x[k], best[k], number[k]
        wins = (v > m) | (v != v)
        new_best[k] = v if wins else m
        new_number[k] = n if wins else before


@forceinline
def champion(best, number):
    """Of the best of some rows, and the numbers of these rows, the place of the largest.

    Row by row, the first one among equals, and of several NaN the last.
    """
    c = 0
    for k in range(1, best.size):
        a, b = best[c], best[k]
        if b > a or (b == a and number[k] < number[c]) or (b != b and (a == a or number[k] >= number[c])):
            c = k
    return c


@numba.njit(fastmath={*FASTMATH, "nnan"}, forceinline=True)
def largest_number(x):
    """Of a row without NaN: only then the compiler may compare in vectors."""
    m = x[0]
    for k in range(x.size):
        m = x[k] if x[k] > m else m
    return m


@forceinline
def place_of_largest(x):
    """In a row, the place of the first largest element, or of the last NaN."""
    nans = np.int32(0)
    for k in range(x.size):
        nans += np.int32(x[k] != x[k])
    if nans:
        for k in range(x.size - 1, -1, -1):
            if x[k] != x[k]:
                return k
    m = largest_number(x)
    none = np.int32(x.size)
    first = none
    for k in range(none):
        equal = np.int32(k) if x[k] == m else none
        first = equal if equal < first else first
    return np.int64(first)


@compiled(
    x="planes, plane[0], plane[1], plane[2]",
    y="planes, size[0], size[1], size[2]",
    winner="int64: planes, size[0], size[1], size[2]",
)
def adaptive_max_pool_forward(x, y, winner, planes, plane, size):
    T = x.dtype.type
    for p in prange(planes):
        best, new_best = np.empty(plane[2], x.dtype), np.empty(plane[2], x.dtype)
        number, new_number = np.empty(plane[2], x.dtype), np.empty(plane[2], x.dtype)
        for o_d in range(size[0]):
            d, d_end = window(o_d, size[0], plane[0])
            for o_h in range(size[1]):
                h, h_end = window(o_h, size[1], plane[1])
                count = (d_end - d) * (h_end - h)
                if count > 1:
                    best[:] = x[p, d, h]
                    number[:] = 0
                    for n in range(1, count):
                        row = x[p, d + n // (h_end - h), h + n % (h_end - h)]
                        compete(row, T(n), best, number, new_best, new_number)
                        best, new_best = new_best, best
                        number, new_number = new_number, number
                for o in range(size[2]):
                    w, w_end = window(o, size[2], plane[2])
                    i, j = d, h
                    if count == 1:
                        k = w + place_of_largest(x[p, d, h, w:w_end])
                    else:
                        k = w + champion(best[w:w_end], number[w:w_end])
                        n = np.int64(number[k])
                        i, j = d + n // (h_end - h), h + n % (h_end - h)
                    y[p, o_d, o_h, o] = x[p, i, j, k]
                    winner[p, o_d, o_h, o] = (i * plane[1] + j) * plane[2] + k


def merged(plane, size) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Both for three axes; the last axes are taken for one where there is one window of them."""
    plane, size = list(plane), list(size)
    while len(size) > 1 and size[-1] == size[-2] == 1:
        plane[-2:], size[-2:] = [plane[-1] * plane[-2]], [1]
    return three(plane, 1), three(size, 1)


class AdaptiveAvgPoolCPU(AdaptiveAvgPoolFunction):
    @staticmethod
    def forward(x: Tensor, size):
        ndim = len(size)
        plane = x.shape[-ndim:]
        y = x.new_empty(*x.shape[:-ndim], *size)
        adaptive_avg_pool_forward(x, y, x.numel() // math.prod(plane), *merged(plane, size))
        return y

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        if not plain(grad_y):
            return AdaptiveAvgPoolFunction.backward(ctx, grad_y)
        ndim = len(ctx.plane)
        g = grad_y.contiguous()
        size = g.shape[-ndim:]
        grad_x = g.new_empty(*g.shape[:-ndim], *ctx.plane)
        adaptive_avg_pool_backward(grad_x, g, g.numel() // math.prod(size), *merged(ctx.plane, size))
        return grad_x, None


class AdaptiveMaxPoolCPU(AdaptiveMaxPoolFunction):
    @staticmethod
    def forward(x: Tensor, size):
        ndim = len(size)
        plane = x.shape[-ndim:]
        y = x.new_empty(*x.shape[:-ndim], *size)
        winner = torch.empty_like(y, dtype=torch.int64)
        adaptive_max_pool_forward(x, y, winner, x.numel() // math.prod(plane), *merged(plane, size))
        return y, winner

    @staticmethod
    def backward(ctx, grad_y: Tensor, _winner):
        if not plain(grad_y):
            return AdaptiveMaxPoolFunction.backward(ctx, grad_y, _winner)
        (winner,) = ctx.saved_tensors
        return scattered(grad_y, winner, ctx.plane), None


def contiguous_input(x: Tensor, size) -> bool:
    return x.is_contiguous() and all(s > 0 for s in size)


TWINS = {
    AdaptiveAvgPoolFunction: Twin(
        AdaptiveAvgPoolCPU, smallest=4096, takes=contiguous_input, asks="a contiguous input"
    ),
    AdaptiveMaxPoolFunction: Twin(
        AdaptiveMaxPoolCPU, smallest=4096, takes=contiguous_input, asks="a contiguous input"
    ),
}
