"""Kernels of ``layers/batchnorm.py``, and statistics that other pages use.

What is read twice stays in a cache between the two times. Where the channels of a sample lie one behind the
other in memory (planes), one channel at a time is reduced and then written. Where channels are the last axis
in memory (rows), all are reduced at once, in parts of the rows, and then all are written.

With ``fixed`` statistics a loop computes ``BatchNormEvalFunction``, otherwise ``BatchNormFunction``.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from ...layers.batchnorm import BatchNormEvalFunction, BatchNormFunction
from .. import Twin, plain
from ._jit import compiled, inlined, like

__all__ = ["CHUNK", "PARTS", "TWINS", "channel_statistics", "channel_sums", "column_statistics", "dense"]

# Numbers that are added in the precision of the input, before sums go on in float64: few enough to be exact
# to its last digits, and to be in the cache when they are read for the second time.
CHUNK = 1024
# The same for rows.
ROWS = 32
# Rows are summed in so many parts, whatever the number of threads, so that results do not depend on it.
PARTS = 16


@inlined
def channel_statistics(x, c):
    """Mean and variance of channel ``c`` of (B, C, S), in float64, from one walk through memory.

    Of a chunk first the mean, then the squares about it; chunks are joined by the formula of Chan, Golub and
    LeVeque (1979).
    """
    T = x.dtype.type
    batch, _, size = x.shape
    step = max(1, CHUNK // max(1, size))
    count = 0
    total = 0.0
    squares = 0.0
    for first in range(0, batch, step):
        last = min(first + step, batch)
        for start in range(0, size, CHUNK):
            stop = min(start + CHUNK, size)
            added = 0.0
            for b in range(first, last):
                part = T(0)
                for s in range(start, stop):
                    part += x[b, c, s]
                added += part
            n = (last - first) * (stop - start)
            mean = added / n
            mu = T(mean)
            added_squares = 0.0
            for b in range(first, last):
                part = T(0)
                for s in range(start, stop):
                    part += (x[b, c, s] - mu) * (x[b, c, s] - mu)
                added_squares += part
            squares += added_squares
            if count:
                apart = mean - total / count
                squares += apart * apart * (count / (count + n)) * n
            total += added
            count += n
    return total / count, squares / count


@inlined
def channel_sums(g, x, c, mu):
    """Σ g and Σ g (x − μ) of channel ``c`` of (B, C, S), in float64."""
    T = g.dtype.type
    batch, _, size = g.shape
    sum_g = 0.0
    sum_g_x = 0.0
    for b in range(batch):
        for start in range(0, size, CHUNK):
            part_g = T(0)
            part_g_x = T(0)
            for s in range(start, min(start + CHUNK, size)):
                part_g += g[b, c, s]
                part_g_x += g[b, c, s] * (x[b, c, s] - mu)
            sum_g += part_g
            sum_g_x += part_g_x
    return sum_g, sum_g_x


@inlined
def column_statistics(x, first, last, total, squares):
    """Sum, and squares about the mean, of the columns of rows ``first`` to ``last``, into float64 arrays.

    As in :func:`channel_statistics`, where a chunk is some rows.
    """
    T = x.dtype.type
    columns = x.shape[1]
    added = np.empty(columns, x.dtype)
    mean = np.empty(columns, x.dtype)
    added_squares = np.empty(columns, x.dtype)
    total[:] = 0
    squares[:] = 0
    for start in range(first, last, ROWS):
        stop = min(start + ROWS, last)
        count, n = start - first, stop - start
        added[:] = 0
        added_squares[:] = 0
        for row in range(start, stop):
            for c in range(columns):
                added[c] += x[row, c]
        for c in range(columns):
            mean[c] = added[c] / T(n)
        for row in range(start, stop):
            for c in range(columns):
                added_squares[c] += (x[row, c] - mean[c]) * (x[row, c] - mean[c])
        join(total, squares, added, added_squares, count, n)


@inlined
def join(total, squares, added, added_squares, count, n):
    """Sums, and squares about the mean, of ``count`` rows and of ``n`` others: together, in place."""
    for c in range(total.size):
        apart = added[c] / n - (total[c] / count if count else 0.0)
        squares[c] += added_squares[c] + (apart * apart * (count / (count + n)) * n if count else 0.0)
        total[c] += added[c]


@compiled(
    x="batch, channels, size", weight="channels?", bias="channels?", y="batch, channels, size",
    mean="channels", var="channels",
)  # fmt: skip
def planes_forward(x, weight, bias, y, mean, var, batch, channels, size, eps, fixed):
    T = x.dtype.type
    for c in prange(channels):
        if not fixed:
            mu, v = channel_statistics(x, c)
            mean[c] = mu
            var[c] = v
        mu = mean[c]
        scale = T(1) / np.sqrt(var[c] + T(eps))
        if weight.size:
            scale *= weight[c]
        shift = bias[c] if bias.size else T(0)
        for b in range(batch):
            for s in range(size):
                y[b, c, s] = (x[b, c, s] - mu) * scale + shift


@compiled(
    g="batch, channels, size", x="batch, channels, size?", weight="channels?", mean="channels",
    var="channels", grad_x="batch, channels, size?", grad_weight="channels", grad_bias="channels",
)  # fmt: skip
def planes_backward(
    g, x, weight, mean, var, grad_x, grad_weight, grad_bias, batch, channels, size, eps, fixed
):
    T = g.dtype.type
    count = batch * size
    for c in prange(channels):
        mu = mean[c]
        r = T(1) / np.sqrt(var[c] + T(eps))
        sum_g, sum_g_x = channel_sums(g, x if x.size else g, c, mu)
        grad_bias[c] = sum_g
        grad_weight[c] = r * T(sum_g_x)
        scale = r * weight[c] if weight.size else r
        if grad_x.size == 0:
            continue
        if fixed:
            for b in range(batch):
                for s in range(size):
                    grad_x[b, c, s] = g[b, c, s] * scale
        else:
            mean_g = T(sum_g / count)
            slope = r * r * T(sum_g_x / count)
            for b in range(batch):
                for s in range(size):
                    grad_x[b, c, s] = (g[b, c, s] - mean_g - (x[b, c, s] - mu) * slope) * scale


@compiled(
    x="rows, channels", weight="channels?", bias="channels?", y="rows, channels",
    mean="channels", var="channels",
)  # fmt: skip
def rows_forward(x, weight, bias, y, mean, var, rows, channels, eps, fixed, parts):
    T = x.dtype.type
    if not fixed:
        total = np.empty((parts, channels))
        squares = np.empty((parts, channels))
        for part in prange(parts):
            first, last = part * rows // parts, (part + 1) * rows // parts
            column_statistics(x, first, last, total[part], squares[part])
        for part in range(1, parts):
            first, last = part * rows // parts, (part + 1) * rows // parts
            join(total[0], squares[0], total[part], squares[part], first, last - first)
        for c in range(channels):
            mean[c] = total[0, c] / rows
            var[c] = squares[0, c] / rows
    scale = np.empty(channels, x.dtype)
    shift = np.zeros(channels, x.dtype)
    for c in range(channels):
        scale[c] = T(1) / np.sqrt(var[c] + T(eps))
        if weight.size:
            scale[c] *= weight[c]
        if bias.size:
            shift[c] = bias[c]
    for row in prange(rows):
        for c in range(channels):
            y[row, c] = (x[row, c] - mean[c]) * scale[c] + shift[c]


@compiled(
    g="rows, channels", x="rows, channels?", weight="channels?", mean="channels", var="channels",
    grad_x="rows, channels?", grad_weight="channels", grad_bias="channels",
)  # fmt: skip
def rows_backward(g, x, weight, mean, var, grad_x, grad_weight, grad_bias, rows, channels, eps, fixed, parts):
    T = g.dtype.type
    values = x if x.size else g
    sums_g = np.zeros((parts, channels))
    sums_g_x = np.zeros((parts, channels))
    for part in prange(parts):
        column_sums(
            g, values, mean, part * rows // parts, (part + 1) * rows // parts, sums_g[part], sums_g_x[part]
        )
    for part in range(1, parts):
        for c in range(channels):
            sums_g[0, c] += sums_g[part, c]
            sums_g_x[0, c] += sums_g_x[part, c]
    mean_g = np.zeros(channels, g.dtype)
    slope = np.zeros(channels, g.dtype)
    scale = np.empty(channels, g.dtype)
    for c in range(channels):
        r = T(1) / np.sqrt(var[c] + T(eps))
        grad_bias[c] = sums_g[0, c]
        grad_weight[c] = r * T(sums_g_x[0, c])
        scale[c] = r * weight[c] if weight.size else r
        if not fixed:
            mean_g[c] = sums_g[0, c] / rows
            slope[c] = r * r * T(sums_g_x[0, c] / rows)
    if grad_x.size == 0:
        return
    if fixed:
        for row in prange(rows):
            for c in range(channels):
                grad_x[row, c] = g[row, c] * scale[c]
    else:
        for row in prange(rows):
            for c in range(channels):
                grad_x[row, c] = (g[row, c] - mean_g[c] - (x[row, c] - mean[c]) * slope[c]) * scale[c]


@inlined
def column_sums(g, x, mean, first, last, sum_g, sum_g_x):
    """Σ g and Σ g (x − μ) of the columns of rows ``first`` to ``last``, added to float64 arrays."""
    columns = g.shape[1]
    part_g = np.empty(columns, g.dtype)
    part_g_x = np.empty(columns, g.dtype)
    for start in range(first, last, ROWS):
        part_g[:] = 0
        part_g_x[:] = 0
        for row in range(start, min(start + ROWS, last)):
            for c in range(columns):
                part_g[c] += g[row, c]
                part_g_x[c] += g[row, c] * (x[row, c] - mean[c])
        for c in range(columns):
            sum_g[c] += part_g[c]
            sum_g_x[c] += part_g_x[c]


def in_memory(x: Tensor) -> tuple[Tensor, bool]:
    """``x``, (B, C, *), in dense memory, and whether it lies in rows: whether its last axis there is C."""
    if x.is_contiguous():
        return x, x.dim() == 2
    if x.movedim(1, -1).is_contiguous():
        return x, True
    return x.contiguous(), x.dim() == 2


def normalized(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, var: Tensor, eps: float, fixed: bool
) -> Tensor:
    """Scaled and shifted x̂; ``mean`` and ``var`` are read if they are ``fixed``, and written if not."""
    x, in_rows = in_memory(x)
    y = torch.empty_like(x)
    channels = x.shape[1]
    if in_rows:
        rows = x.numel() // channels
        rows_forward(x, weight, bias, y, mean, var, rows, channels, eps, fixed, min(PARTS, rows))
    else:
        batch = x.shape[0]
        size = x.numel() // (batch * channels)
        planes_forward(x, weight, bias, y, mean, var, batch, channels, size, eps, fixed)
    return y


def gradients(
    grad_y: Tensor,
    x: Tensor | None,
    weight: Tensor | None,
    mean: Tensor,
    var: Tensor,
    eps: float,
    fixed: bool,
    needed: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of x, weight and bias, as ``needed``."""
    need_x, need_weight, need_bias = needed
    values, in_rows = in_memory(grad_y if x is None else x)
    g = grad_y if grad_y.stride() == values.stride() else like(grad_y, values)
    x = None if x is None else values
    channels = g.shape[1]
    grad_x = torch.empty_like(g) if need_x else None
    grad_weight, grad_bias = torch.empty_like(mean), torch.empty_like(mean)
    if in_rows:
        rows = g.numel() // channels
        rows_backward(
            g, x, weight, mean, var, grad_x, grad_weight, grad_bias,
            rows, channels, eps, fixed, min(PARTS, rows),
        )  # fmt: skip
    else:
        batch = g.shape[0]
        size = g.numel() // (batch * channels)
        planes_backward(
            g, x, weight, mean, var, grad_x, grad_weight, grad_bias, batch, channels, size, eps, fixed
        )
    return grad_x, grad_weight if need_weight else None, grad_bias if need_bias else None


def dense(*parameters: Tensor | None) -> bool:
    """Whether all of them that are not None are contiguous."""
    for parameter in parameters:  # noqa: SIM110  (a generator would take twice the time)
        if parameter is not None and not parameter.is_contiguous():
            return False
    return True


class BatchNormCPU(BatchNormFunction):
    @staticmethod
    def forward(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float):
        mean = x.new_empty(x.shape[1])
        var = torch.empty_like(mean)
        return normalized(x, weight, bias, mean, var, eps, False), mean, var

    @staticmethod
    def backward(ctx, grad_y: Tensor, _mean, _var):
        if not plain(grad_y):
            return BatchNormFunction.backward(ctx, grad_y, _mean, _var)
        x, weight, mean, var = ctx.saved_tensors
        needed = ctx.needs_input_grad[:3]
        return *gradients(grad_y, x, weight, mean, var, ctx.eps, False, needed), None


class BatchNormEvalCPU(BatchNormEvalFunction):
    @staticmethod
    def forward(x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float):
        return normalized(x, weight, bias, mean, var, eps, True)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        if not plain(grad_y):
            return BatchNormEvalFunction.backward(ctx, grad_y)
        x, mean, var, weight = ctx.saved_tensors
        need_x, _, _, need_weight, need_bias, _ = ctx.needs_input_grad
        needed = (need_x, need_weight, need_bias)
        grad_x, grad_weight, grad_bias = gradients(grad_y, x, weight, mean, var, ctx.eps, True, needed)
        return grad_x, None, None, grad_weight, grad_bias, None


TWINS = {
    BatchNormFunction: Twin(
        BatchNormCPU,
        takes=lambda x, weight, bias, eps: dense(weight, bias),
        asks="contiguous parameters",
    ),
    BatchNormEvalFunction: Twin(
        BatchNormEvalCPU,
        takes=lambda x, mean, var, weight, bias, eps: dense(mean, var, weight, bias),
        asks="contiguous parameters and statistics",
    ),
}
