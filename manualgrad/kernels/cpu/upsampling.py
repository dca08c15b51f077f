"""Kernels of ``layers/upsampling.py``: whole rows are combined, and only then resized themselves.

All axes are taken for three. The map of an axis comes from the formula as taps: of an output its places in
the input, and their weights. Along the first two axes an output row is a weighted sum of rows, in vectors;
along the last one each element gathers its own taps. Backward turns the taps of an axis around, into the
outputs that an element has reached: they lie side by side, since places only ascend, so that is a gather too.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import prange
from torch import Tensor

from ...layers._spatial import Ints
from ...layers.upsampling import NEAREST, InterpolateFunction, axes
from .. import Twin, plain
from ._jit import compiled, forceinline
from ._windows import three

__all__ = ["TWINS"]

TAPS: dict[str, Any] = {
    **{f"index_{k}": f"int64: size[{k}], taps[{k}]?" for k in range(3)},
    **{f"weight_{k}": f"size[{k}], taps[{k}]?" for k in range(3)},
}


@compiled(x="planes, plane[0], plane[1], plane[2]", y="planes, size[0], size[1], size[2]", **TAPS)
def resize(x, y, index_0, index_1, index_2, weight_0, weight_1, weight_2, planes, plane, size, taps):
    T = x.dtype.type
    for p in prange(planes):
        combined = np.empty(plane[2], x.dtype)
        for d in range(size[0]):
            for h in range(size[1]):
                out = y[p, d, h]
                if weight_2.size == 0:
                    row = x[p, index_0[d, 0] if index_0.size else 0, index_1[h, 0] if index_1.size else 0]
                    for o in range(out.size):
                        out[o] = row[index_2[o, 0]]
                    continue
                combined[:] = T(0)
                for a in range(taps[0]):
                    for b in range(taps[1]):
                        row = x[p, index_0[d, a] if index_0.size else 0, index_1[h, b] if index_1.size else 0]
                        w = weight_0[d, a] if weight_0.size else T(1)
                        w *= weight_1[h, b] if weight_1.size else T(1)
                        for i in range(combined.size):
                            combined[i] += w * row[i]
                for o in range(out.size):
                    total = T(0)
                    for t in range(taps[2]):
                        total += weight_2[o, t] * combined[index_2[o, t]]
                    out[o] = total


@forceinline
def turned_around(index, weight, length, T):
    """For each element of an axis the first output that it reaches, and its weights there and behind."""
    if index.size == 0:
        return np.zeros(length, np.int64), np.ones((length, 1), T)
    first, last = np.full(length, index.shape[0], np.int64), np.zeros(length, np.int64)
    for o in range(index.shape[0]):
        for t in range(index.shape[1]):
            j = index[o, t]
            first[j], last[j] = min(first[j], o), max(last[j], o)
    count = 1
    for j in range(length):
        count = max(count, last[j] + 1 - first[j])
    weights = np.zeros((length, count), T)
    for o in range(index.shape[0]):
        for t in range(index.shape[1]):
            j = index[o, t]
            weights[j, o - first[j]] += weight[o, t] if weight.size else T(1)
    return first, weights


@forceinline
def gather(row, first, weights, out, count):
    for j in range(out.size):
        total = weights[j, 0] * row[first[j]]
        for k in range(1, count):
            total += weights[j, k] * row[first[j] + k]
        out[j] = total


@compiled(g="planes, size[0], size[1], size[2]", grad_x="planes, plane[0], plane[1], plane[2]", **TAPS)
def resize_backward(
    g, grad_x, index_0, index_1, index_2, weight_0, weight_1, weight_2, planes, plane, size, taps
):
    T = g.dtype.type
    first_0, weights_0 = turned_around(index_0, weight_0, plane[0], T)
    first_1, weights_1 = turned_around(index_1, weight_1, plane[1], T)
    first_2, weights_2 = turned_around(index_2, weight_2, plane[2], T)
    count = weights_2.shape[1]
    for p in prange(planes):
        # Behind its end are zeros, for weights that are zero.
        combined = np.zeros(size[2] + count, g.dtype)
        rows = combined[: size[2]]
        for d in range(plane[0]):
            for h in range(plane[1]):
                rows[:] = T(0)
                for a in range(weights_0.shape[1]):
                    for b in range(weights_1.shape[1]):
                        w = weights_0[d, a] * weights_1[h, b]
                        if w == T(0):
                            continue
                        row = g[p, first_0[d] + a, first_1[h] + b]
                        for o in range(rows.size):
                            rows[o] += w * row[o]
                out = grad_x[p, d, h]
                if count == 2:
                    gather(combined, first_2, weights_2, out, 2)
                elif count == 4:
                    gather(combined, first_2, weights_2, out, 4)
                else:
                    gather(combined, first_2, weights_2, out, count)


def arguments(shape, size: Ints, scales, mode: str, align_corners: bool, antialias: bool, x: Tensor) -> tuple:
    """Of both loops those that follow the tensors, all axes taken for three."""
    found = axes(shape, size, scales, mode, align_corners, antialias, x.dtype, x.device)
    missing = 3 - len(size)
    index = [None] * missing + [taps.contiguous() for _, taps, _ in reversed(found)]
    weight = [None] * missing + [
        None if w is None else w.to(x.dtype).contiguous() for _, _, w in reversed(found)
    ]
    counts = [taps.shape[1] for _, taps, _ in reversed(found)]
    planes = math.prod(shape[: len(shape) - len(size)])
    return (*index, *weight, planes, three(shape[2:], 1), three(size, 1), three(counts, 1))


class InterpolateCPU(InterpolateFunction):
    @staticmethod
    def forward(x: Tensor, size: Ints, scales, mode: str, align_corners: bool, antialias: bool):
        if mode not in NEAREST and not antialias:
            # ATen's weights differ from the taps' in their last digits, and 0 times infinity is NaN.
            return InterpolateFunction.forward(x, size, scales, mode, align_corners, antialias)
        y = x.new_empty(*x.shape[:2], *size)
        resize(x, y, *arguments(x.shape, size, scales, mode, align_corners, antialias, x))
        return y

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        if not plain(grad_y):
            return InterpolateFunction.backward(ctx, grad_y)
        g, how = grad_y.contiguous(), (ctx.mode, ctx.align_corners, ctx.antialias)
        grad_x = g.new_empty(ctx.shape)
        resize_backward(g, grad_x, *arguments(ctx.shape, ctx.size, ctx.scales, *how, g))
        return grad_x, None, None, None, None, None


TWINS = {
    InterpolateFunction: Twin(
        InterpolateCPU, takes=lambda x, *_: x.is_contiguous(), asks="a contiguous input"
    ),
}
