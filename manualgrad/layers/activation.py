"""Activations that bend smoothly: functions of one number, applied to every element.

All have y_i = f(x_i), so ∂L/∂x_i = g_i f′(x_i) with g = ∂L/∂y; a docstring below states f and f′. Shapes are
those of the input throughout.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..function import FLOAT32_ON_ACCELERATOR, Function, apply, check_floating, wide

__all__ = [
    "LogSigmoid",
    "LogSigmoidFunction",
    "Sigmoid",
    "SigmoidFunction",
    "Softplus",
    "SoftplusFunction",
    "Softsign",
    "SoftsignFunction",
    "Tanh",
    "TanhFunction",
    "Tanhshrink",
    "TanhshrinkFunction",
    "logsigmoid",
    "sigmoid",
    "softplus",
    "softsign",
    "tanh",
    "tanhshrink",
]


class SigmoidFunction(Function):
    """The logistic function. Its derivative is at most 1/4: so deep sigmoid networks lose their gradient.

    Forward    y = 1 / (1 + e^−x)
    Backward   f′ = e^−x / (1 + e^−x)² = y (1 − y),   as 1 − y = e^−x / (1 + e^−x)
    Saves      y
    Source     Rumelhart, Hinton, Williams 1986, doi:10.1038/323533a0
    """

    @staticmethod
    def forward(x: Tensor):
        return torch.sigmoid(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (y,) = ctx.saved_tensors
        grad_x = grad_y * (y * (1 - y))
        return grad_x


def sigmoid(input: Tensor) -> Tensor:
    """The logistic function, as :func:`torch.nn.functional.sigmoid`."""
    return apply(SigmoidFunction, input)


class Sigmoid(nn.Sigmoid):
    """:class:`torch.nn.Sigmoid` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return sigmoid(input)


class LogSigmoidFunction(Function):
    """The logarithm of the logistic function σ, without ever taking the logarithm of a small number.

    Forward    y = log σ(x) = −log(1 + e^−x) = min(x, 0) − log(1 + e^−|x|)   (where no exponential overflows)
    Backward   f′ = σ′/σ = σ (1 − σ)/σ = 1 − σ(x) = σ(−x)
    Saves      x
    """

    @staticmethod
    def forward(x: Tensor):
        y = wide(x).clamp(max=0) - torch.log1p(torch.exp(-wide(x).abs()))
        return y.to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (x,) = ctx.saved_tensors
        grad_x = (grad_y * torch.sigmoid(-wide(x))).to(x.dtype)
        return grad_x


def logsigmoid(input: Tensor) -> Tensor:
    """log σ(x), as :func:`torch.nn.functional.logsigmoid`."""
    check_floating("logsigmoid", input=input)
    return apply(LogSigmoidFunction, input)


class LogSigmoid(nn.LogSigmoid):
    """:class:`torch.nn.LogSigmoid` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return logsigmoid(input)


class TanhFunction(Function):
    """The hyperbolic tangent.

    Forward    y = tanh x = s / c   with  s = (e^x − e^−x) / 2,  c = (e^x + e^−x) / 2
    Backward   s′ = c and c′ = s, so by the quotient rule   f′ = (c c − s s) / c² = 1 − (s/c)² = 1 − y²
    Saves      y
    Source     LeCun, Bottou, Orr, Müller 1998, "Efficient BackProp", doi:10.1007/3-540-49430-8_2
    """

    @staticmethod
    def forward(x: Tensor):
        return torch.tanh(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (y,) = ctx.saved_tensors
        grad_x = grad_y * (1 - y * y)
        return grad_x


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent, as :func:`torch.nn.functional.tanh`."""
    return apply(TanhFunction, input)


class Tanh(nn.Tanh):
    """:class:`torch.nn.Tanh` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return tanh(input)


class TanhshrinkFunction(Function):
    """What the hyperbolic tangent takes away: nearly 0 for small numbers, and x ∓ 1 for large ones.

    Forward    y = x − tanh x
    Backward   f′ = 1 − (1 − tanh² x) = tanh² x
    Saves      x
    """

    @staticmethod
    def forward(x: Tensor):
        return x - torch.tanh(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (x,) = ctx.saved_tensors
        grad_x = (grad_y * torch.tanh(wide(x)) ** 2).to(x.dtype)
        return grad_x


def tanhshrink(input: Tensor) -> Tensor:
    """x − tanh x, as :func:`torch.nn.functional.tanhshrink`."""
    return apply(TanhshrinkFunction, input)


class Tanhshrink(nn.Tanhshrink):
    """:class:`torch.nn.Tanhshrink` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return tanhshrink(input)


class SoftsignFunction(Function):
    """From −1 to 1 as the hyperbolic tangent, but its tails fall as 1/x² and not exponentially.

    Forward    y = x / d,   d = 1 + |x|
    Backward   the quotient rule with d′ = sign x:   f′ = (d − x sign x) / d² = (d − |x|) / d² = 1/d²
    Saves      x
    Source     Glorot, Bengio 2010, https://proceedings.mlr.press/v9/glorot10a/glorot10a.pdf

    The numerator is computed and not put to 1: so infinity, where y is ∞/∞, has the gradient NaN as in torch.
    """

    @staticmethod
    def forward(x: Tensor):
        return x / (1 + x.abs())

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (x,) = ctx.saved_tensors
        magnitude = wide(x).abs()
        d = 1 + magnitude
        grad_x = (grad_y * ((d - magnitude) / d**2)).to(x.dtype)
        return grad_x


def softsign(input: Tensor) -> Tensor:
    r"""x / (1 + \|x\|), as :func:`torch.nn.functional.softsign`."""
    return apply(SoftsignFunction, input)


class Softsign(nn.Softsign):
    """:class:`torch.nn.Softsign` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return softsign(input)


class SoftplusFunction(Function):
    """A smooth ReLU. Above the threshold it equals x to rounding, and is computed so.

    Forward    y = log(1 + e^βx) / β   where βx ≤ threshold, else x
    Backward   f′ = e^βx / (1 + e^βx) = σ(βx), the logistic function,   where βx ≤ threshold, else 1
    Saves      x
    Source     Dugas, Bengio, Bélisle, Nadeau, Garcia 2000, "Incorporating second-order functional knowledge"
    """

    @staticmethod
    def forward(x: Tensor, beta: float, threshold: float):
        scaled = wide(x) * beta
        y = torch.log1p(torch.exp(scaled.clamp(max=threshold))) / beta
        return torch.where(scaled > threshold, x, y.to(x.dtype))

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.beta, ctx.threshold = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (x,) = ctx.saved_tensors
        scaled = wide(x) * ctx.beta
        grad_x = torch.where(scaled > ctx.threshold, grad_y, (grad_y * torch.sigmoid(scaled)).to(x.dtype))
        return grad_x, None, None


def softplus(input: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """log(1 + e^βx) / β, as :func:`torch.nn.functional.softplus`."""
    check_floating("softplus", input=input)
    return apply(SoftplusFunction, input, beta, threshold, autocast=FLOAT32_ON_ACCELERATOR)


class Softplus(nn.Softplus):
    """:class:`torch.nn.Softplus` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return softplus(input, self.beta, self.threshold)
