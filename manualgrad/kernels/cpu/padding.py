"""Kernels of ``layers/padding.py``: rows are copied, and what stands in the border is added to its source.

All axes are taken for three, the missing ones of length 1. A place of the output that lies in the input is a
copy of the element there, in every mode: backward, that is a copy too. Only the border asks for its source.
Padding with a constant has none: its formula copies a block, and nothing is faster.
"""

from __future__ import annotations

import math

from numba import prange
from torch import Tensor

from ...layers.padding import IndexPadFunction
from .. import Twin, plain
from ._jit import compiled, forceinline
from ._windows import three

__all__ = ["TWINS"]

MODES = {"reflect": 0, "replicate": 1, "circular": 2}
REFLECT, REPLICATE, CIRCULAR = MODES.values()


@forceinline
def source(place, length, left, right, mode):
    """The element that a place copies, counted from the first element."""
    if 0 <= place < length:
        return place
    if mode == REFLECT:
        return length - 1 - abs(length - 1 - abs(place))
    if mode == REPLICATE:
        return 0 if place < 0 else length - 1
    start, stop = max(-left, 0), length - max(-right, 0)
    return start + (place - start) % (stop - start)


@compiled(x="planes, plane[0], plane[1], plane[2]", y="planes, size[0], size[1], size[2]")
def pad_forward(x, y, planes, plane, size, left, right, mode):
    low, high = max(left[2], 0), min(left[2] + plane[2], size[2])
    for tile in prange(planes * size[0] * size[1]):
        p, o_d, o_h = tile // (size[0] * size[1]), tile // size[1] % size[0], tile % size[1]
        d = source(o_d - left[0], plane[0], left[0], right[0], mode)
        h = source(o_h - left[1], plane[1], left[1], right[1], mode)
        out, row = y[p, o_d, o_h], x[p, d, h]
        inside, copied = out[low:high], row[low - left[2] : high - left[2]]
        for o in range(inside.size):
            inside[o] = copied[o]
        for o in range(low):
            out[o] = row[source(o - left[2], plane[2], left[2], right[2], mode)]
        for o in range(high, size[2]):
            out[o] = row[source(o - left[2], plane[2], left[2], right[2], mode)]


@compiled(g="planes, size[0], size[1], size[2]", grad_x="planes, plane[0], plane[1], plane[2]")
def pad_backward(g, grad_x, planes, plane, size, left, right, mode):
    T = g.dtype.type
    low, high = max(left[2], 0), min(left[2] + plane[2], size[2])
    for p in prange(planes):
        for d in range(plane[0]):
            for h in range(plane[1]):
                grad_row = grad_x[p, d, h]
                o_d, o_h = d + left[0], h + left[1]
                if o_d < 0 or o_d >= size[0] or o_h < 0 or o_h >= size[1]:
                    for w in range(grad_row.size):
                        grad_row[w] = T(0)
                    continue
                inside = grad_row[low - left[2] : high - left[2]]
                copied = g[p, o_d, o_h, low:high]
                for w in range(inside.size):
                    inside[w] = copied[w]
                for w in range(low - left[2]):
                    grad_row[w] = T(0)
                for w in range(high - left[2], plane[2]):
                    grad_row[w] = T(0)
        for o_d in range(size[0]):
            for o_h in range(size[1]):
                d = source(o_d - left[0], plane[0], left[0], right[0], mode)
                h = source(o_h - left[1], plane[1], left[1], right[1], mode)
                grad_row, row = grad_x[p, d, h], g[p, o_d, o_h]
                if d != o_d - left[0] or h != o_h - left[1]:
                    inside, added = grad_row[low - left[2] : high - left[2]], row[low:high]
                    for w in range(inside.size):
                        inside[w] += added[w]
                for o in range(low):
                    grad_row[source(o - left[2], plane[2], left[2], right[2], mode)] += row[o]
                for o in range(high, size[2]):
                    grad_row[source(o - left[2], plane[2], left[2], right[2], mode)] += row[o]


def axes(shape, amounts) -> tuple:
    """The planes, and for each of their three axes: length, length of the output, left and right."""
    left, right = amounts[::2][::-1], amounts[1::2][::-1]  # they begin with the last axis
    lead = len(shape) - len(left)
    plane = shape[lead:]
    size = [length + a + b for length, a, b in zip(plane, left, right)]
    return math.prod(shape[:lead]), three(plane, 1), three(size, 1), three(left, 0), three(right, 0)


class IndexPadCPU(IndexPadFunction):
    @staticmethod
    def forward(x: Tensor, amounts: tuple[int, ...], mode: str):
        planes, plane, size, left, right = axes(x.shape, amounts)
        padded = len(amounts) // 2
        y = x.new_empty(*x.shape[: x.dim() - padded], *size[3 - padded :])
        pad_forward(x, y, planes, plane, size, left, right, MODES[mode])
        return y

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        if not plain(grad_y):
            return IndexPadFunction.backward(ctx, grad_y)
        grad_x = grad_y.new_empty(ctx.shape)
        pad_backward(grad_y.contiguous(), grad_x, *axes(ctx.shape, ctx.amounts), MODES[ctx.mode])
        return grad_x, None, None


def takes(x: Tensor, amounts: tuple[int, ...], _) -> bool:
    lengths = x.shape[::-1]
    return (
        2 <= len(amounts) <= 6
        and x.is_contiguous()
        and all(n + min(a, 0) + min(b, 0) > 0 for n, a, b in zip(lengths, amounts[::2], amounts[1::2]))
    )


ASKS = "a contiguous input, padded along at most three axes"
TWINS = {IndexPadFunction: Twin(IndexPadCPU, takes=takes, asks=ASKS)}
