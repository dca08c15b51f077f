"""Kernels of ``layers/piecewise.py``: one pass over memory each."""

from __future__ import annotations

import torch
from numba import prange
from torch import Tensor

from ...layers.piecewise import ReLUFunction
from .. import Twin, plain
from ._jit import compiled, like

__all__ = ["TWINS"]


@compiled(y="n", g="n", grad_x="n")
def relu_backward(y, g, grad_x, n):
    for i in prange(n):
        grad_x[i] = 0 if y[i] <= 0 else g[i]


class ReLUCPU(ReLUFunction):
    @staticmethod
    def backward(ctx, grad_y: Tensor):
        if not plain(grad_y):
            return ReLUFunction.backward(ctx, grad_y)
        (y,) = ctx.saved_tensors
        grad_x = torch.empty_like(y)
        relu_backward(y, like(grad_y, y), grad_x, y.numel())
        return grad_x, None


TWINS = {ReLUFunction: Twin(ReLUCPU, smallest=4096)}
