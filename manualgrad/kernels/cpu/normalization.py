"""Kernels of ``layers/normalization.py``: a row, which fits into the cache, comes from memory once."""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import prange
from torch import Tensor

from ...layers.normalization import LayerNormFunction
from .. import Twin, plain
from ._jit import compiled

__all__ = ["TWINS"]

# Rows are summed in so many parts, whatever the number of threads, so that results do not depend on it.
PARTS = 16


@compiled(x="rows, count", weight="count?", bias="count?", y="rows, count", mean="rows", rstd="rows")
def layer_norm_forward(x, weight, bias, y, mean, rstd, rows, count, eps):
    T = x.dtype.type
    for row in prange(rows):
        total = T(0)
        for i in range(count):
            total += x[row, i]
        mu = total / T(count)
        squares = T(0)
        for i in range(count):
            squares += (x[row, i] - mu) * (x[row, i] - mu)
        r = T(1) / np.sqrt(squares / T(count) + T(eps))
        mean[row] = mu
        rstd[row] = r
        for i in range(count):
            w = weight[i] if weight.size else T(1)
            b = bias[i] if bias.size else T(0)
            y[row, i] = (x[row, i] - mu) * r * w + b


@compiled(
    x="rows, count", g="rows, count", weight="count?", mean="rows", rstd="rows",
    grad_x="rows, count", grad_weight="parts, count", grad_bias="parts, count",
)  # fmt: skip
def layer_norm_backward(x, g, weight, mean, rstd, grad_x, grad_weight, grad_bias, rows, count, parts):
    T = x.dtype.type
    for part in prange(parts):
        for i in range(count):
            grad_weight[part, i] = 0
            grad_bias[part, i] = 0
        for row in range(part * rows // parts, (part + 1) * rows // parts):
            mu, r = mean[row], rstd[row]
            sum_g = T(0)
            sum_g_x_hat = T(0)
            for i in range(count):
                x_hat = (x[row, i] - mu) * r
                g_hat = g[row, i] * (weight[i] if weight.size else T(1))
                sum_g += g_hat
                sum_g_x_hat += g_hat * x_hat
                grad_weight[part, i] += g[row, i] * x_hat
                grad_bias[part, i] += g[row, i]
            sum_g /= T(count)
            sum_g_x_hat /= T(count)
            for i in range(count):
                x_hat = (x[row, i] - mu) * r
                g_hat = g[row, i] * (weight[i] if weight.size else T(1))
                grad_x[row, i] = r * (g_hat - sum_g - x_hat * sum_g_x_hat)


class LayerNormCPU(LayerNormFunction):
    @staticmethod
    def forward(x: Tensor, weight: Tensor | None, bias: Tensor | None, ndim: int, eps: float):
        x = x.contiguous()
        shape = x.shape
        rows = math.prod(shape[:-ndim])
        y = torch.empty_like(x)
        mean, rstd = x.new_empty(2, *shape[:-ndim], *(1,) * ndim).unbind()
        layer_norm_forward(x, weight, bias, y, mean, rstd, rows, x.numel() // rows, eps)
        return y, mean, rstd

    @staticmethod
    def backward(ctx, grad_y: Tensor, _mean, _rstd):
        if not plain(grad_y):
            return LayerNormFunction.backward(ctx, grad_y, _mean, _rstd)
        x, weight, mean, rstd = ctx.saved_tensors
        x = x.contiguous()
        rows = mean.numel()
        count = x.numel() // rows
        parts = min(PARTS, rows)
        grad_x = torch.empty_like(x)
        grad_weight, grad_bias = x.new_empty(2, parts, count).unbind()
        layer_norm_backward(
            x, grad_y.contiguous(), weight, mean, rstd, grad_x, grad_weight, grad_bias, rows, count, parts
        )
        normalized = x.shape[-ctx.ndim :]
        _, need_weight, need_bias, *_ = ctx.needs_input_grad
        return (
            grad_x,
            grad_weight.sum(0).reshape(normalized) if need_weight else None,
            grad_bias.sum(0).reshape(normalized) if need_bias else None,
            None,
            None,
        )


TWINS = {LayerNormFunction: Twin(LayerNormCPU)}
