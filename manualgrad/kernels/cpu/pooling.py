"""Kernels of ``layers/pooling.py``: a row of windows at a time, in vectors.

All axes are taken for three, the missing ones of length 1. An output row is the maximum, or sum, of rows of
the input, each read with a step and from a shift; where a window reaches over a border, it is computed alone.
Of a maximum that nobody asked the place of, a byte is saved: the number of the winner in its window.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from numba import prange
from torch import Tensor

from ...layers.pooling import (
    AdaptiveAvgPoolFunction,
    AdaptiveMaxPoolFunction,
    AvgPoolFunction,
    MaxPoolFunction,
    along,
    scatter_to_winners,
)
from .. import Twin, plain
from ._jit import FASTMATH, compiled

__all__ = ["TWINS"]

# Where the compiler leaves a call, it does not see that a step is a literal 2, and cannot vectorize.
inlined = numba.njit(fastmath=FASTMATH, forceinline=True, error_model="numpy")


@inlined
def inside(windows, length, kernel, stride, padding, dilation):
    """The first window that is wholly inside, and the first behind them that is not, or no more."""
    low = min(windows, -(-padding // stride))
    room = length + padding - dilation * (kernel - 1) - 1
    return low, max(low, min(windows, room // stride + 1)) if room >= 0 else low


@inlined
def maxima_of_taps(x, best, place, taps, step, first):
    """Let ``taps`` neighbours in ``x`` compete with the best of their windows; ``first`` is their number."""
    for o in range(best.size):
        m = best[o]
        winner = np.int32(place[o])
        for b in range(taps):
            v = x[o * step + b]
            wins = (v > m) | (v != v)
            m = v if wins else m
            winner = np.int32(first + b) if wins else winner
        best[o] = m
        place[o] = winner


@inlined
def row_of_maxima(x, best, place, taps, step, dilation, first):
    # With literal numbers the loops are unrolled and vectorized.
    if taps == 2 and step == 2 and dilation == 1:
        maxima_of_taps(x, best, place, 2, 2, first)
    elif taps == 3 and step == 2 and dilation == 1:
        maxima_of_taps(x, best, place, 3, 2, first)
    elif taps == 3 and step == 1 and dilation == 1:
        maxima_of_taps(x, best, place, 3, 1, first)
    elif taps == 3 and step == 3 and dilation == 1:
        maxima_of_taps(x, best, place, 3, 3, first)
    elif step == 1:
        for b in range(taps):
            maxima_of_taps(x[b * dilation :], best, place, 1, 1, first + b)
    else:
        for b in range(taps):
            maxima_of_taps(x[b * dilation :], best, place, 1, step, first + b)


@inlined
def maxima_at_border(x, best, place, start, stop, taps, step, padding, dilation, first):
    for o in range(start, stop):
        for b in range(taps):
            i = o * step - padding + b * dilation
            if 0 <= i < x.size and (x[i] > best[o] or x[i] != x[i]):
                best[o] = x[i]
                place[o] = np.uint8(first + b)


@compiled(
    x="planes, plane[0], plane[1], plane[2]",
    y="planes, size[0], size[1], size[2]",
    place="uint8: planes, size[0], size[1], size[2]",
)
def max_pool_forward(x, y, place, planes, plane, size, kernel, stride, padding, dilation):
    low, high = inside(size[2], plane[2], kernel[2], stride[2], padding[2], dilation[2])
    for p in prange(planes):
        for o_d in range(size[0]):
            for o_h in range(size[1]):
                best, winner = y[p, o_d, o_h], place[p, o_d, o_h]
                d = o_d * stride[0] - padding[0]
                h = o_h * stride[1] - padding[1]
                # The first element wins where nothing is larger than -inf. There is padding only without
                # dilation, so that as many elements as are missing come before it.
                before = (max(-d, 0) * kernel[1] + max(-h, 0)) * kernel[2]
                for o in range(size[2]):
                    best[o] = -np.inf
                    winner[o] = np.uint8(before + max(padding[2] - o * stride[2], 0))
                for a in range(kernel[0]):
                    for b in range(kernel[1]):
                        i, j = d + a * dilation[0], h + b * dilation[1]
                        if i < 0 or i >= plane[0] or j < 0 or j >= plane[1]:
                            continue
                        row = x[p, i, j]
                        first = (a * kernel[1] + b) * kernel[2]
                        if high > low:
                            row_of_maxima(
                                row[low * stride[2] - padding[2] :], best[low:high], winner[low:high],
                                kernel[2], stride[2], dilation[2], first,
                            )  # fmt: skip
                        maxima_at_border(
                            row, best, winner, 0, low,
                            kernel[2], stride[2], padding[2], dilation[2], first,
                        )  # fmt: skip
                        maxima_at_border(
                            row, best, winner, high, size[2],
                            kernel[2], stride[2], padding[2], dilation[2], first,
                        )  # fmt: skip


# Pairs of rows that are pooled at a time: few enough for the cache, many for vectors, whatever their length.
PAIRS = 64


@inlined
def larger_of_rows(upper, lower, best, place):
    T = best.dtype.type
    for j in range(best.size):
        a, b = upper[j], lower[j]
        wins = (b > a) | (b != b)
        best[j] = b if wins else a
        place[j] = T(2) if wins else T(0)


@inlined
def larger_of_neighbours(above, place_above, best, place):
    # Among equals the first in the window wins, of several NaN the last.
    T = above.dtype.type
    for j in range(best.size):
        a, b = above[2 * j], above[2 * j + 1]
        k, later = place_above[2 * j], place_above[2 * j + 1] + T(1)
        wins = (b > a) | ((b == a) & (later < k)) | ((b != b) & ((a == a) | (later > k)))
        best[j] = b if wins else a
        place[j] = np.uint8(np.int32(later if wins else k))


@compiled(x="pairs, 2, width", y="pairs * (width // 2)", place="uint8: pairs * (width // 2)")
def max_pool_2x2_forward(x, y, place, pairs, width):
    half = width // 2
    for block in prange((pairs + PAIRS - 1) // PAIRS):
        start, stop = block * PAIRS, min(pairs, (block + 1) * PAIRS)
        best = np.empty((PAIRS, width), x.dtype)
        number = np.empty((PAIRS, width), x.dtype)
        for pair in range(start, stop):
            larger_of_rows(x[pair, 0], x[pair, 1], best[pair - start], number[pair - start])
        larger_of_neighbours(
            best.reshape(-1),
            number.reshape(-1),
            y[start * half : stop * half],
            place[start * half : stop * half],
        )


@inlined
def hand_to_winner(g, place, row, taps, first):
    """Windows side by side: each element of ``row`` gets what its window got, if it won, and else 0."""
    T = g.dtype.type
    for o in range(g.size):
        each = g[o]
        winner = np.int32(place[o]) - np.int32(first)
        for b in range(taps):
            row[o * taps + b] = each if winner == b else T(0)


@compiled(
    g="planes, size[0], size[1], size[2]",
    place="uint8: planes, size[0], size[1], size[2]",
    grad_x="planes, plane[0], plane[1], plane[2]",
)
def max_pool_backward_side_by_side(g, place, grad_x, planes, plane, size, kernel):
    for p in prange(planes):
        for i in range(plane[0]):
            for j in range(plane[1]):
                row = grad_x[p, i, j]
                d, h = i // kernel[0], j // kernel[1]
                if d >= size[0] or h >= size[1]:
                    row[:] = 0
                    continue
                first = ((i - d * kernel[0]) * kernel[1] + j - h * kernel[1]) * kernel[2]
                if kernel[2] == 2:
                    hand_to_winner(g[p, d, h], place[p, d, h], row, 2, first)
                elif kernel[2] == 3:
                    hand_to_winner(g[p, d, h], place[p, d, h], row, 3, first)
                else:
                    hand_to_winner(g[p, d, h], place[p, d, h], row, kernel[2], first)
                for k in range(size[2] * kernel[2], plane[2]):
                    row[k] = 0


@compiled(
    g="planes, size[0], size[1], size[2]",
    place="uint8: planes, size[0], size[1], size[2]",
    grad_x="planes, plane[0] * plane[1] * plane[2]",
)
def max_pool_backward(g, place, grad_x, planes, plane, size, kernel, stride, padding, dilation):
    for p in prange(planes):
        grad = grad_x[p]
        grad[:] = 0
        # From a window's first element, which may be in the padding, to each of its elements.
        ahead = np.empty(256, np.int64)
        for k in range(kernel[0] * kernel[1] * kernel[2]):
            a, b, c = k // (kernel[1] * kernel[2]), k // kernel[2] % kernel[1], k % kernel[2]
            ahead[k] = (a * dilation[0] * plane[1] + b * dilation[1]) * plane[2] + c * dilation[2]
        for o_d in range(size[0]):
            for o_h in range(size[1]):
                d = o_d * stride[0] - padding[0]
                h = o_h * stride[1] - padding[1]
                corner = (d * plane[1] + h) * plane[2] - padding[2]
                for o in range(size[2]):
                    grad[corner + o * stride[2] + ahead[place[p, o_d, o_h, o]]] += g[p, o_d, o_h, o]


@compiled(g="planes, size", winner="int64: planes, size", grad_x="planes, plane")
def scatter_backward(g, winner, grad_x, planes, size, plane):
    for p in prange(planes):
        grad_x[p, :] = 0
        for o in range(size):
            grad_x[p, winner[p, o]] += g[p, o]


@inlined
def sums_of_taps(x, y, taps, step):
    for o in range(y.size):
        total = y[o]
        for b in range(taps):
            total += x[o * step + b]
        y[o] = total


@inlined
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


@inlined
def counted(o, length, kernel, stride, padding, count_include_pad):
    """How many elements of window ``o`` its mean divides by, along an axis."""
    start = o * stride - padding
    end = min(start + kernel, length + padding)
    return end - start if count_include_pad else min(end, length) - max(start, 0)


@inlined
def row_of_shares(share, o_d, o_h, plane, kernel, stride, padding, count_include_pad, divisor):
    """1 / c of each window in a row; ``divisor`` is 0 where the windows' sizes count."""
    T = share.dtype.type
    rows = counted(o_d, plane[0], kernel[0], stride[0], padding[0], count_include_pad) * counted(
        o_h, plane[1], kernel[1], stride[1], padding[1], count_include_pad
    )
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
                        for o in range(low):
                            w = o * stride[2] - padding[2]
                            for k in range(max(w, 0), min(w + kernel[2], plane[2])):
                                total[o] += row[k]
                        for o in range(high, size[2]):
                            w = o * stride[2] - padding[2]
                            for k in range(max(w, 0), min(w + kernel[2], plane[2])):
                                total[o] += row[k]
                rows = counted(o_d, plane[0], kernel[0], stride[0], padding[0], count_include_pad) * counted(
                    o_h, plane[1], kernel[1], stride[1], padding[1], count_include_pad
                )
                if rows != rows_before:
                    row_of_shares(share, o_d, o_h, plane, kernel, stride, padding, count_include_pad, divisor)
                    rows_before = rows
                for o in range(size[2]):
                    total[o] *= share[o]


@inlined
def share_out(each, row, taps):
    """Windows side by side: each element of ``row`` gets its share."""
    for o in range(each.size):
        for b in range(taps):
            row[o * taps + b] = each[o]


@inlined
def add_shares(each, row, step):
    for o in range(each.size):
        row[o * step] += each[o]


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
                rows = counted(o_d, plane[0], kernel[0], stride[0], padding[0], count_include_pad) * counted(
                    o_h, plane[1], kernel[1], stride[1], padding[1], count_include_pad
                )
                if rows != rows_before:
                    row_of_shares(share, o_d, o_h, plane, kernel, stride, padding, count_include_pad, divisor)
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
                        for o in range(low):
                            w = o * stride[2] - padding[2]
                            for k in range(max(w, 0), min(w + kernel[2], plane[2])):
                                row[k] += each[o]
                        for o in range(high, size[2]):
                            w = o * stride[2] - padding[2]
                            for k in range(max(w, 0), min(w + kernel[2], plane[2])):
                                row[k] += each[o]


@compiled(x="planes, plane[0], plane[1], plane[2]", y="planes, size[0], size[1], size[2]")
def adaptive_avg_pool_forward(x, y, planes, plane, size):
    T = x.dtype.type
    for p in prange(planes):
        rows = np.empty(plane[2], x.dtype)
        for o_d in range(size[0]):
            d, d_end = o_d * plane[0] // size[0], -(-(o_d + 1) * plane[0] // size[0])
            for o_h in range(size[1]):
                h, h_end = o_h * plane[1] // size[1], -(-(o_h + 1) * plane[1] // size[1])
                count = (d_end - d) * (h_end - h)
                whole = rows
                if count == 1:
                    whole = x[p, d, h]
                else:
                    rows[:] = 0
                    for i in range(d, d_end):
                        for j in range(h, h_end):
                            row = x[p, i, j]
                            for k in range(plane[2]):
                                rows[k] += row[k]
                for o in range(size[2]):
                    w, w_end = o * plane[2] // size[2], -(-(o + 1) * plane[2] // size[2])
                    total = T(0)
                    for k in range(w, w_end):
                        total += whole[k]
                    y[p, o_d, o_h, o] = total / T(count * (w_end - w))


@compiled(g="planes, size[0], size[1], size[2]", grad_x="planes, plane[0], plane[1], plane[2]")
def adaptive_avg_pool_backward(g, grad_x, planes, plane, size, overlap):
    T = g.dtype.type
    for p in prange(planes):
        rows = np.empty(plane[2], g.dtype)
        if overlap:
            grad_x[p] = 0
        for o_d in range(size[0]):
            d, d_end = o_d * plane[0] // size[0], -(-(o_d + 1) * plane[0] // size[0])
            for o_h in range(size[1]):
                h, h_end = o_h * plane[1] // size[1], -(-(o_h + 1) * plane[1] // size[1])
                count = (d_end - d) * (h_end - h)
                rows[:] = 0
                for o in range(size[2]):
                    w, w_end = o * plane[2] // size[2], -(-(o + 1) * plane[2] // size[2])
                    each = g[p, o_d, o_h, o] / T(count * (w_end - w))
                    for k in range(w, w_end):
                        rows[k] += each
                for i in range(d, d_end):
                    for j in range(h, h_end):
                        row = grad_x[p, i, j]
                        if overlap:
                            for k in range(plane[2]):
                                row[k] += rows[k]
                        else:
                            for k in range(plane[2]):
                                row[k] = rows[k]


def three(values, missing: int) -> tuple[int, int, int]:
    """A number for each of three axes; ``missing`` for those in front that are not there."""
    return (*(missing,) * (3 - len(values)), *values)  # pyright: ignore


def windows(plane, kernel, stride, padding, dilation, ceil_mode: bool) -> tuple[int, ...]:
    """How many there are along each axis, or () where the formula may raise."""
    size = []
    for length, k, s, p, d in zip(plane, kernel, stride, padding, dilation):
        reach = d * (k - 1) + 1
        if not (k > 0 and s > 0 and d > 0 and 0 <= 2 * p <= reach):
            return ()
        rest = length + 2 * p - reach
        if rest < 0:
            return ()
        count = (rest + s - 1 if ceil_mode else rest) // s + 1
        if ceil_mode and (count - 1) * s >= length + p:
            count -= 1
        size.append(count)
    return tuple(size)


def takes_max(x, kernel, stride, padding, dilation, ceil_mode, return_indices) -> bool:
    if return_indices:
        return True
    plane = x.shape[-len(kernel) :]
    return (
        x.is_contiguous()
        and math.prod(kernel) <= 256
        and (not any(padding) or all(d == 1 for d in dilation))
        and windows(plane, kernel, stride, padding, dilation, ceil_mode) != ()
    )


class MaxPoolCPU(MaxPoolFunction):
    @staticmethod
    def forward(x: Tensor, kernel, stride, padding, dilation, ceil_mode: bool, return_indices: bool):
        if return_indices:
            return MaxPoolFunction.forward(x, kernel, stride, padding, dilation, ceil_mode, True)
        ndim = len(kernel)
        plane = x.shape[-ndim:]
        size = windows(plane, kernel, stride, padding, dilation, ceil_mode)
        y = x.new_empty(*x.shape[:-ndim], *size)
        place = torch.empty_like(y, dtype=torch.uint8)
        planes = x.numel() // math.prod(plane)
        squares = (tuple(kernel), tuple(stride), *padding, *dilation) == ((2, 2), (2, 2), 0, 0, 1, 1)
        if squares and plane[0] % 2 == plane[1] % 2 == 0:
            max_pool_2x2_forward(x, y, place, x.numel() // (2 * plane[1]), plane[1])
            return y, place
        max_pool_forward(
            x, y, place, planes, three(plane, 1), three(size, 1),
            three(kernel, 1), three(stride, 1), three(padding, 0), three(dilation, 1),
        )  # fmt: skip
        return y, place

    @staticmethod
    def setup_context(ctx, inputs, output):
        MaxPoolFunction.setup_context(ctx, inputs, output)
        _, *ctx.windows, ctx.ceil_mode, ctx.return_indices = inputs

    @staticmethod
    def backward(ctx, grad_y: Tensor, _place):
        (place,) = ctx.saved_tensors
        none = (None,) * 6
        if not plain(grad_y):
            winner = place if ctx.return_indices else winners(place, ctx.plane, *ctx.windows)
            return scatter_to_winners(grad_y, winner, ctx.plane), *none
        if ctx.return_indices:
            return scattered(grad_y, place, ctx.plane), *none
        kernel, stride, padding, dilation = ctx.windows
        ndim = len(kernel)
        g = grad_y.contiguous()
        size = g.shape[-ndim:]
        grad_x = g.new_empty(*g.shape[:-ndim], *ctx.plane)
        planes = g.numel() // math.prod(size)
        axes = (planes, three(ctx.plane, 1), three(size, 1), three(kernel, 1))
        if side_by_side(ctx.plane, size, kernel, stride, padding) and all(d == 1 for d in dilation):
            max_pool_backward_side_by_side(g, place, grad_x, *axes)
        else:
            max_pool_backward(
                g, place, grad_x, *axes, three(stride, 1), three(padding, 0), three(dilation, 1)
            )
        return grad_x, *none


def side_by_side(plane, size, kernel, stride, padding) -> bool:
    """Whether no element is in two windows, and none reaches over a border."""
    return not any(padding) and all(
        (o == 1 or s == k) and o * k <= length for length, o, k, s in zip(plane, size, kernel, stride)
    )


def winners(place: Tensor, plane, kernel, stride, padding, dilation) -> Tensor:
    """In the plane, where the winners are that are saved by their places in their windows."""
    place, winner = place.long(), torch.zeros_like(place, dtype=torch.int64)
    ahead = 1
    for axis in range(-1, -len(kernel) - 1, -1):
        tap = place % kernel[axis]
        place = place // kernel[axis]
        start = torch.arange(place.shape[axis]) * stride[axis] - padding[axis]
        winner = winner + ahead * (along(start, axis) + tap * dilation[axis])
        ahead *= plane[axis]
    return winner


def scattered(grad_y: Tensor, winner: Tensor, plane) -> Tensor:
    """:func:`scatter_to_winners`, plane by plane."""
    lead = grad_y.shape[: -len(plane)]
    grad_x = grad_y.new_empty(*lead, *plane)
    planes = math.prod(lead)
    g, winner = grad_y.contiguous(), winner.contiguous()
    scatter_backward(g, winner, grad_x, planes, g.numel() // planes, math.prod(plane))
    return grad_x


class AdaptiveMaxPoolCPU(AdaptiveMaxPoolFunction):
    @staticmethod
    def backward(ctx, grad_y: Tensor, _winner):
        if not plain(grad_y) or grad_y.numel() == 0:
            return AdaptiveMaxPoolFunction.backward(ctx, grad_y, _winner)
        (winner,) = ctx.saved_tensors
        return scattered(grad_y, winner, ctx.plane), None


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
        kernel, stride, padding = ctx.kernel, ctx.stride, ctx.padding
        ndim = len(kernel)
        g = grad_y.contiguous()
        size = g.shape[-ndim:]
        # What no window reaches must be zero.
        covered = side_by_side(ctx.plane, size, kernel, stride, padding)
        covered = covered and all(o * k == length for length, o, k in zip(ctx.plane, size, kernel))
        grad_x = g.new_empty(*g.shape[:-ndim], *ctx.plane)
        avg_pool_backward(
            g, grad_x, g.numel() // math.prod(size), three(ctx.plane, 1), three(size, 1), three(kernel, 1),
            three(stride, 1), three(padding, 0), bool(ctx.count_include_pad), ctx.divisor_override or 0,
            covered,
        )  # fmt: skip
        return grad_x, None, None, None, None, None, None


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
        overlap = any(length % o for length, o in zip(ctx.plane, size))
        adaptive_avg_pool_backward(g, grad_x, g.numel() // math.prod(size), *merged(ctx.plane, size), overlap)
        return grad_x, None


TWINS = {
    MaxPoolFunction: Twin(
        MaxPoolCPU,
        smallest=4096,
        takes=takes_max,
        asks="a contiguous input, at most 256 elements in a window, no padding with dilation",
    ),
    AvgPoolFunction: Twin(AvgPoolCPU, smallest=4096, takes=takes_avg, asks="a contiguous input"),
    AdaptiveMaxPoolFunction: Twin(AdaptiveMaxPoolCPU, smallest=4096),
    AdaptiveAvgPoolFunction: Twin(
        AdaptiveAvgPoolCPU,
        smallest=4096,
        takes=lambda x, size: x.is_contiguous() and all(s > 0 for s in size),
        asks="a contiguous input",
    ),
}
