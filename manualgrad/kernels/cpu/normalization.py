"""Kernels of ``layers/normalization.py``: rows, and groups, come from memory once and are in a cache then.

RMSNorm is LayerNorm with a mean that is taken to be 0, and shares its loops, which get no mean then.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import prange
from torch import Tensor

from ...layers.normalization import GroupNormFunction, LayerNormFunction, RMSNormFunction
from .. import Twin, plain
from ._jit import compiled, contiguous, inlined
from .batchnorm import CHUNK, PARTS, channel_statistics, dense

__all__ = [
    "TWINS",
    "group_gradients",
    "normalize",
    "row_gradients",
    "row_statistics",
    "standardized_groups",
]


@inlined
def mean_square(x):
    """Of the numbers of a row, in float64."""
    T = x.dtype.type
    total = 0.0
    for start in range(0, x.size, CHUNK):
        part = T(0)
        for i in range(start, min(start + CHUNK, x.size)):
            part += x[i] * x[i]
        total += part
    return total / x.size


@inlined
def row_statistics(x):
    """Mean and variance of a row that is no longer than a chunk."""
    T = x.dtype.type
    total = T(0)
    for i in range(x.size):
        total += x[i]
    mu = total / T(x.size)
    squares = T(0)
    for i in range(x.size):
        squares += (x[i] - mu) * (x[i] - mu)
    return mu, squares / T(x.size)


@inlined
def normalize(x, mu, r, weight, bias, y):
    """A row of the output."""
    if weight.size and bias.size:
        for i in range(x.size):
            y[i] = (x[i] - mu) * r * weight[i] + bias[i]
    elif weight.size:
        for i in range(x.size):
            y[i] = (x[i] - mu) * r * weight[i]
    else:
        for i in range(x.size):
            y[i] = (x[i] - mu) * r


@compiled(x="rows, count", weight="count?", bias="count?", y="rows, count", mean="rows?", rstd="rows")
def layer_norm_forward(x, weight, bias, y, mean, rstd, rows, count, eps):
    T = x.dtype.type
    one_plane = x.reshape((1, rows, count))
    for row in prange(rows):
        mu = T(0)
        if mean.size:
            if count <= CHUNK:
                m, v = row_statistics(x[row])
            else:
                m, v = channel_statistics(one_plane, row)
            mu = T(m)
            mean[row] = mu
        else:
            v = mean_square(x[row])
        r = T(1 / np.sqrt(v + eps))
        rstd[row] = r
        normalize(x[row], mu, r, weight, bias, y[row])


@inlined
def row_sums(g, x, weight, mu):
    """Σ ĝ and Σ ĝ (x − μ) of a row, in float64."""
    T = x.dtype.type
    sum_g = 0.0
    sum_g_x = 0.0
    for start in range(0, x.size, CHUNK):
        stop = min(start + CHUNK, x.size)
        part_g = T(0)
        part_g_x = T(0)
        if weight.size:
            for i in range(start, stop):
                part_g += g[i] * weight[i]
                part_g_x += g[i] * weight[i] * (x[i] - mu)
        else:
            for i in range(start, stop):
                part_g += g[i]
                part_g_x += g[i] * (x[i] - mu)
        sum_g += part_g
        sum_g_x += part_g_x
    return sum_g, sum_g_x


@inlined
def row_sums_of_4(g, x, weight, mu):
    """The same for four rows that are no longer than a chunk."""
    T = x.dtype.type
    g_0, g_1, g_2, g_3 = g[0], g[1], g[2], g[3]
    x_0, x_1, x_2, x_3 = x[0], x[1], x[2], x[3]
    mu_0, mu_1, mu_2, mu_3 = mu
    sum_0 = sum_1 = sum_2 = sum_3 = T(0)
    sum_x_0 = sum_x_1 = sum_x_2 = sum_x_3 = T(0)
    for i in range(weight.size):
        w = weight[i]
        sum_0 += g_0[i] * w
        sum_1 += g_1[i] * w
        sum_2 += g_2[i] * w
        sum_3 += g_3[i] * w
        sum_x_0 += g_0[i] * w * (x_0[i] - mu_0)
        sum_x_1 += g_1[i] * w * (x_1[i] - mu_1)
        sum_x_2 += g_2[i] * w * (x_2[i] - mu_2)
        sum_x_3 += g_3[i] * w * (x_3[i] - mu_3)
    return (sum_0, sum_1, sum_2, sum_3), (sum_x_0, sum_x_1, sum_x_2, sum_x_3)


@inlined
def means_of_4(mean, row):
    T = mean.dtype.type
    if mean.size == 0:
        return T(0), T(0), T(0), T(0)
    return mean[row], mean[row + 1], mean[row + 2], mean[row + 3]


@inlined
def sums_of_rows(g, x, weight, mean, sum_g, sum_g_x):
    """:func:`row_sums` of some rows."""
    T = x.dtype.type
    rows, count = g.shape
    fours = rows - rows % 4 if weight.size and count <= CHUNK else 0
    for row in range(0, fours, 4):
        four = slice(row, row + 4)
        a, b = row_sums_of_4(g[four], x[four], weight, means_of_4(mean, row))
        for k in range(4):
            sum_g[row + k], sum_g_x[row + k] = a[k], b[k]
    for row in range(fours, rows):
        a, b = row_sums(g[row], x[row], weight, mean[row] if mean.size else T(0))
        sum_g[row], sum_g_x[row] = a, b


@inlined
def add_products(total, g, x, mu, r):
    for i in range(total.size):
        total[i] += g[i] * (x[i] - mu) * r


@inlined
def add_products_of_4(total, g, x, mu, r):
    """The same for four rows: fewer and longer loops, where rows are short."""
    g_0, g_1, g_2, g_3 = g[0], g[1], g[2], g[3]
    x_0, x_1, x_2, x_3 = x[0], x[1], x[2], x[3]
    mu_0, mu_1, mu_2, mu_3 = mu
    r_0, r_1, r_2, r_3 = r[0], r[1], r[2], r[3]
    for i in range(total.size):
        total[i] += (g_0[i] * (x_0[i] - mu_0) * r_0 + g_1[i] * (x_1[i] - mu_1) * r_1) + (
            g_2[i] * (x_2[i] - mu_2) * r_2 + g_3[i] * (x_3[i] - mu_3) * r_3
        )


@inlined
def add_4(total, g):
    g_0, g_1, g_2, g_3 = g[0], g[1], g[2], g[3]
    for i in range(total.size):
        total[i] += (g_0[i] + g_1[i]) + (g_2[i] + g_3[i])


@inlined
def add_row_gradients(g, x, mean, rstd, grad_weight, grad_bias):
    """The parameters' gradients from some rows."""
    T = x.dtype.type
    rows = g.shape[0]
    fours = rows - rows % 4
    if grad_weight.size:
        for row in range(0, fours, 4):
            four = slice(row, row + 4)
            add_products_of_4(grad_weight, g[four], x[four], means_of_4(mean, row), rstd[four])
        for row in range(fours, rows):
            add_products(grad_weight, g[row], x[row], mean[row] if mean.size else T(0), rstd[row])
    if grad_bias.size:
        for row in range(0, fours, 4):
            add_4(grad_bias, g[row : row + 4])
        for row in range(fours, rows):
            for i in range(grad_bias.size):
                grad_bias[i] += g[row, i]


# Rows whose gradients are taken at a time, while they are in the cache.
BLOCK = 16


@compiled(
    x="rows, count", g="rows, count", weight="count?", mean="rows?", rstd="rows", grad_x="rows, count?",
    grad_weight="count?", grad_bias="count?", beside="rows, count?",
)  # fmt: skip
def layer_norm_backward(x, g, weight, mean, rstd, grad_x, grad_weight, grad_bias, beside, rows, count, parts):
    T = x.dtype.type
    sums_g_x = np.zeros((parts, grad_weight.size), x.dtype)
    sums_g = np.zeros((parts, grad_bias.size), x.dtype)
    for part in prange(parts):
        sum_g, sum_g_x = np.empty(BLOCK), np.empty(BLOCK)
        last = (part + 1) * rows // parts
        for start in range(part * rows // parts, last, BLOCK):
            stop = min(start + BLOCK, last)
            some_mean = mean[start:stop] if mean.size else mean
            add_row_gradients(
                g[start:stop], x[start:stop], some_mean, rstd[start:stop], sums_g_x[part], sums_g[part]
            )
            if grad_x.size == 0:
                continue
            sums_of_rows(g[start:stop], x[start:stop], weight, some_mean, sum_g, sum_g_x)
            for row in range(start, stop):
                r = rstd[row]
                mu = mean[row] if mean.size else T(0)
                mean_g = T(sum_g[row - start] / count) if mean.size else T(0)
                slope = r * r * T(sum_g_x[row - start] / count)
                if weight.size:
                    for i in range(count):
                        grad_x[row, i] = r * (g[row, i] * weight[i] - mean_g - (x[row, i] - mu) * slope)
                else:
                    for i in range(count):
                        grad_x[row, i] = r * (g[row, i] - mean_g - (x[row, i] - mu) * slope)
                if beside.size:
                    for i in range(count):
                        grad_x[row, i] += beside[row, i]
    for i in range(grad_weight.size):
        grad_weight[i] = sums_g_x[0, i]
    for i in range(grad_bias.size):
        grad_bias[i] = sums_g[0, i]
    for part in range(1, parts):
        for i in range(grad_weight.size):
            grad_weight[i] += sums_g_x[part, i]
        for i in range(grad_bias.size):
            grad_bias[i] += sums_g[part, i]


def row_gradients(
    needed: tuple[bool, bool, bool],
    grad_y: Tensor,
    mean: Tensor | None,
    rstd: Tensor,
    x: Tensor,
    weight: Tensor | None,
    ndim: int,
    beside: Tensor | None = None,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of x, weight and bias, as ``needed``; ``beside`` is what reaches x past the norm."""
    rows = rstd.numel()
    x = x.contiguous()
    need_x, need_weight, need_bias = needed
    grad_x = torch.empty_like(x) if need_x else None
    grad_weight = x.new_empty(x.shape[-ndim:]) if need_weight else None
    grad_bias = x.new_empty(x.shape[-ndim:]) if need_bias else None
    layer_norm_backward(
        x, grad_y.contiguous(), weight, mean, rstd, grad_x, grad_weight, grad_bias, contiguous(beside),
        rows, x.numel() // rows, min(PARTS, rows),
    )  # fmt: skip
    return grad_x, grad_weight, grad_bias


class LayerNormCPU(LayerNormFunction):
    @staticmethod
    def forward(x: Tensor, weight: Tensor | None, bias: Tensor | None, ndim: int, eps: float):
        x = x.contiguous()
        batch = x.shape[:-ndim]
        rows = math.prod(batch)
        y = torch.empty_like(x)
        mean = x.new_empty(*batch, *(1,) * ndim)
        rstd = torch.empty_like(mean)
        layer_norm_forward(x, weight, bias, y, mean, rstd, rows, x.numel() // rows, eps)
        return y, mean, rstd

    @staticmethod
    def backward(ctx, grad_y: Tensor, _mean, _rstd):
        if not plain(grad_y):
            return LayerNormFunction.backward(ctx, grad_y, _mean, _rstd)
        x, weight, mean, rstd = ctx.saved_tensors
        needed = ctx.needs_input_grad[:3]
        return *row_gradients(needed, grad_y, mean, rstd, x, weight, ctx.ndim), None, None


class RMSNormCPU(RMSNormFunction):
    @staticmethod
    def forward(x: Tensor, weight: Tensor | None, ndim: int, eps: float):
        x = x.contiguous()
        batch = x.shape[:-ndim]
        rows = math.prod(batch)
        y = torch.empty_like(x)
        rrms = x.new_empty(*batch, *(1,) * ndim)
        layer_norm_forward(x, weight, None, y, None, rrms, rows, x.numel() // rows, eps)
        return y, rrms

    @staticmethod
    def backward(ctx, grad_y: Tensor, _rrms):
        if not plain(grad_y):
            return RMSNormFunction.backward(ctx, grad_y, _rrms)
        x, weight, rrms = ctx.saved_tensors
        needed = (*ctx.needs_input_grad[:2], False)
        grad_x, grad_weight, _ = row_gradients(needed, grad_y, None, rrms, x, weight, ctx.ndim)
        return grad_x, grad_weight, None, None


@compiled(
    x="samples * groups, per, size", weight="groups * per?", bias="groups * per?",
    y="samples * groups, per, size", mean="samples * groups", var="samples * groups", rstd="samples * groups",
)  # fmt: skip
def group_norm_forward(x, weight, bias, y, mean, var, rstd, samples, groups, per, size, eps):
    T = x.dtype.type
    one_plane = x.reshape((1, samples * groups, per * size))
    for row in prange(samples * groups):
        m, v = channel_statistics(one_plane, row)
        mu = T(m)
        r = T(1 / np.sqrt(v + eps))
        mean[row] = mu
        var[row] = v
        rstd[row] = r
        for k in range(per):
            channel = row % groups * per + k
            scale = r * weight[channel] if weight.size else r
            shift = bias[channel] if bias.size else T(0)
            for s in range(size):
                y[row, k, s] = (x[row, k, s] - mu) * scale + shift


@compiled(
    x="samples * groups, per, size", g="samples * groups, per, size", weight="groups * per?",
    mean="samples * groups", rstd="samples * groups", grad_x="samples * groups, per, size?",
    sums_g="samples, groups * per", sums_g_x="samples, groups * per",
)  # fmt: skip
def group_norm_backward(x, g, weight, mean, rstd, grad_x, sums_g, sums_g_x, samples, groups, per, size):
    T = x.dtype.type
    for row in prange(samples * groups):
        sample, group = row // groups, row % groups
        mu, r = mean[row], rstd[row]
        sum_g = 0.0
        sum_g_x = 0.0
        for k in range(per):
            channel = group * per + k
            channel_g = 0.0
            channel_g_x = 0.0
            for start in range(0, size, CHUNK):
                part_g = T(0)
                part_g_x = T(0)
                for s in range(start, min(start + CHUNK, size)):
                    part_g += g[row, k, s]
                    part_g_x += g[row, k, s] * (x[row, k, s] - mu)
                channel_g += part_g
                channel_g_x += part_g_x
            sums_g[sample, channel] = channel_g
            sums_g_x[sample, channel] = T(channel_g_x) * r
            sum_g += channel_g * weight[channel] if weight.size else channel_g
            sum_g_x += channel_g_x * weight[channel] if weight.size else channel_g_x
        if grad_x.size:
            mean_g = T(sum_g / (per * size))
            slope = r * r * T(sum_g_x / (per * size))
            for k in range(per):
                w = weight[group * per + k] if weight.size else T(1)
                for s in range(size):
                    grad_x[row, k, s] = r * (g[row, k, s] * w - mean_g - (x[row, k, s] - mu) * slope)
    for sample in range(1, samples):
        for channel in range(groups * per):
            sums_g[0, channel] += sums_g[sample, channel]
            sums_g_x[0, channel] += sums_g_x[sample, channel]


def standardized_groups(x: Tensor, weight: Tensor | None, bias: Tensor | None, groups: int, eps: float):
    """Output, and mean, variance and r, which have the shape (B, G, 1), of (B, C, *)."""
    x = x.contiguous()
    samples, channels = x.shape[:2]
    y = torch.empty_like(x)
    mean = x.new_empty(samples, groups, 1)
    var, rstd = torch.empty_like(mean), torch.empty_like(mean)
    size = x.numel() // (samples * channels)
    group_norm_forward(x, weight, bias, y, mean, var, rstd, samples, groups, channels // groups, size, eps)
    return y, mean, var, rstd


def group_gradients(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor | None,
    mean: Tensor,
    rstd: Tensor,
    groups: int,
    needed: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of x, weight and bias, as ``needed``."""
    need_x, need_weight, need_bias = needed
    x = x.contiguous()
    samples, channels = x.shape[:2]
    grad_x = torch.empty_like(x) if need_x else None
    sums_g = x.new_empty(samples, channels)
    sums_g_x = torch.empty_like(sums_g)
    size = x.numel() // (samples * channels)
    group_norm_backward(
        x, grad_y.contiguous(), weight, mean, rstd, grad_x, sums_g, sums_g_x,
        samples, groups, channels // groups, size,
    )  # fmt: skip
    return grad_x, sums_g_x[0] if need_weight else None, sums_g[0] if need_bias else None


class GroupNormCPU(GroupNormFunction):
    @staticmethod
    def forward(x: Tensor, weight: Tensor | None, bias: Tensor | None, num_groups: int, eps: float):
        y, mean, _, rstd = standardized_groups(x, weight, bias, num_groups, eps)
        return y, mean, rstd

    @staticmethod
    def backward(ctx, grad_y: Tensor, _mean, _rstd):
        if not plain(grad_y):
            return GroupNormFunction.backward(ctx, grad_y, _mean, _rstd)
        x, weight, mean, rstd = ctx.saved_tensors
        needed = ctx.needs_input_grad[:3]
        return *group_gradients(grad_y, x, weight, mean, rstd, ctx.num_groups, needed), None, None


TWINS = {
    LayerNormFunction: Twin(
        LayerNormCPU,
        takes=lambda x, weight, bias, ndim, eps: dense(weight, bias),
        asks="contiguous parameters",
    ),
    GroupNormFunction: Twin(
        GroupNormCPU,
        takes=lambda x, weight, bias, num_groups, eps: dense(weight, bias),
        asks="contiguous parameters",
    ),
    RMSNormFunction: Twin(
        RMSNormCPU,
        takes=lambda x, weight, ndim, eps: dense(weight),
        asks="a contiguous weight",
    ),
}
