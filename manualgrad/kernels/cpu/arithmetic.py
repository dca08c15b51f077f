"""Kernels of ``layers/arithmetic.py``: the gradient of chosen entries is that of a table's rows."""

from __future__ import annotations

import math

from torch import Tensor

from ...layers.arithmetic import IndexSelectFunction
from .. import Twin, plain
from .sparse import add_by_row

__all__ = ["TWINS"]


class IndexSelectCPU(IndexSelectFunction):
    @staticmethod
    def backward(ctx, grad_y: Tensor):
        if not plain(grad_y):
            return IndexSelectFunction.backward(ctx, grad_y)
        (index,) = ctx.saved_tensors
        shape, dim, places = ctx.shape, ctx.dim % len(ctx.shape), index.numel()
        outer, rows, width = math.prod(shape[:dim]), shape[dim], math.prod(shape[dim + 1 :])
        grad_x = grad_y.new_empty(shape)
        add_by_row(
            grad_y.contiguous(), index.long().contiguous(), None, None, grad_x,
            outer, places, places, rows, width, -1, False,
        )  # fmt: skip
        return grad_x, None, None


TWINS = {
    IndexSelectFunction: Twin(
        IndexSelectCPU, takes=lambda x, dim, index: x.dim() > 0, asks="an input with axes"
    )
}
