"""Exponential linear units: straight above zero, and an exponential below it that levels off.

All have y_i = f(x_i), so ∂L/∂x_i = g_i f′(x_i) with g = ∂L/∂y; a docstring below states f and f′. Shapes are
those of the input throughout. The in-place forms overwrite their input and save a copy of it.

The exponentials are taken of min(x, 0): they would overflow where they are not wanted, and an infinity that
``where`` hides comes back as NaN when backward is differentiated.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..function import Function, apply, check_floating, wide

__all__ = [
    "CELU",
    "ELU",
    "SELU",
    "CELUFunction",
    "ELUFunction",
    "SELUFunction",
    "celu",
    "celu_",
    "elu",
    "elu_",
    "selu",
    "selu_",
]


class ELUFunction(Function):
    """Exponential linear unit.

    Forward    y = a (e^x − 1) where x ≤ 0, else x,   a = ``alpha``
    Backward   f′ = a e^x where x ≤ 0, else 1
    Saves      x
    Source     Clevert, Unterthiner, Hochreiter 2015, arXiv:1511.07289
    """

    @staticmethod
    def forward(x: Tensor, alpha: float):
        y = alpha * torch.expm1(wide(x).clamp(max=0))
        return torch.where(x <= 0, y.to(x.dtype), x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.alpha = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (x,) = ctx.saved_tensors
        slope = ctx.alpha * torch.exp(wide(x).clamp(max=0))
        grad_x = torch.where(x <= 0, (grad_y * slope).to(x.dtype), grad_y)
        return grad_x, None


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where positive, else ``alpha`` (e^x − 1), as :func:`torch.nn.functional.elu`."""
    check_floating("elu", input=input)
    if inplace:
        return input.copy_(elu(input.clone(), alpha))
    return apply(ELUFunction, input, alpha)


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """:func:`elu` in place, as :func:`torch.nn.functional.elu_`."""
    return elu(input, alpha, inplace=True)


class ELU(nn.ELU):
    """:class:`torch.nn.ELU` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return elu(input, self.alpha, self.inplace)


class CELUFunction(Function):
    """Exponential linear unit without a kink: both pieces have the slope 1 at zero, whatever a is.

    Forward    y = a (e^(x/a) − 1) where x ≤ 0, else x,   a = ``alpha``
    Backward   f′ = a e^(x/a) / a = e^(x/a) where x ≤ 0, else 1
    Saves      x
    Source     Barron 2017, arXiv:1704.07483
    """

    @staticmethod
    def forward(x: Tensor, alpha: float):
        y = alpha * torch.expm1(wide(x).clamp(max=0) / alpha)
        return torch.where(x <= 0, y.to(x.dtype), x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.alpha = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (x,) = ctx.saved_tensors
        slope = torch.exp(wide(x).clamp(max=0) / ctx.alpha)
        grad_x = torch.where(x <= 0, (grad_y * slope).to(x.dtype), grad_y)
        return grad_x, None


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where positive, else ``alpha`` (e^(x/``alpha``) − 1), as :func:`torch.nn.functional.celu`.

    Raises:
        RuntimeError: if ``alpha`` is zero.
    """
    check_floating("celu", input=input)
    if alpha == 0:
        raise RuntimeError("celu: alpha must not be 0, as x is divided by it; relu is the limit")
    if inplace:
        return input.copy_(celu(input.clone(), alpha))
    return apply(CELUFunction, input, alpha)


def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """:func:`celu` in place, as :func:`torch.nn.functional.celu_`."""
    return celu(input, alpha, inplace=True)


class CELU(nn.CELU):
    """:class:`torch.nn.CELU` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return celu(input, self.alpha, self.inplace)


class SELUFunction(Function):
    """Scaled exponential linear unit: its constants are such that a mean of 0 and a variance of 1 stay so
    from layer to layer, and deep networks normalize themselves.

    Forward    y = s a (e^x − 1) where x ≤ 0, else s x,   a = 1.67326…,   s = 1.05070…
    Backward   f′ = s a e^x where x ≤ 0, else s
    Saves      x
    Source     Klambauer, Unterthiner, Mayr, Hochreiter 2017, arXiv:1706.02515
    """

    @staticmethod
    def forward(x: Tensor):
        y = SCALE * ALPHA * torch.expm1(wide(x).clamp(max=0))
        return torch.where(x <= 0, y, SCALE * wide(x)).to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (x,) = ctx.saved_tensors
        slope = SCALE * ALPHA * torch.exp(wide(x).clamp(max=0))
        grad_x = torch.where(x <= 0, grad_y * slope, SCALE * wide(grad_y)).to(x.dtype)
        return grad_x


ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805  # a and s, in double precision


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """:func:`elu` with alpha = 1.67326…, times 1.05070…, as :func:`torch.nn.functional.selu`."""
    check_floating("selu", input=input)
    if inplace:
        return input.copy_(selu(input.clone()))
    return apply(SELUFunction, input)


def selu_(input: Tensor) -> Tensor:
    """:func:`selu` in place, as :func:`torch.nn.functional.selu_`."""
    return selu(input, inplace=True)


class SELU(nn.SELU):
    """:class:`torch.nn.SELU` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return selu(input, self.inplace)
