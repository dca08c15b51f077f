"""What stands between the layers of a network: sums of two ways, and tensors laid side by side.

A residual connection adds what went through a layer to what went past it; a bidirectional network lays two
readings of a sequence side by side. Larger layers are made with these, and nothing in them is left to
autograd.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..function import Function, apply, check_tensors, wide

__all__ = [
    "AddFunction",
    "ConcatenateFunction",
    "IndexSelectFunction",
    "add",
    "concatenate",
    "index_select",
]


class AddFunction(Function):
    """The sum of two tensors, broadcast to one shape.

    Forward    y_i = u_i + v_i   (an axis of length 1 in u or v is repeated)
    Backward   both are responsible in full:   ∂L/∂u = g,  ∂L/∂v = g,  summed over the axes that were repeated
    Shapes     u, v: broadcast to y
    Saves      nothing: that is why gradients pass a residual connection unchanged, however deep the network
    Source     He, Zhang, Ren, Sun 2015, arXiv:1512.03385
    """

    @staticmethod
    def forward(u: Tensor, v: Tensor):
        return u + v

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.kinds = [(tuple(t.shape), t.dtype) for t in inputs]

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        grads: list[Tensor | None] = [None, None]
        for k, (shape, dtype) in enumerate(ctx.kinds):
            if ctx.needs_input_grad[k]:
                broadcast = shape != tuple(grad_y.shape)
                grads[k] = (wide(grad_y).sum_to_size(shape) if broadcast else grad_y).to(dtype)
        return tuple(grads)


def add(input: Tensor, other: Tensor) -> Tensor:
    """``input + other``, as :func:`torch.add`."""
    check_tensors("add", input=input, other=other)
    return apply(AddFunction, input, other)


class IndexSelectFunction(Function):
    """Chosen entries of an axis, in a given order.

    Forward    y_k = x_{index(k)} along ``dim``
    Backward   x_j is responsible for every y_k that it was copied to:   ∂L/∂x_j = Σ_{k: index(k) = j} g_k
    Shapes     x: any;   index: (K);   y: as x, but of length K along ``dim``
    Saves      index
    """

    @staticmethod
    def forward(x: Tensor, dim: int, index: Tensor):
        return x.index_select(dim, index)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.dim, index = inputs
        ctx.shape = tuple(x.shape)
        ctx.save_for_backward(index)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (index,) = ctx.saved_tensors
        g = wide(grad_y)
        grad_x = g.new_zeros(ctx.shape).index_add(ctx.dim, index, g)
        return grad_x.to(grad_y.dtype), None, None


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The entries ``index`` of axis ``dim``, as :func:`torch.index_select`."""
    check_tensors("index_select", input=input, index=index)
    return apply(IndexSelectFunction, input, dim, index)


class ConcatenateFunction(Function):
    """Tensors laid side by side along an axis.

    Forward    y = [x₁ | x₂ | …] along ``dim``
    Backward   ∂L/∂x_k is the part of g that stands where x_k stood
    Shapes     x_k: alike but for the axis ``dim``;   y: their lengths summed there
    Saves      nothing
    """

    @staticmethod
    def forward(first: Tensor, dim: int, *others: Tensor):
        return torch.cat((first, *others), dim)

    @staticmethod
    def setup_context(ctx, inputs, output):
        first, ctx.dim, *others = inputs
        ctx.kinds = [(t.shape[ctx.dim], t.dtype) for t in (first, *others)]

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        start, grads = 0, []
        for length, dtype in ctx.kinds:
            grads.append(grad_y.narrow(ctx.dim, start, length).to(dtype))
            start += length
        return grads[0], None, *grads[1:]


def concatenate(tensors: Sequence[Tensor], dim: int) -> Tensor:
    """``tensors`` along ``dim``, as :func:`torch.cat`; a single one is returned as it is."""
    check_tensors("concatenate", **{f"tensors[{k}]": x for k, x in enumerate(tensors)})
    return tensors[0] if len(tensors) == 1 else apply(ConcatenateFunction, tensors[0], dim, *tensors[1:])
