"""Kernels of ``layers/lp_pooling.py``: what windows share, by the loops of average and of max pooling.

Powers are left to ATen, and what has been written is overwritten where it is.
"""

from __future__ import annotations

import math

from torch import Tensor

from ...layers.lp_pooling import LPPoolFunction, MaxNormPoolFunction
from .. import Twin, plain
from .avg_pooling import AvgPoolCPU, shared_out, takes_avg
from .max_pooling import scattered

__all__ = ["TWINS"]


class LPPoolCPU(LPPoolFunction):
    @staticmethod
    def forward(x: Tensor, p: float, kernel, stride, ceil_mode: bool):
        mean = AvgPoolCPU.forward(x.pow(p), kernel, stride, (0,) * len(kernel), ceil_mode, True, None)
        s = mean.mul_(math.prod(kernel))
        return s.pow(1 / p), s

    @staticmethod
    def backward(ctx, grad_y: Tensor, _s):
        if not plain(grad_y):
            return LPPoolFunction.backward(ctx, grad_y, _s)
        (x, s), p, kernel = ctx.saved_tensors, ctx.p, ctx.kernel
        is_zero = s == 0
        share = s.masked_fill(is_zero, 1).pow_(1 / p - 1).mul_(grad_y).masked_fill_(is_zero, 0)
        ndim = len(kernel)
        plane, padding = tuple(x.shape[-ndim:]), (0,) * ndim
        gathered = shared_out(share.mul_(math.prod(kernel)), plane, kernel, ctx.stride, padding, True, 0)
        grad_x = gathered.mul_(x if p == 2 else x.pow(p - 1))
        return grad_x, None, None, None, None


class MaxNormPoolCPU(MaxNormPoolFunction):
    @staticmethod
    def backward(ctx, grad_y: Tensor, _winner, _sign):
        if not plain(grad_y):
            return MaxNormPoolFunction.backward(ctx, grad_y, _winner, _sign)
        winner, sign = ctx.saved_tensors
        return scattered(grad_y * sign, winner, ctx.plane), None, None, None, None


def takes(x: Tensor, p: float, kernel, stride, ceil_mode: bool) -> bool:
    return takes_avg(x, kernel, stride, (0,) * len(kernel), ceil_mode, True, None)


TWINS = {
    LPPoolFunction: Twin(LPPoolCPU, smallest=4096, takes=takes, asks="a contiguous input"),
    MaxNormPoolFunction: Twin(MaxNormPoolCPU, smallest=4096),
}
