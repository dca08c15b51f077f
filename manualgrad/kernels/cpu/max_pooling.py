"""Kernels of ``layers/pooling.py`` for maxima: a row of windows at a time, in vectors.

All axes are taken for three, the missing ones of length 1. An output row is the maximum of rows of the input,
each read with a step and from a shift; where a window reaches over a border, it is computed alone. Of a
maximum that nobody asked the place of, a byte is saved: the number of the winner in its window.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import prange
from torch import Tensor

from ...layers.pooling import MaxPoolFunction, along, scatter_to_winners
from .. import Twin, plain
from ._jit import compiled, forceinline
from ._windows import inside, side_by_side, three, windows

__all__ = ["TWINS", "scattered"]

# A winner's byte holds its place in the window.
LARGEST_WINDOW = 256


@forceinline
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


@forceinline
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


@forceinline
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
PAIRS = 32


@forceinline
def larger(a, k, b, later):
    """Whether b at place ``later`` of a window wins over a at ``k``: of equals the first, of NaN the last."""
    return (b > a) | ((b == a) & (later < k)) | ((b != b) & ((a == a) | (later > k)))


@forceinline
def larger_of_rows(first, second, best, number, step):
    """``step`` is how far in a window an element of the second row is behind that of the first."""
    T = best.dtype.type
    for j in range(best.size):
        a, b = first[j], second[j]
        wins = (b > a) | (b != b)
        best[j] = b if wins else a
        number[j] = T(step) if wins else T(0)


@forceinline
def larger_of_numbered_rows(upper, number_above, lower, number_below, best, number):
    T = best.dtype.type
    for j in range(best.size):
        a, b = upper[j], lower[j]
        k, later = number_above[j], number_below[j] + T(2)
        wins = larger(a, k, b, later)
        best[j] = b if wins else a
        number[j] = later if wins else k


@forceinline
def larger_of_neighbours(above, number_above, best, place):
    T = best.dtype.type
    for j in range(best.size):
        a, b = above[2 * j], above[2 * j + 1]
        k, later = number_above[2 * j], number_above[2 * j + 1] + T(1)
        wins = larger(a, k, b, later)
        best[j] = b if wins else a
        place[j] = np.uint8(np.int32(later if wins else k))


@compiled(
    x="slices, depth, pairs, 2, width",
    y="slices, pairs * (width // 2)",
    place="uint8: slices, pairs * (width // 2)",
)
def max_pool_of_twos_forward(x, y, place, slices, depth, pairs, width):
    half = width // 2
    blocks = (pairs + PAIRS - 1) // PAIRS
    for block in prange(slices * blocks):
        best = np.empty((3, PAIRS, width), x.dtype)
        number = np.empty((3, PAIRS, width), x.dtype)
        flat, numbers = best.reshape((3, -1)), number.reshape((3, -1))
        s, start = block // blocks, block % blocks * PAIRS
        stop = min(start + PAIRS, pairs)
        if depth == 1:
            for pair in range(start, stop):
                rows, k = x[s, 0, pair], pair - start
                larger_of_rows(rows[0], rows[1], best[2, k], number[2, k], 2)
        else:
            for pair in range(start, stop):
                front, back, k = x[s, 0, pair], x[s, 1, pair], pair - start
                larger_of_rows(front[0], back[0], best[0, k], number[0, k], 4)
                larger_of_rows(front[1], back[1], best[1, k], number[1, k], 4)
            larger_of_numbered_rows(flat[0], numbers[0], flat[1], numbers[1], flat[2], numbers[2])
        larger_of_neighbours(
            flat[2], numbers[2], y[s, start * half : stop * half], place[s, start * half : stop * half]
        )


@forceinline
def hand_to_winner(g, place, row, taps, first):
    """Windows side by side: each element of ``row`` gets what its window got, if it won, and else 0."""
    T = g.dtype.type
    for o in range(g.size):
        each = g[o]
        winner = np.int32(place[o]) - np.int32(first)
        for b in range(taps):
            row[o * taps + b] = each if winner == b else T(0)


@compiled(
    g="planes, size[0], size[1] * size[2]",
    place="uint8: planes, size[0], size[1] * size[2]",
    grad_x="planes, plane[0], plane[1], plane[2]",
)
def max_pool_backward_side_by_side(g, place, grad_x, planes, plane, size, kernel):
    whole = True
    for axis in range(3):
        whole &= size[axis] * kernel[axis] == plane[axis]
    for p in prange(planes):
        # Row after row of the windows of a plane, for the sake of long vectors.
        rows = np.empty((size[1], size[2] * kernel[2]), g.dtype)
        flat = rows.reshape(-1)
        if not whole:
            grad_x[p] = 0
        for d in range(size[0]):
            for a in range(kernel[0]):
                for b in range(kernel[1]):
                    first = (a * kernel[1] + b) * kernel[2]
                    if kernel[2] == 2:
                        hand_to_winner(g[p, d], place[p, d], flat, 2, first)
                    elif kernel[2] == 3:
                        hand_to_winner(g[p, d], place[p, d], flat, 3, first)
                    else:
                        hand_to_winner(g[p, d], place[p, d], flat, kernel[2], first)
                    for h in range(size[1]):
                        row, found = grad_x[p, d * kernel[0] + a, h * kernel[1] + b], rows[h]
                        for k in range(found.size):
                            row[k] = found[k]


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
        ahead = np.empty(LARGEST_WINDOW, np.int64)
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


# The gradient of x comes first: the work is to fill it, and windows may be few.
@compiled(grad_x="planes, plane", g="planes, size", winner="int64: planes, size")
def scatter_backward(grad_x, g, winner, planes, size, plane):
    for p in prange(planes):
        grad_x[p, :] = 0
        for o in range(size):
            grad_x[p, winner[p, o]] += g[p, o]


def takes_max(x, kernel, stride, padding, dilation, ceil_mode, return_indices) -> bool:
    if return_indices:
        return True
    plane = x.shape[-len(kernel) :]
    return (
        x.is_contiguous()
        and math.prod(kernel) <= LARGEST_WINDOW
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
        if ndim > 1 and twos(plane, kernel, stride, padding, dilation):
            # Where there is no depth, all rows are of one slice.
            slices, depth = (1, 1) if ndim == 2 else (planes * size[0], 2)
            width = plane[-1]
            pairs = x.numel() // (slices * depth * 2 * width)
            max_pool_of_twos_forward(x, y, place, slices, depth, pairs, width)
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


def twos(plane, kernel, stride, padding, dilation) -> bool:
    """Whether windows of two elements along each axis are side by side and leave nothing over."""
    return (
        all(k == 2 for k in (*kernel, *stride))
        and not any(padding)
        and all(d == 1 for d in dilation)
        and not any(length % 2 for length in plane)
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
    scatter_backward(grad_x, g, winner, planes, g.numel() // planes, math.prod(plane))
    return grad_x


TWINS = {
    MaxPoolFunction: Twin(
        MaxPoolCPU,
        smallest=4096,
        takes=takes_max,
        asks=f"a contiguous input, at most {LARGEST_WINDOW} elements in a window, no padding with dilation",
    ),
}
