"""A residual sum and the LayerNorm behind it, in one, as transformers have two in every layer.

Apart, the sum is written, then read by the norm; backward, what reaches the sum through the norm is written,
then read and added to what reaches it past the norm. Together each is one walk through memory.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Size, Tensor, nn

from ..function import Function, apply, autocasting, check_tensors, wide
from ._blocks import observed
from ._broadcast import check_same_dtype
from .arithmetic import add
from .normalization import LayerNorm, check_layer_norm, layer_norm, standardize

__all__ = ["AddLayerNorm", "AddLayerNormFunction", "add_layer_norm"]

NORMS = (nn.LayerNorm, LayerNorm)


class AddLayerNormFunction(Function):
    """Add a residual, and standardize the last ``ndim`` axes (N elements each) of the sum.

    Forward    s = x + z,   ŝ = (s − μ) r  as in LayerNorm,   y = ŝ ⊙ w + b.   Both y and s go out:
               where norms come first, s is the residual of the next sum
    Backward   g = ∂L/∂y,  k = ∂L/∂s of what s reaches past y,  ĝ = g ⊙ w.   Through y as in LayerNorm, so
               h = ∂L/∂s = r (ĝ − mean(ĝ) − ŝ mean(ĝ ŝ)) + k
               x and z reach s alone, with slope 1:   ∂L/∂x = ∂L/∂z = h,  one tensor for both
               ∂L/∂w = Σ g ŝ,   ∂L/∂b = Σ g
    Shapes     x, z, s, y: (*batch, *normalized);   w, b: (*normalized) or None
    Saves      s, w, μ, r  (neither x nor z)
    Source     Vaswani et al. 2017, arXiv:1706.03762 (the norm behind the sum);   Xiong et al. 2020,
               arXiv:2002.04745 (the norm in front of the next step)
    """

    @staticmethod
    def forward(
        x: Tensor, residual: Tensor, weight: Tensor | None, bias: Tensor | None, ndim: int, eps: float
    ):
        s = x + residual
        mean, rstd = standardize(s, tuple(range(-ndim, 0)), eps)
        y = (s - mean) * rstd
        y = y if weight is None else y * weight
        y = y if bias is None else y + bias
        return y.to(s.dtype), s, mean, rstd

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, _, weight, bias, ctx.ndim, ctx.eps = inputs
        _, s, mean, rstd = output
        ctx.bias_dtype = None if bias is None else bias.dtype
        ctx.mark_non_differentiable(mean, rstd)
        ctx.set_materialize_grads(False)  # where s goes nowhere, its gradient would be zeros
        ctx.save_for_backward(s, weight, mean, rstd)

    @staticmethod
    def backward(ctx, grad_y: Tensor | None, grad_s: Tensor | None, _mean, _rstd):
        if grad_y is None:
            return grad_s, grad_s, None, None, None, None
        s, weight, mean, rstd = ctx.saved_tensors
        axes = tuple(range(-ctx.ndim, 0))
        if torch.is_grad_enabled():  # differentiated again: μ and r are functions of s, not constants
            mean, rstd = standardize(s, axes, ctx.eps)
        s_hat = (s - mean) * rstd
        normalized = s.shape[-ctx.ndim :]
        h = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            g_hat = wide(grad_y) if weight is None else wide(grad_y) * weight
            mean_g = g_hat.mean(axes, keepdim=True)
            mean_g_s_hat = (g_hat * s_hat).mean(axes, keepdim=True)
            h = rstd * (g_hat - mean_g - s_hat * mean_g_s_hat)
            h = h.to(s.dtype) if grad_s is None else (h + grad_s).to(s.dtype)
        if ctx.needs_input_grad[2]:
            grad_weight = (grad_y * s_hat).sum_to_size(normalized).to(weight.dtype)
        if ctx.needs_input_grad[3]:
            grad_bias = wide(grad_y).sum_to_size(normalized).to(ctx.bias_dtype)
        grad_x = h if ctx.needs_input_grad[0] else None
        grad_residual = h if ctx.needs_input_grad[1] else None
        return grad_x, grad_residual, grad_weight, grad_bias, None, None


def add_layer_norm(
    input: Tensor,
    residual: Tensor,
    normalized_shape: list[int] | Size | tuple[int, ...],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor]:
    """The sum of two tensors, and its layer normalization: ``s = input + residual; (layer_norm(s), s)``.

    Args:
        input: shape (*, *normalized_shape).
        residual: shape and dtype of the input.
        normalized_shape, weight, bias, eps: as of :func:`layer_norm`.

    Returns:
        What the next step reads, and the sum, which is what the next step's output is added to where norms
        come first.

    Raises:
        RuntimeError: if the shapes or dtypes do not fit.
    """
    name = "add_layer_norm"
    check_tensors(name, input=input, residual=residual)
    check_same_dtype(name, input, residual=residual)
    if residual.shape != input.shape:
        raise RuntimeError(
            f"{name}: the residual must have the shape of the input, {list(input.shape)}, but has "
            f"{list(residual.shape)}"
        )
    check_layer_norm(name, input, normalized_shape, weight, bias)
    if autocasting(input):  # which may ask for another dtype of the norm than of the sum
        s = add(input, residual)
        return layer_norm(s, normalized_shape, weight, bias, eps), s
    ndim = len(normalized_shape)
    y, s, _, _ = apply(AddLayerNormFunction, input, residual, weight, bias, ndim, eps)
    return y, s


def add_normalize(input: Tensor, residual: Any, norm: Any) -> tuple[Any, Any]:
    """The sum s of ``input`` and ``residual``, as norm(s) and s; in one where it can be."""
    if (
        type(norm) in NORMS
        and isinstance(residual, Tensor)
        and isinstance(input, Tensor)
        and residual.shape == input.shape
        and residual.dtype == input.dtype
        and not observed(norm)
    ):
        return add_layer_norm(input, residual, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    s = input + residual
    return norm(s), s


class AddLayerNorm(nn.LayerNorm):
    """A sum and a LayerNorm behind it, with one hand-written backward.

    Constructor and parameters are those of :class:`torch.nn.LayerNorm`; ``forward`` takes two tensors, and
    returns the norm of their sum and the sum::

        y, s = norm(attended, x)
    """

    def forward(self, input: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        options = (self.normalized_shape, self.weight, self.bias, self.eps)
        both = isinstance(input, Tensor) and isinstance(residual, Tensor)
        if both and input.dtype != residual.dtype:
            s = add(input, residual)
            return layer_norm(s, *options), s
        return add_layer_norm(input, residual, *options)
