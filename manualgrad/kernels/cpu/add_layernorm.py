"""Kernels of ``layers/add_layernorm.py``: a row of the sum is normalized while it is in a cache."""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import prange
from torch import Tensor

from ...layers.add_layernorm import AddLayerNormFunction
from .. import Twin, plain
from ._jit import compiled
from .batchnorm import CHUNK, channel_statistics, dense
from .normalization import normalize, row_gradients, row_statistics

__all__ = ["TWINS"]


@compiled(
    x="rows, count", residual="rows, count", weight="count?", bias="count?", y="rows, count",
    s="rows, count", mean="rows", rstd="rows",
)  # fmt: skip
def add_layer_norm_forward(x, residual, weight, bias, y, s, mean, rstd, rows, count, eps):
    T = x.dtype.type
    one_plane = s.reshape((1, rows, count))
    for row in prange(rows):
        for i in range(count):
            s[row, i] = x[row, i] + residual[row, i]
        if count <= CHUNK:
            m, v = row_statistics(s[row])
        else:
            m, v = channel_statistics(one_plane, row)
        mean[row] = T(m)
        rstd[row] = T(1 / np.sqrt(v + eps))
        normalize(s[row], mean[row], rstd[row], weight, bias, y[row])


class AddLayerNormCPU(AddLayerNormFunction):
    @staticmethod
    def forward(
        x: Tensor, residual: Tensor, weight: Tensor | None, bias: Tensor | None, ndim: int, eps: float
    ):
        x, residual = x.contiguous(), residual.contiguous()
        batch = x.shape[:-ndim]
        rows = math.prod(batch)
        y, s = torch.empty_like(x), torch.empty_like(x)
        mean = x.new_empty(*batch, *(1,) * ndim)
        rstd = torch.empty_like(mean)
        add_layer_norm_forward(x, residual, weight, bias, y, s, mean, rstd, rows, x.numel() // rows, eps)
        return y, s, mean, rstd

    @staticmethod
    def backward(ctx, grad_y: Tensor | None, grad_s: Tensor | None, _mean, _rstd):
        given = [g for g in (grad_y, grad_s) if g is not None]
        if grad_y is None or not plain(*given):
            return AddLayerNormFunction.backward(ctx, grad_y, grad_s, _mean, _rstd)
        s, weight, mean, rstd = ctx.saved_tensors
        need_x, need_residual, need_weight, need_bias, *_ = ctx.needs_input_grad
        needed = (need_x or need_residual, need_weight, need_bias)
        h, grad_weight, grad_bias = row_gradients(needed, grad_y, mean, rstd, s, weight, ctx.ndim, grad_s)
        return h if need_x else None, h if need_residual else None, grad_weight, grad_bias, None, None


TWINS = {
    AddLayerNormFunction: Twin(
        AddLayerNormCPU,
        takes=lambda x, residual, weight, bias, ndim, eps: dense(weight, bias),
        asks="contiguous parameters",
    ),
}
