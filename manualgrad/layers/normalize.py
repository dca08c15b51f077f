"""Division by a p-norm: vectors keep their direction and get the length 1.

As in ``normalization.py``, an input reaches its own output directly, and every output of its vector through
the norm.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..function import FLOAT32_ON_ACCELERATOR, Function, apply, check_floating, wide
from .distance import norm_slope

__all__ = ["NormalizeFunction", "normalize"]


class NormalizeFunction(Function):
    """Divide vectors by their p-norm, or by ε where that is larger.

    Forward    n = ‖x‖_p = (Σ_j |x_j|^p)^(1/p),   m = max(n, ε),   y = x / m
    Backward   x_j reaches y_i directly, and through m if n ≥ ε (below, m is a constant):
               ∂y_i/∂x_j = δ_ij / m − [n ≥ ε] x_i / m² · ∂n/∂x_j
               summed with g = ∂L/∂y:   ∂L/∂x = (g − [n ≥ ε] Σ(g y) ∂n/∂x) / m
               The slope of a norm is derived in distance.py (see ``norm_slope``):
               ∂n/∂x_j = sign x_j (|x_j| / n)^(p−1)
               p = 2:      x_j / n
               p = ±∞:     n is the largest (smallest) |x_j|: sign x_j for that one, divided among equals
               p = 0:      n counts what is not 0, and does not move: 0
               At x = 0 a norm has a kink; the slope is taken to be 0, the mean of those around it, and so it
               is at x_j = 0 for p ≠ 2. At x = 0 that does not show: n < ε there, and y = x / ε is a line.
    Shapes     x, y: any;   n, m: 1 along the axes of the norm
    Saves      x, n
    """

    @staticmethod
    def forward(x: Tensor, p: float, axes: tuple[int, ...], eps: float):
        norm = torch.linalg.vector_norm(wide(x), p, axes, keepdim=True)
        return (x / norm.clamp(min=eps)).to(x.dtype), norm

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.p, ctx.axes, ctx.eps = inputs
        _, norm = output
        ctx.mark_non_differentiable(norm)
        ctx.save_for_backward(x, norm)

    @staticmethod
    def backward(ctx, grad_y: Tensor, _norm):
        x, norm = ctx.saved_tensors
        if torch.is_grad_enabled():  # differentiated again: n is a function of x, not a constant
            norm = torch.linalg.vector_norm(wide(x), ctx.p, ctx.axes, keepdim=True)
        g = wide(grad_y)
        m = norm.clamp(min=ctx.eps)
        moving = (norm >= ctx.eps).to(norm.dtype)
        sum_g_y = (g * x / m).sum(ctx.axes, keepdim=True)
        grad_x = (g - moving * sum_g_y * norm_slope(wide(x), norm, ctx.p, ctx.axes)) / m
        return grad_x.to(x.dtype), None, None, None


def normalize(
    input: Tensor,
    p: float = 2.0,
    dim: int | tuple[int, ...] | None = 1,
    eps: float = 1e-12,
    out: Tensor | None = None,
) -> Tensor:
    """Vectors divided by their p-norm, or ``eps`` if it is larger, as :func:`torch.nn.functional.normalize`.

    Args:
        input: any shape.
        p: exponent of the norm; 0 and ±inf have their usual meanings.
        dim: the axis, or axes, of the vectors; None or () for all.
        out: where to write the result, which then has no gradient.

    Raises:
        TypeError: if the input is no tensor, or ``p`` no number.
        IndexError: if the input has no axis ``dim``.
        RuntimeError: if an axis is named twice, a vector without elements has no such norm, or ``out`` is
            given and a gradient would be needed.
        NotImplementedError: if the input is not floating point.
    """
    check_floating("normalize", RuntimeError, input=input)
    if p is None or isinstance(p, str):
        raise TypeError(f"normalize: p must be a number, but got {p!r}; the Euclidean norm is p=2.0")
    axes = _axes("normalize", input, dim)
    if not input.numel() and (p < 0 or math.isinf(p)) and any(input.shape[axis] == 0 for axis in axes):
        raise RuntimeError(
            f"normalize: the norm of no elements is not defined for p={p}, "
            f"but dim={dim} of an input of shape {list(input.shape)} has none"
        )
    if out is None:
        return apply(NormalizeFunction, input, p, axes, eps, autocast=FLOAT32_ON_ACCELERATOR)[0]
    if torch.is_grad_enabled() and (input.requires_grad or out.requires_grad):
        raise RuntimeError(
            "normalize: out=... has no gradient, but the input or out requires one; "
            "leave out=None, or call it under torch.no_grad()"
        )
    return torch.div(input, torch.linalg.vector_norm(input, p, axes, keepdim=True).clamp_(min=eps), out=out)


def _axes(name: str, input: Tensor, dim: int | tuple[int, ...] | list[int] | None) -> tuple[int, ...]:
    """The axes named by ``dim``, counted from 0."""
    ndim = input.dim()
    named = (dim,) if isinstance(dim, int) else tuple(dim or range(ndim))
    span = max(ndim, 1)  # a number without axes takes 0 and −1
    for axis in named:
        if not -span <= axis < span:
            raise IndexError(f"{name}: dim={axis} is no axis of an input of shape {list(input.shape)}")
    axes = tuple(axis % span for axis in named)
    if len(set(axes)) < len(axes):
        raise RuntimeError(f"{name}: an axis appears twice in dim={dim}")
    return axes if ndim else ()
