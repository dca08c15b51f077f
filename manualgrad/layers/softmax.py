"""Softmax and its relatives: a vector of scores becomes a distribution.

Along the axis ``dim``, with p = softmax(x), the Jacobian is ∂p_i/∂x_j = p_i (δ_ij − p_j): raising one score
takes probability from all others. It is never formed; each backward contracts it with g = ∂L/∂y by hand.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from ..function import FLOAT32_ON_ACCELERATOR, Function, apply, wide

__all__ = [
    "LogSoftmax",
    "LogSoftmaxFunction",
    "Softmax",
    "SoftmaxFunction",
    "Softmin",
    "SoftminFunction",
    "log_softmax",
    "softmax",
    "softmin",
]


class SoftmaxFunction(Function):
    """Exponentials, normalized.

    Forward    y_i = e^(x_i − m) / Σ_j e^(x_j − m),   m = max x (it cancels, and keeps e from overflowing)
    Backward   ∂L/∂x_j = Σ_i g_i y_i (δ_ij − y_j) = y_j (g_j − Σ_i g_i y_i)
    Shapes     x, y: any; sums run over ``dim``
    Saves      y
    Source     Bridle 1990, doi:10.1007/978-3-642-76153-9_28
    """

    @staticmethod
    def forward(x: Tensor, dim: int):
        return torch.softmax(x, dim)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, ctx.dim = inputs
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (y,) = ctx.saved_tensors
        y, g = wide(y), wide(grad_y)
        grad_x = y * (g - (g * y).sum(ctx.dim, keepdim=True))
        return grad_x.to(grad_y.dtype), None


class LogSoftmaxFunction(Function):
    """The logarithm of softmax, without ever taking the logarithm of a small number.

    Forward    y_i = x_i − log Σ_j e^x_j   (log-sum-exp, shifted by the maximum)
    Backward   ∂y_i/∂x_j = δ_ij − p_j with p = e^y:   ∂L/∂x_j = g_j − p_j Σ_i g_i
    Shapes     x, y: any; sums run over ``dim``
    Saves      y
    Source     Goodfellow, Bengio, Courville 2016, "Deep Learning", section 6.2.2.3
    """

    @staticmethod
    def forward(x: Tensor, dim: int):
        return torch.log_softmax(x, dim)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, ctx.dim = inputs
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (y,) = ctx.saved_tensors
        y, g = wide(y), wide(grad_y)
        grad_x = g - torch.exp(y) * g.sum(ctx.dim, keepdim=True)
        return grad_x.to(grad_y.dtype), None


class SoftminFunction(SoftmaxFunction):
    """Softmax of −x: the smallest score gets the largest probability.

    Forward    y = softmax(−x)
    Backward   the chain rule through −x turns softmax's sign:   ∂L/∂x_j = −y_j (g_j − Σ_i g_i y_i)
    Shapes     x, y: any; sums run over ``dim``
    Saves      y
    """

    @staticmethod
    def forward(x: Tensor, dim: int):
        return torch.softmax(-x, dim)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (y,) = ctx.saved_tensors
        y, g = wide(y), wide(grad_y)
        grad_x = y * ((g * y).sum(ctx.dim, keepdim=True) - g)
        return grad_x.to(grad_y.dtype), None


def _apply(
    function: type[Function], name: str, x: Tensor, dim: int | None, dtype: torch.dtype | None
) -> Tensor:
    if dim is None:
        dim = 0 if x.dim() in (0, 1, 3) else 1
        warnings.warn(
            f"{name}: dim was not given, and dim={dim} was taken for an input with {x.dim()} axes; "
            "the implicit choice is deprecated, so name the axis that sums to one",
            stacklevel=3,
        )
    if dtype is not None:  # which wins over autocast
        return apply(function, x.to(dtype), dim)
    return apply(function, x, dim, autocast=FLOAT32_ON_ACCELERATOR)


def softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> Tensor:
    """Normalized exponentials along ``dim``, as :func:`torch.nn.functional.softmax`.

    Args:
        dim: the axis whose sums are one. Leaving it out is deprecated, as in torch.
        dtype: the dtype that the input is cast to first.
    """
    return _apply(SoftmaxFunction, "softmax", input, dim, dtype)


def log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> Tensor:
    """Logarithm of :func:`softmax`, as :func:`torch.nn.functional.log_softmax`."""
    return _apply(LogSoftmaxFunction, "log_softmax", input, dim, dtype)


def softmin(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> Tensor:
    """:func:`softmax` of the negated input, as :func:`torch.nn.functional.softmin`."""
    return _apply(SoftminFunction, "softmin", input, dim, dtype)


class Softmax(nn.Softmax):
    """:class:`torch.nn.Softmax` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return softmax(input, self.dim)


class LogSoftmax(nn.LogSoftmax):
    """:class:`torch.nn.LogSoftmax` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return log_softmax(input, self.dim)


class Softmin(nn.Softmin):
    """:class:`torch.nn.Softmin` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return softmin(input, self.dim)
