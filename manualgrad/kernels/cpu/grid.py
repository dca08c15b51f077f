"""Kernels of ``layers/grid.py``: the taps of a few places are found once, and then every channel uses them.

All axes are taken for three; a missing one has one element, and one tap with the weight 1. A sample belongs
to one thread, as its places add to the same picture. Forward is ATen's.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from numba import prange
from torch import Tensor

from ...layers.grid import MODES, PADDINGS, GridSampleFunction
from .. import Twin, plain
from ._jit import compiled, forceinline
from ._windows import three

__all__ = ["TWINS"]

BILINEAR, NEAREST, BICUBIC = range(len(MODES))
ZEROS, BORDER, REFLECTION = range(len(PADDINGS))
TAPS = {"bilinear": 2, "nearest": 1, "bicubic": 4}
# Places that are dealt with at a time: their taps stay in the cache.
PLACES = 64

# Of positions no sum is reordered: one between two elements has to fall where the formula's does.
strict = numba.njit(fastmath={"contract", "nsz"}, forceinline=True, error_model="numpy")


@strict
def padded(u, length, padding, align_corners, T):
    """As the formula's: a position in the picture, and how it moves with ``u``."""
    turn = T(1)
    if padding == ZEROS:
        return u, turn
    if padding == REFLECTION:
        low = T(0) if align_corners else T(-0.5)
        span = T(length - 1) if align_corners else T(length)
        if span == T(0):
            return T(0), T(0)
        far = abs(u - low)
        turned = np.floor(far / span) % T(2) == T(1)
        beyond = far % span
        if (u < low) != turned:
            turn = -turn
        u = low + (span - beyond if turned else beyond)
    last = T(length - 1)
    if not (u > T(0) and u < last):
        turn = T(0)
    return min(max(u, T(0)), last), turn


@strict
def cubic(d, T):
    if d < T(1):
        return (T(1.25) * d - T(2.25)) * d * d + T(1)
    if d < T(2):
        return ((T(-0.75) * d + T(3.75)) * d - T(6)) * d + T(3)
    return T(0)


@strict
def cubic_slope(d, T):
    if d < T(1):
        return (T(3.75) * d - T(4.5)) * d
    if d < T(2):
        return (T(-2.25) * d + T(7.5)) * d - T(6)
    return T(0)


@strict
def keep(index, weight, slope, p, i, w, s, length, T):
    """A tap of place ``p``, which counts only inside of the picture."""
    inside = (i >= T(0)) & (i < T(length))
    index[p] = np.int32(min(max(i, T(0)), T(length - 1)))
    weight[p] = w if inside else T(0)
    slope[p] = s if inside else T(0)


@strict
def taps(v, length, mode, padding, align_corners, index, weight, slope, T):
    """As the formula's: for each place the taps of one axis, elements, weights w, slopes ∂w/∂v."""
    speed = T(length - 1) / T(2) if align_corners else T(length) / T(2)
    farthest = T(np.finfo(T).max)
    for p in range(v.size):
        if align_corners:
            u = (v[p] + T(1)) / T(2) * T(length - 1)
        else:
            u = ((v[p] + T(1)) * T(length) - T(1)) / T(2)
        u = T(-3) if u != u else u
        # Further outside is no different, but for reflection.
        low, high = (-farthest, farthest) if padding == REFLECTION else (T(-3), T(length + 2))
        u = min(max(u, low), high)
        if mode == BICUBIC:
            below = np.floor(u)
            for t in range(4):
                offset = T(t - 1)
                i, _ = padded(below + offset, length, padding, align_corners, T)
                distance = (u - below) - offset
                sign = T(1) if distance > T(0) else T(-1) if distance < T(0) else T(0)
                w, s = cubic(abs(distance), T), cubic_slope(abs(distance), T) * sign * speed
                keep(index[t], weight[t], slope[t], p, i, w, s, length, T)
            continue
        u, turn = padded(u, length, padding, align_corners, T)
        if mode == NEAREST:
            keep(index[0], weight[0], slope[0], p, np.rint(u), T(1), T(0), length, T)
            continue
        below = np.floor(u)
        after = u - below
        keep(index[0], weight[0], slope[0], p, below, T(1) - after, -turn * speed, length, T)
        keep(index[1], weight[1], slope[1], p, below + T(1), after, turn * speed, length, T)


@forceinline
def add_shares(out, index, weight, g):
    for p in range(g.size):
        out[index[p]] += weight[p] * g[p]


@forceinline
def add_seen(change, index, x, g):
    for p in range(g.size):
        change[p] += g[p] * x[index[p]]


@compiled(
    g="batch, channels, places",
    x="batch, channels, lengths[0] * lengths[1] * lengths[2]?",
    grid="batch, places, ndim",
    grad_x="batch, channels, lengths[0] * lengths[1] * lengths[2]?",
    grad_grid="batch, places, ndim?",
)
def grid_sample_backward(
    g,
    x,
    grid,
    grad_x,
    grad_grid,
    batch,
    channels,
    places,
    lengths,
    counts,
    ndim,
    mode,
    padding,
    align_corners,
):
    T = g.dtype.type
    count = counts[0] * counts[1] * counts[2]
    for n in prange(batch):
        tap, v = np.zeros((3, 4, PLACES), np.int32), np.empty(PLACES, g.dtype)
        weight, slope = np.ones((3, 4, PLACES), g.dtype), np.zeros((3, 4, PLACES), g.dtype)
        indices, weights = np.empty((count, PLACES), np.int32), np.empty((count, PLACES), g.dtype)
        slopes, change = np.empty((3, count, PLACES), g.dtype), np.empty((count, PLACES), g.dtype)
        if grad_x.size:
            grad_x[n] = T(0)
        for start in range(0, places, PLACES):
            stop = min(places, start + PLACES)
            for axis in range(3 - ndim, 3):
                found, length = v[: stop - start], lengths[axis]
                for p in range(found.size):
                    found[p] = grid[n, start + p, 2 - axis]
                to = tap[axis], weight[axis], slope[axis]
                # With literal numbers the most common loop has no branches, and is vectorized.
                if mode == BILINEAR and padding == ZEROS:
                    taps(found, length, BILINEAR, ZEROS, align_corners, *to, T)
                else:
                    taps(found, length, mode, padding, align_corners, *to, T)
            t = 0
            for a in range(counts[0]):
                for b in range(counts[1]):
                    for c in range(counts[2]):
                        for p in range(PLACES):
                            row = tap[0, a, p] * np.int32(lengths[1]) + tap[1, b, p]
                            indices[t, p] = row * np.int32(lengths[2]) + tap[2, c, p]
                        for p in range(PLACES):
                            weights[t, p] = weight[0, a, p] * weight[1, b, p] * weight[2, c, p]
                        for p in range(PLACES):
                            slopes[0, t, p] = slope[0, a, p] * weight[1, b, p] * weight[2, c, p]
                        for p in range(PLACES):
                            slopes[1, t, p] = weight[0, a, p] * slope[1, b, p] * weight[2, c, p]
                        for p in range(PLACES):
                            slopes[2, t, p] = weight[0, a, p] * weight[1, b, p] * slope[2, c, p]
                        t += 1
            change[:] = T(0)
            for c in range(channels):
                row = g[n, c, start:stop]
                for t in range(count):
                    if grad_x.size:
                        add_shares(grad_x[n, c], indices[t], weights[t], row)
                    if x.size:
                        add_seen(change[t], indices[t], x[n, c], row)
            if grad_grid.size:
                for p in range(start, stop):
                    for axis in range(3 - ndim, 3):
                        total = T(0)
                        for t in range(count):
                            total += change[t, p - start] * slopes[axis, t, p - start]
                        grad_grid[n, p, 2 - axis] = total


class GridSampleCPU(GridSampleFunction):
    @staticmethod
    def backward(ctx, grad_y: Tensor):
        if not plain(grad_y):
            return GridSampleFunction.backward(ctx, grad_y)
        x, grid = ctx.saved_tensors
        need_x, need_grid = ctx.needs_input_grad[:2]
        batch, channels, *lengths = ctx.shape
        ndim, places = len(lengths), math.prod(grid.shape[1:-1])
        grad_x = grad_y.new_empty(ctx.shape) if need_x else None
        grad_grid = torch.empty_like(grid, memory_format=torch.contiguous_format) if need_grid else None
        grid_sample_backward(
            grad_y.contiguous(), x.contiguous() if need_grid else None, grid.contiguous(), grad_x, grad_grid,
            batch, channels, places, three(lengths, 1), three((TAPS[ctx.mode],) * ndim, 1), ndim,
            MODES.index(ctx.mode), PADDINGS.index(ctx.padding_mode), ctx.align_corners,
        )  # fmt: skip
        return grad_x, grad_grid, None, None, None


TWINS = {
    GridSampleFunction: Twin(
        GridSampleCPU,
        takes=lambda x, *_: x.numel() < 2**31,
        asks="an input with fewer than 2³¹ elements",
    )
}
