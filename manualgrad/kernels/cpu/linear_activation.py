"""Kernels of ``layers/linear_activation.py``: products are ATen's, which adds the bias on its way.

Forward overwrites v with y where y is what is kept. Backward makes h and sums it for the bias, row by row
while the row is in a cache, then takes the two products of h.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numba import prange
from torch import Tensor, nn

from ...function import own
from ...layers.linear import rows
from ...layers.linear_activation import OF_V, LinearActivationFunction
from .. import Twin, plain
from ._elementwise import forward_of, mapped
from ._jit import Compiled, compiled
from ._math import inlined
from .activation import sigmoid_backward, tanh_backward
from .batchnorm import PARTS
from .gating import GELU_FORWARD, gelu_backward, gelu_tanh_backward, silu, silu_backward
from .leaky import leaky_relu_backward
from .piecewise import relu_backward

__all__ = ["TWINS"]


def activation_backward(df: Callable[..., Any]) -> Compiled:
    """The loop h = df(kept, g, a, b, T), and the sum of the rows of h."""
    at_activation = inlined(df)

    def loop(kept, g, h, grad_bias, rows, count, parts, a):
        T = kept.dtype.type
        for part in prange(parts):
            if grad_bias.size:
                grad_bias[part] = 0
            for row in range(part * rows // parts, (part + 1) * rows // parts):
                for i in range(count):
                    h[row, i] = at_activation(kept[row, i], g[row, i], T(a), T(0), T)
                if grad_bias.size:
                    for i in range(count):
                        grad_bias[part, i] += h[row, i]
        if grad_bias.size:
            for part in range(1, parts):
                for i in range(count):
                    grad_bias[0, i] += grad_bias[part, i]

    loop.__name__ = f"linear_{df.__name__}"
    matrix = "rows, count"
    return compiled(kept=matrix, g=matrix, h=matrix, grad_bias="parts, count?")(loop)


SILU_FORWARD = forward_of(silu)
FORWARD = {
    "gelu": lambda v, slope: mapped(GELU_FORWARD["none"], v),
    "gelu_tanh": lambda v, slope: mapped(GELU_FORWARD["tanh"], v),
    "leaky_relu": nn.functional.leaky_relu,
    "silu": lambda v, slope: mapped(SILU_FORWARD, v),
}
IN_PLACE = {
    "relu": lambda v, slope: v.relu_(),
    "sigmoid": lambda v, slope: v.sigmoid_(),
    "tanh": lambda v, slope: v.tanh_(),
}
BACKWARD = {
    "gelu": activation_backward(gelu_backward),
    "gelu_tanh": activation_backward(gelu_tanh_backward),
    "leaky_relu": activation_backward(leaky_relu_backward),
    "relu": activation_backward(relu_backward),
    "sigmoid": activation_backward(sigmoid_backward),
    "silu": activation_backward(silu_backward),
    "tanh": activation_backward(tanh_backward),
}


class LinearActivationCPU(LinearActivationFunction):
    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str, slope: float):
        v = own(nn.functional.linear(x, weight, bias))
        if activation in OF_V:
            return FORWARD[activation](v, slope), v
        return IN_PLACE[activation](v, slope), v.new_empty(0)

    @staticmethod
    def backward(ctx, grad_y: Tensor | None, grad_v: Tensor | None):
        if grad_y is None or grad_v is not None or not plain(grad_y):
            return LinearActivationFunction.backward(ctx, grad_y, grad_v)
        x, weight, kept = ctx.saved_tensors
        need_x, need_weight, need_bias, *_ = ctx.needs_input_grad
        g, kept = rows(grad_y).contiguous(), kept.contiguous()
        count, features = g.shape
        parts = min(PARTS, count)
        h = torch.empty_like(g)
        grad_bias = g.new_empty(parts, features) if need_bias else None
        BACKWARD[ctx.activation](kept, g, h, grad_bias, count, features, parts, ctx.slope)
        return (
            (h @ weight).reshape(*grad_y.shape[:-1], weight.shape[1]) if need_x else None,
            h.T @ rows(x) if need_weight else None,
            None if grad_bias is None else grad_bias[0],
            None,
            None,
        )


TWINS = {LinearActivationFunction: Twin(LinearActivationCPU)}
