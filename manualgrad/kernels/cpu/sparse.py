"""Kernels of ``layers/sparse.py``: gradients of a table row by row, each written once.

The places of each row are listed first, by counting, in their order. Rows are then dealt out in parts of
equal work, a number of parts that does not depend on the threads; a row belongs to one part, so that its sum
is taken in one order, always the same. Bags are ranges of places; nothing of the size of all selected rows is
made.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from ...layers.sparse import EmbeddingBagFunction, EmbeddingBagMaxFunction, EmbeddingFunction
from .. import Twin, plain
from ._jit import compiled, contiguous, forceinline

__all__ = ["TWINS", "add_by_row"]

PARTS = 64
# Columns of a table that are dealt out together: no cache line is two threads'.
COLUMNS = 32


@forceinline
def first_row(end, rows, work):
    """The first row with so much work in front of it: a unit for a row, and one for each of its places."""
    low, high = 0, rows
    while low < high:
        middle = (low + high) // 2
        before = end[middle - 1] if middle > 0 else 0
        if before + middle < work:
            low = middle + 1
        else:
            high = middle
    return low


@compiled(
    g="outer, sources, width",
    index="int64: places",
    source="int64: places?",
    factor="places?",
    grad="outer, rows, width",
)
def add_by_row(
    g, index, source, factor, grad, outer, sources, places, rows, width, padding_idx, by_frequency
):
    """grad[o, v] = Σ_{n: index(n) = v} factor_n g[o, source(n)],  divided by how many there are."""
    T = g.dtype.type
    end = np.zeros(rows + 1, np.int64)
    for n in range(places):
        end[index[n] + 1] += 1
    for v in range(rows):
        end[v + 1] += end[v]
    order = np.empty(places, np.int64)
    for n in range(places):
        order[end[index[n]]] = n
        end[index[n]] += 1
    for tile in prange(outer * PARTS):
        o, part = tile // PARTS, tile % PARTS
        first = first_row(end, rows, part * (places + rows) // PARTS)
        last = first_row(end, rows, (part + 1) * (places + rows) // PARTS) if part < PARTS - 1 else rows
        for v in range(first, last):
            total = grad[o, v]
            start = end[v - 1] if v > 0 else 0
            stop = start if v == padding_idx else end[v]
            if start == stop:
                for d in range(total.size):
                    total[d] = T(0)
            for k in range(start, stop):
                n = order[k]
                row = g[o, source[n] if source.size else n]
                c = factor[n] if factor.size else T(1)
                if by_frequency:
                    c /= T(stop - start)
                if k == start:
                    for d in range(total.size):
                        total[d] = c * row[d]
                else:
                    for d in range(total.size):
                        total[d] += c * row[d]


class EmbeddingCPU(EmbeddingFunction):
    @staticmethod
    def backward(ctx, grad_y: Tensor):
        if not plain(grad_y):
            return EmbeddingFunction.backward(ctx, grad_y)
        (index,) = ctx.saved_tensors
        (rows, width), places = ctx.size, index.numel()
        grad_weight = grad_y.new_empty(rows, width)
        padding_idx = -1 if ctx.padding_idx is None else ctx.padding_idx
        add_by_row(
            grad_y.contiguous(), index.long().contiguous(), None, None, grad_weight,
            1, places, places, rows, width, padding_idx, bool(ctx.scale_grad_by_freq),
        )  # fmt: skip
        return grad_weight, None, None, None, None


@forceinline
def bounds(b, starts, places, bags, length):
    """The first place of a bag, and the one behind its last: as ``starts`` says, or of equal length."""
    if starts.size == 0:
        return b * length, (b + 1) * length
    return starts[b], starts[b + 1] if b + 1 < bags else places


@compiled(share="places", bag="int64: places", p="places?", index="int64: places", starts="int64: bags?")
def shares_of_bags(share, bag, p, index, starts, places, bags, length, mean, padding_idx):
    """The bag of each place, and the factor c with which it counts there."""
    T = share.dtype.type
    for b in prange(bags):
        start, stop = bounds(b, starts, places, bags, length)
        kept = 0
        for n in range(start, stop):
            kept += index[n] != padding_idx
        each = T(1) / T(max(kept, 1)) if mean else T(1)
        for n in range(start, stop):
            bag[n] = b
            c = p[n] if p.size else each
            share[n] = c if index[n] != padding_idx else T(0)


@compiled(weight="rows, width", index="int64: places", starts="int64: bags?", p="places?", y="bags, width")
def sums_of_bags(weight, index, starts, p, y, rows, width, places, bags, length, mean, padding_idx):
    T = weight.dtype.type
    for b in prange(bags):
        start, stop = bounds(b, starts, places, bags, length)
        total = y[b]
        for d in range(total.size):
            total[d] = T(0)
        kept = 0
        for n in range(start, stop):
            if index[n] == padding_idx:
                continue
            kept += 1
            row = weight[index[n]]
            c = p[n] if p.size else T(1)
            for d in range(total.size):
                total[d] += c * row[d]
        if mean:
            each = T(1) / T(max(kept, 1))
            for d in range(total.size):
                total[d] *= each


@compiled(g="bags, width", weight="rows, width", index="int64: places", bag="int64: places", grad_p="places")
def products_of_rows(g, weight, index, bag, grad_p, bags, rows, width, places, padding_idx):
    T = g.dtype.type
    for n in prange(places):
        total = T(0)
        if index[n] != padding_idx:
            a, b = g[bag[n]], weight[index[n]]
            for d in range(a.size):
                total += a[d] * b[d]
        grad_p[n] = total


@compiled(
    weight="rows, width",
    index="int64: places",
    starts="int64: bags?",
    y="bags, width",
    row="int64: bags, width",
)
def maxima_of_bags(weight, index, starts, y, row, rows, width, places, bags, length, padding_idx):
    T = weight.dtype.type
    for b in prange(bags):
        start, stop = bounds(b, starts, places, bags, length)
        best, winner = y[b], row[b]
        kept = 0
        for n in range(start, stop):
            i = index[n]
            if i == padding_idx:
                continue
            x = weight[i]
            if kept == 0:
                for d in range(best.size):
                    best[d] = x[d]
                    winner[d] = i if x[d] == x[d] else -1
            else:
                # NaN wins, but nobody is responsible for it.
                for d in range(best.size):
                    winner[d] = i if x[d] > best[d] else winner[d] if x[d] == x[d] else -1
                    best[d] = x[d] if (x[d] > best[d]) | (x[d] != x[d]) else best[d]
            kept += 1
        if kept == 0:
            for d in range(best.size):
                best[d] = T(0)
                winner[d] = -1


@compiled(g="bags, width", row="int64: bags, width", grad="rows, width")
def add_to_winners(g, row, grad, bags, rows, width):
    for part in prange((width + COLUMNS - 1) // COLUMNS):
        first, last = part * COLUMNS, min(width, (part + 1) * COLUMNS)
        for b in range(bags):
            for d in range(first, last):
                if row[b, d] >= 0:
                    grad[row[b, d], d] += g[b, d]


def places_of(index: Tensor, offsets: Tensor | None, bags: int) -> tuple[Tensor, Tensor | None, int]:
    """The indices, where each bag starts among them, and how long bags are that have no offsets."""
    starts = None if offsets is None else offsets.narrow(0, 0, bags).long().sort().values
    return index.long().contiguous(), starts, index.numel() // max(bags, 1)


class EmbeddingBagCPU(EmbeddingBagFunction):
    @staticmethod
    def forward(weight: Tensor, index, offsets, per_sample_weights, bags: int, mode: str, padding_idx, *_):
        index, starts, length = places_of(index, offsets, bags)
        rows, width = weight.shape
        y = weight.new_empty(bags, width)
        p = contiguous(per_sample_weights)
        sums_of_bags(
            weight.contiguous(), index, starts, p, y, rows, width, index.numel(), bags, length,
            mode == "mean", -1 if padding_idx is None else padding_idx,
        )  # fmt: skip
        return y

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        if not plain(grad_y):
            return EmbeddingBagFunction.backward(ctx, grad_y)
        weight, index, offsets, p = ctx.saved_tensors
        (rows, width), _ = ctx.like
        bags, (padding_idx, scale_grad_by_freq, _) = ctx.bags, ctx.options
        padding_idx = -1 if padding_idx is None else padding_idx
        index, starts, length = places_of(index, offsets, bags)
        places, g = index.numel(), grad_y.contiguous()
        share, bag = g.new_empty(places), torch.empty_like(index)
        p = contiguous(p)
        shares_of_bags(share, bag, p, index, starts, places, bags, length, ctx.mode == "mean", padding_idx)
        grad_weight = grad_p = None
        if ctx.needs_input_grad[0]:
            grad_weight = g.new_empty(rows, width)
            add_by_row(
                g, index, bag, share, grad_weight, 1, bags, places, rows, width, padding_idx,
                bool(scale_grad_by_freq),
            )  # fmt: skip
        if ctx.needs_input_grad[3]:
            grad_p = torch.empty_like(share)
            products_of_rows(
                g, weight.contiguous(), index, bag, grad_p, bags, rows, width, places, padding_idx
            )
        return grad_weight, None, None, grad_p, None, None, None, None, None


class EmbeddingBagMaxCPU(EmbeddingBagMaxFunction):
    @staticmethod
    def forward(weight: Tensor, index: Tensor, offsets: Tensor | None, bags: int, padding_idx: int | None):
        index, starts, length = places_of(index, offsets, bags)
        rows, width = weight.shape
        y, row = weight.new_empty(bags, width), index.new_empty(bags, width)
        maxima_of_bags(
            weight.contiguous(), index, starts, y, row, rows, width, index.numel(), bags, length,
            -1 if padding_idx is None else padding_idx,
        )  # fmt: skip
        return y, row

    @staticmethod
    def backward(ctx, grad_y: Tensor, _row):
        if not plain(grad_y):
            return EmbeddingBagMaxFunction.backward(ctx, grad_y, _row)
        (row,) = ctx.saved_tensors
        grad_weight = grad_y.new_zeros(ctx.size)
        add_to_winners(grad_y.contiguous(), row.contiguous(), grad_weight, len(row), *ctx.size)
        return grad_weight, None, None, None, None


TWINS = {
    EmbeddingFunction: Twin(
        EmbeddingCPU,
        takes=lambda weight, index, padding_idx, by_frequency, sparse: not sparse,
        asks="a dense gradient",
    ),
    EmbeddingBagFunction: Twin(EmbeddingBagCPU, takes=lambda *args: not args[-1], asks="a dense gradient"),
    EmbeddingBagMaxFunction: Twin(EmbeddingBagMaxCPU),
}
