"""Kernels of ``layers/pooling.py`` for means: a row of windows at a time, in vectors.

All axes are taken for three, the missing ones of length 1. An output row is the sum of rows of the input,
each read with a step and from a shift; where a window reaches over a border, it is computed alone.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange
from torch import Tensor

from ...layers.pooling import AvgPoolFunction
from .. import Twin, plain
from ._jit import compiled, forceinline
from ._windows import inside, side_by_side, three, windows

__all__ = ["TWINS", "AvgPoolCPU", "shared_out", "takes_avg"]


@forceinline
def sums_of_taps(x, y, taps, step):
    for o in range(y.size):
        total = y[o]
        for b in range(taps):
            total += x[o * step + b]
        y[o] = total


@forceinline
def row_of_sums(x, y, taps, step):
    # With literal numbers the loops are unrolled and vectorized.
    if taps == 2 and step == 2:
        sums_of_taps(x, y, 2, 2)
    elif taps == 3 and step == 2:
        sums_of_taps(x, y, 3, 2)
    elif taps == 3 and step == 1:
        sums_of_taps(x, y, 3, 1)
    elif step == 1:
        for b in range(taps):
            sums_of_taps(x[b:], y, 1, 1)
    else:
        sums_of_taps(x, y, taps, step)


@forceinline
def sums_at_border(x, y, start, stop, taps, step, padding):
    for o in range(start, stop):
        w = o * step - padding
        for k in range(max(w, 0), min(w + taps, x.size)):
            y[o] += x[k]


@forceinline
def counted(o, length, kernel, stride, padding, count_include_pad):
    """How many elements of window ``o`` its mean divides by, along an axis."""
    start = o * stride - padding
    end = min(start + kernel, length + padding)
    return end - start if count_include_pad else min(end, length) - max(start, 0)


@forceinline
def rows_counted(o_d, o_h, plane, kernel, stride, padding, count_include_pad):
    """The same along the first two axes together."""
    return counted(o_d, plane[0], kernel[0], stride[0], padding[0], count_include_pad) * counted(
        o_h, plane[1], kernel[1], stride[1], padding[1], count_include_pad
    )


@forceinline
def row_of_shares(share, rows, plane, kernel, stride, padding, count_include_pad, divisor):
    """1 / c of each window in a row; ``divisor`` is 0 where the windows' sizes count."""
    T = share.dtype.type
    for o in range(share.size):
        c = rows * counted(o, plane[2], kernel[2], stride[2], padding[2], count_include_pad)
        share[o] = T(1) / T(divisor if divisor != 0 else c)


@compiled(x="planes, plane[0], plane[1], plane[2]", y="planes, size[0], size[1], size[2]")
def avg_pool_forward(x, y, planes, plane, size, kernel, stride, padding, count_include_pad, divisor):
    low, high = inside(size[2], plane[2], kernel[2], stride[2], padding[2], 1)
    for p in prange(planes):
        share = np.empty(size[2], x.dtype)
        rows_before = -1
        for o_d in range(size[0]):
            for o_h in range(size[1]):
                total = y[p, o_d, o_h]
                total[:] = 0
                d = o_d * stride[0] - padding[0]
                h = o_h * stride[1] - padding[1]
                for i in range(max(d, 0), min(d + kernel[0], plane[0])):
                    for j in range(max(h, 0), min(h + kernel[1], plane[1])):
                        row = x[p, i, j]
                        if high > low:
                            row_of_sums(
                                row[low * stride[2] - padding[2] :], total[low:high], kernel[2], stride[2]
                            )
                        sums_at_border(row, total, 0, low, kernel[2], stride[2], padding[2])
                        sums_at_border(row, total, high, size[2], kernel[2], stride[2], padding[2])
                rows = rows_counted(o_d, o_h, plane, kernel, stride, padding, count_include_pad)
                if rows != rows_before:
                    row_of_shares(share, rows, plane, kernel, stride, padding, count_include_pad, divisor)
                    rows_before = rows
                for o in range(size[2]):
                    total[o] *= share[o]


@forceinline
def share_out(each, row, taps):
    """Windows side by side: each element of ``row`` gets its share."""
    for o in range(each.size):
        for b in range(taps):
            row[o * taps + b] = each[o]


@forceinline
def add_shares(each, row, step):
    for o in range(each.size):
        row[o * step] += each[o]


@forceinline
def add_at_border(each, row, start, stop, taps, step, padding):
    for o in range(start, stop):
        w = o * step - padding
        for k in range(max(w, 0), min(w + taps, row.size)):
            row[k] += each[o]


@compiled(g="planes, size[0], size[1], size[2]", grad_x="planes, plane[0], plane[1], plane[2]")
def avg_pool_backward(
    g, grad_x, planes, plane, size, kernel, stride, padding, count_include_pad, divisor, side_by_side
):
    low, high = inside(size[2], plane[2], kernel[2], stride[2], padding[2], 1)
    for p in prange(planes):
        share = np.empty(size[2], g.dtype)
        each = np.empty(size[2], g.dtype)
        rows_before = -1
        if not side_by_side:
            grad_x[p] = 0
        for o_d in range(size[0]):
            for o_h in range(size[1]):
                rows = rows_counted(o_d, o_h, plane, kernel, stride, padding, count_include_pad)
                if rows != rows_before:
                    row_of_shares(share, rows, plane, kernel, stride, padding, count_include_pad, divisor)
                    rows_before = rows
                for o in range(size[2]):
                    each[o] = g[p, o_d, o_h, o] * share[o]
                d = o_d * stride[0] - padding[0]
                h = o_h * stride[1] - padding[1]
                for i in range(max(d, 0), min(d + kernel[0], plane[0])):
                    for j in range(max(h, 0), min(h + kernel[1], plane[1])):
                        row = grad_x[p, i, j]
                        if side_by_side:
                            if kernel[2] == 2:
                                share_out(each, row, 2)
                            else:
                                share_out(each, row, kernel[2])
                            continue
                        if high > low:
                            for b in range(kernel[2]):
                                inner = row[low * stride[2] - padding[2] + b :]
                                if stride[2] == 1:
                                    add_shares(each[low:high], inner, 1)
                                elif stride[2] == 2:
                                    add_shares(each[low:high], inner, 2)
                                else:
                                    add_shares(each[low:high], inner, stride[2])
                        add_at_border(each, row, 0, low, kernel[2], stride[2], padding[2])
                        add_at_border(each, row, high, size[2], kernel[2], stride[2], padding[2])


def takes_avg(x, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override) -> bool:
    plane, ones = x.shape[-len(kernel) :], (1,) * len(kernel)
    # Of three axes ATen refuses an input shorter than the window, even where it is padded.
    if not x.is_contiguous() or any(2 * p > k or k > length for length, k, p in zip(plane, kernel, padding)):
        return False
    return windows(plane, kernel, stride, padding, ones, ceil_mode) != ()


class AvgPoolCPU(AvgPoolFunction):
    @staticmethod
    def forward(
        x: Tensor, kernel, stride, padding, ceil_mode: bool, count_include_pad: bool, divisor_override
    ):
        ndim = len(kernel)
        plane = x.shape[-ndim:]
        size = windows(plane, kernel, stride, padding, (1,) * ndim, ceil_mode)
        y = x.new_empty(*x.shape[:-ndim], *size)
        planes = x.numel() // math.prod(plane)
        avg_pool_forward(
            x, y, planes, three(plane, 1), three(size, 1), three(kernel, 1), three(stride, 1),
            three(padding, 0), bool(count_include_pad), divisor_override or 0,
        )  # fmt: skip
        return y

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        if not plain(grad_y):
            return AvgPoolFunction.backward(ctx, grad_y)
        axes = (ctx.plane, ctx.kernel, ctx.stride, ctx.padding)
        grad_x = shared_out(grad_y, *axes, bool(ctx.count_include_pad), ctx.divisor_override or 0)
        return grad_x, None, None, None, None, None, None


def shared_out(
    grad_y: Tensor, plane, kernel, stride, padding, count_include_pad: bool, divisor: int
) -> Tensor:
    """:func:`adjoint_of_mean`, plane by plane; ``divisor`` is 0 where the windows' sizes count."""
    ndim = len(kernel)
    g = grad_y.contiguous()
    size = g.shape[-ndim:]
    # What no window reaches must be zero.
    covered = side_by_side(plane, size, kernel, stride, padding)
    covered = covered and all(o * k == length for length, o, k in zip(plane, size, kernel))
    grad_x = g.new_empty(*g.shape[:-ndim], *plane)
    avg_pool_backward(
        g, grad_x, g.numel() // math.prod(size), three(plane, 1), three(size, 1), three(kernel, 1),
        three(stride, 1), three(padding, 0), count_include_pad, divisor, covered,
    )  # fmt: skip
    return grad_x


TWINS = {
    AvgPoolFunction: Twin(AvgPoolCPU, smallest=4096, takes=takes_avg, asks="a contiguous input"),
}
