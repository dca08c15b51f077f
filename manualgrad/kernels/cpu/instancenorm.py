"""Kernels of ``layers/instancenorm.py``: groups of one channel each, in the loops of ``GroupNorm``."""

from __future__ import annotations

import torch
from torch import Tensor

from ...layers.instancenorm import InstanceNormFunction
from .. import Twin, plain
from .batchnorm import dense
from .normalization import group_gradients, standardized_groups

__all__ = ["TWINS"]


class InstanceNormCPU(InstanceNormFunction):
    @staticmethod
    def forward(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float):
        y, mean, var, _ = standardized_groups(x, weight, bias, x.shape[1], eps)
        return y, mean, var

    @staticmethod
    def backward(ctx, grad_y: Tensor, _mean, _var):
        if not plain(grad_y):
            return InstanceNormFunction.backward(ctx, grad_y, _mean, _var)
        x, weight, mean, var = ctx.saved_tensors
        rstd = torch.rsqrt(var + ctx.eps)
        needed = ctx.needs_input_grad[:3]
        return *group_gradients(grad_y, x, weight, mean, rstd, x.shape[1], needed), None


TWINS = {
    InstanceNormFunction: Twin(
        InstanceNormCPU,
        takes=lambda x, weight, bias, eps: dense(weight, bias),
        asks="contiguous parameters",
    ),
}
