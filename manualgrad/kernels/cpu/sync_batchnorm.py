"""Kernel of ``layers/sync_batchnorm.py`` for a process that is alone: there it is batch normalization."""

from __future__ import annotations

import torch
from torch import Tensor

from ...layers.sync_batchnorm import SyncBatchNormFunction
from .. import Twin, plain
from .batchnorm import dense, gradients, normalized

__all__ = ["TWINS"]


class SyncBatchNormCPU(SyncBatchNormFunction):
    @staticmethod
    def forward(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, group):
        mean = x.new_empty(x.shape[1])
        var = torch.empty_like(mean)
        count = x.new_full((1,), x.numel() // x.shape[1])
        return normalized(x, weight, bias, mean, var, eps, False), mean, var, count

    @staticmethod
    def backward(ctx, grad_y: Tensor, _mean, _var, _count):
        if not plain(grad_y):
            return SyncBatchNormFunction.backward(ctx, grad_y, _mean, _var, _count)
        x, weight, mean, var = ctx.saved_tensors
        needed = ctx.needs_input_grad[:3]
        return *gradients(grad_y, x, weight, mean, var, ctx.eps, False, needed), None, None


TWINS = {
    SyncBatchNormFunction: Twin(
        SyncBatchNormCPU,
        takes=lambda x, weight, bias, eps, group: group is None and dense(weight, bias),
        asks="one process, contiguous parameters",
    ),
}
