"""Affine maps: Linear and Bilinear."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..function import LOW, WIDEST_ON_ACCELERATOR, Function, apply, wide

__all__ = ["Bilinear", "BilinearFunction", "Linear", "LinearFunction", "bilinear", "linear"]


def rows(x: Tensor) -> Tensor:
    """``x`` as a matrix with a row per sample: (*, I) -> (N, I)."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def pairs(a: Tensor, b: Tensor) -> Tensor:
    """All products of a feature of ``a`` and one of ``b``, per sample: (*, A), (*, B) -> (N, A·B)."""
    return rows((a.unsqueeze(-1) * b.unsqueeze(-2)).reshape(*a.shape[:-1], a.shape[-1] * b.shape[-1]))


class LinearFunction(Function):
    """An affine map of the last axis.

    Forward    y = x Wᵀ + b,   that is  y_no = Σ_i x_ni W_oi + b_o   (n runs over samples)
    Backward   g = ∂L/∂y.  x_ni reaches every y_no, with weight W_oi; W_oi and b_o reach y_no of every sample:
               ∂L/∂x_ni = Σ_o g_no W_oi     ∂L/∂x = g W
               ∂L/∂W_oi = Σ_n g_no x_ni     ∂L/∂W = gᵀ x
               ∂L/∂b_o  = Σ_n g_no
    Shapes     x: (*, I);   W: (O, I);   b: (O) or None;   y: (*, O)
    Saves      x only if W needs a gradient, W only if x does
    Source     Rumelhart, Hinton, Williams 1986, doi:10.1038/323533a0
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None):
        return nn.functional.linear(x, weight, bias)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, bias = inputs
        need_x, need_weight, _ = ctx.needs_input_grad
        ctx.bias_shape, ctx.bias_dtype = (None, None) if bias is None else (bias.shape, bias.dtype)
        ctx.save_for_backward(x if need_weight else None, weight if need_x else None)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        x, weight = ctx.saved_tensors
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = grad_y @ weight
        if ctx.needs_input_grad[1]:
            grad_weight = rows(grad_y).T @ rows(x)
        if ctx.needs_input_grad[2]:
            grad_bias = wide(grad_y).sum_to_size(ctx.bias_shape).to(ctx.bias_dtype)
        return grad_x, grad_weight, grad_bias


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Affine map ``input @ weight.T + bias`` of the last axis, as :func:`torch.nn.functional.linear`.

    Args:
        input: shape (*, in_features).
        weight: shape (out_features, in_features), or (in_features) for an output without that axis.
        bias: shape (out_features), or () if ``weight`` has one axis.

    Raises:
        RuntimeError: if the last axis of ``input`` is not that of ``weight``.
    """
    if weight.dim() == 1:
        return linear(input, weight.unsqueeze(0), None if bias is None else bias.reshape(1)).squeeze(-1)
    if input.shape[-1:] != weight.shape[-1:]:
        raise RuntimeError(
            f"linear: the last axis of the input must have in_features={weight.shape[-1]} elements, as the "
            "weight "
            f"of shape {list(weight.shape)} has, but the input has shape {list(input.shape)}"
        )
    return apply(LinearFunction, input, weight, bias, autocast=LOW)


class Linear(nn.Linear):
    """:class:`torch.nn.Linear` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


class BilinearFunction(Function):
    """A product of two inputs, summed with a weight for each pair of their features.

    Forward    y_no = Σ_ij u_ni W_oij v_nj + b_o
    Backward   g = ∂L/∂y.  y is linear in each of u, v, W, so each gradient is the same sum with g in y's
               place: ∂L/∂u_ni = Σ_oj g_no W_oij v_nj     ∂L/∂v_nj = Σ_oi g_no W_oij u_ni
               ∂L/∂W_oij = Σ_n g_no u_ni v_nj      ∂L/∂b_o = Σ_n g_no
    Shapes     u: (*, I);   v: (*, J);   W: (O, I, J);   b: (O) or None;   y: (*, O)
    Saves      u, v and W, each only if a gradient of another one needs it
    Source     Tenenbaum, Freeman 2000, doi:10.1162/089976600300015349
    """

    @staticmethod
    def forward(u: Tensor, v: Tensor, weight: Tensor, bias: Tensor | None):
        y = torch.einsum("...i,oij,...j->...o", u, weight, v)
        return y if bias is None else y + bias

    @staticmethod
    def setup_context(ctx, inputs, output):
        u, v, weight, bias = inputs
        need_u, need_v, need_weight, _ = ctx.needs_input_grad
        ctx.bias_dtype = None if bias is None else bias.dtype
        ctx.save_for_backward(
            u if need_v or need_weight else None,
            v if need_u or need_weight else None,
            weight if need_u or need_v else None,
        )

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        u, v, weight = ctx.saved_tensors
        grad_u = grad_v = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_u = (pairs(grad_y, v) @ weight.transpose(1, 2).reshape(-1, weight.shape[1])).reshape(
                *grad_y.shape[:-1], weight.shape[1]
            )
        if ctx.needs_input_grad[1]:
            grad_v = (pairs(grad_y, u) @ weight.reshape(-1, weight.shape[2])).reshape(
                *grad_y.shape[:-1], weight.shape[2]
            )
        if ctx.needs_input_grad[2]:
            grad_weight = (rows(grad_y).T @ pairs(u, v)).reshape(-1, u.shape[-1], v.shape[-1])
        if ctx.needs_input_grad[3]:
            grad_bias = wide(rows(grad_y)).sum(0).to(ctx.bias_dtype)
        return grad_u, grad_v, grad_weight, grad_bias


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Bilinear form of two inputs, as :func:`torch.nn.functional.bilinear`.

    Args:
        input1: shape (*, in1_features).
        input2: shape (*, in2_features), its other axes those of ``input1``.
        weight: shape (out_features, in1_features, in2_features).
        bias: shape (out_features).

    Raises:
        RuntimeError: if the shapes do not fit, or the inputs' dtypes differ.
    """
    if input1.shape[:-1] != input2.shape[:-1]:
        raise RuntimeError(
            "bilinear: the inputs must agree in all axes but the last, but input1 has shape "
            f"{list(input1.shape)} and input2 {list(input2.shape)}"
        )
    if (input1.shape[-1], input2.shape[-1]) != tuple(weight.shape[1:]):
        raise RuntimeError(
            f"bilinear: the weight of shape {list(weight.shape)} takes inputs with {weight.shape[1]} and "
            f"{weight.shape[2]} features, but got {input1.shape[-1]} and {input2.shape[-1]}"
        )
    return apply(BilinearFunction, input1, input2, weight, bias, autocast=WIDEST_ON_ACCELERATOR)


class Bilinear(nn.Bilinear):
    """:class:`torch.nn.Bilinear` with a hand-written backward."""

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return bilinear(input1, input2, self.weight, self.bias)
