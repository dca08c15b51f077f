"""Gates: a number times a smooth switch between 0 and 1, which the number itself or another one sets.

A docstring below states y_i = f(x_i) and f′, so ∂L/∂x_i = g_i f′(x_i) with g = ∂L/∂y; for GLU, whose gate is
another number, both gradients. Shapes are those of the input, but for GLU's. The in-place forms overwrite
their input and save a copy of it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..function import Function, apply, check_floating, wide

__all__ = [
    "GELU",
    "GLU",
    "GELUFunction",
    "GLUFunction",
    "Mish",
    "MishFunction",
    "SiLU",
    "SiLUFunction",
    "gelu",
    "glu",
    "mish",
    "silu",
]


class SiLUFunction(Function):
    """Sigmoid linear unit, also called swish.

    Forward    y = x σ(x),   σ(x) = 1 / (1 + e^−x)
    Backward   f′ = σ + x σ (1 − σ) = σ (1 + x (1 − σ))
    Saves      x
    Source     Elfwing, Uchibe, Doya 2017, arXiv:1702.03118
    """

    @staticmethod
    def forward(x: Tensor):
        y = wide(x) * torch.sigmoid(wide(x))
        return y.to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (x,) = ctx.saved_tensors
        sigma = torch.sigmoid(wide(x))
        grad_x = (grad_y * (sigma * (1 + wide(x) * (1 - sigma)))).to(x.dtype)
        return grad_x


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x σ(x), as :func:`torch.nn.functional.silu`."""
    check_floating("silu", input=input)
    if inplace:
        return input.copy_(silu(input.clone()))
    return apply(SiLUFunction, input)


class SiLU(nn.SiLU):
    """:class:`torch.nn.SiLU` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return silu(input, self.inplace)


class GELUFunction(Function):
    """Gaussian error linear unit: x times the probability that a standard normal variable is below x.

    Forward    y = x Φ(x),   Φ(x) = erfc(−x/√2) / 2   (erfc and not 1 + erf, which cancels for x ≪ 0)
               tanh form: Φ(x) ≈ (1 + tanh u) / 2,   u = √(2/π) (x + 0.044715 x³)
    Backward   f′ = Φ + x Φ′,   Φ′ = e^(−x²/2) / √(2π)
               tanh form: Φ′ ≈ (1 − tanh² u) u′ / 2,   u′ = √(2/π) (1 + 3 · 0.044715 x²)
    Saves      x
    Source     Hendrycks, Gimpel 2016, arXiv:1606.08415
    """

    @staticmethod
    def cdf(x: Tensor, approximate: str) -> Tensor:
        """Φ(x)"""
        if approximate == "tanh":
            return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
        return 0.5 * torch.special.erfc(x * -math.sqrt(0.5))

    @staticmethod
    def pdf(x: Tensor, approximate: str) -> Tensor:
        """Φ′(x)"""
        if approximate == "tanh":
            u = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
            grad_u = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
            return 0.5 * (1 - torch.tanh(u) ** 2) * grad_u
        return torch.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)

    @staticmethod
    def forward(x: Tensor, approximate: str):
        y = wide(x) * GELUFunction.cdf(wide(x), approximate)
        return y.to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.approximate = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (x,) = ctx.saved_tensors
        cdf = GELUFunction.cdf(wide(x), ctx.approximate)
        pdf = GELUFunction.pdf(wide(x), ctx.approximate)
        grad_x = (grad_y * (cdf + wide(x) * pdf)).to(x.dtype)
        return grad_x, None


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x Φ(x), as :func:`torch.nn.functional.gelu`.

    Args:
        approximate: ``"none"`` (the normal distribution) or ``"tanh"``.

    Raises:
        RuntimeError: if ``approximate`` is neither.
    """
    check_floating("gelu", input=input)
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"gelu: approximate must be 'none' or 'tanh', but got {approximate!r}")
    return apply(GELUFunction, input, approximate)


class GELU(nn.GELU):
    """:class:`torch.nn.GELU` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return gelu(input, self.approximate)


class MishFunction(Function):
    """x, gated by the hyperbolic tangent of its softplus.

    Forward    y = x t,   t = tanh u,   u = log(1 + e^x) = −log σ(−x)   (so written, nothing overflows)
    Backward   f′ = t + x t′,   t′ = (1 − t²) u′,   u′ = e^x / (1 + e^x) = σ(x)
    Saves      x
    Source     Misra 2019, arXiv:1908.08681
    """

    @staticmethod
    def gate(x: Tensor) -> Tensor:
        """t"""
        return torch.tanh(-nn.functional.logsigmoid(-x))

    @staticmethod
    def forward(x: Tensor):
        y = wide(x) * MishFunction.gate(wide(x))
        return y.to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (x,) = ctx.saved_tensors
        t = MishFunction.gate(wide(x))
        slope = t + wide(x) * torch.sigmoid(wide(x)) * (1 - t**2)
        grad_x = (grad_y * slope).to(x.dtype)
        return grad_x


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x tanh(log(1 + e^x)), as :func:`torch.nn.functional.mish`."""
    check_floating("mish", input=input)
    if inplace:
        return input.copy_(mish(input.clone()))
    return apply(MishFunction, input)


class Mish(nn.Mish):
    """:class:`torch.nn.Mish` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return mish(input, self.inplace)


class GLUFunction(Function):
    """Gated linear unit: one half of the features opens and closes the other half.

    Forward    y = a σ(b),   x = [a | b] halved along ``dim``,   σ(b) = 1 / (1 + e^−b)
    Backward   ∂L/∂a = g σ(b)
               ∂L/∂b = g a σ′(b) = g a σ(b) (1 − σ(b)),   laid side by side as a and b were
    Shapes     x: any, of even length along ``dim``;   y, a, b: half as long there
    Saves      x
    Source     Dauphin, Fan, Auli, Grangier 2016, arXiv:1612.08083
    """

    @staticmethod
    def halves(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        """a and b"""
        half = x.shape[dim] // 2
        return wide(x.narrow(dim, 0, half)), wide(x.narrow(dim, half, half))

    @staticmethod
    def forward(x: Tensor, dim: int):
        a, b = GLUFunction.halves(x, dim)
        return (a * torch.sigmoid(b)).to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.dim = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (x,) = ctx.saved_tensors
        a, b = GLUFunction.halves(x, ctx.dim)
        sigma = torch.sigmoid(b)
        grad_a = grad_y * sigma
        grad_b = grad_y * (a * (sigma * (1 - sigma)))
        grad_x = torch.cat((grad_a, grad_b), ctx.dim).to(x.dtype)
        return grad_x, None


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half along ``dim`` times σ of the second, as :func:`torch.nn.functional.glu`.

    Args:
        input: any shape, of even length along ``dim``.

    Raises:
        RuntimeError: if the input is a scalar, or its length odd.
        IndexError: if there is no axis ``dim``.
    """
    check_floating("glu", input=input)
    if input.dim() == 0:
        raise RuntimeError("glu: a scalar cannot be halved; give an input with an axis of even length")
    if not -input.dim() <= dim < input.dim():
        raise IndexError(
            f"glu: Dimension out of range: got dim={dim}, but an input of shape {list(input.shape)} has axes "
            f"from {-input.dim()} to {input.dim() - 1}"
        )
    if input.shape[dim] % 2:
        raise RuntimeError(
            f"glu: the axis dim={dim} must have an even length to be halved, but the input has shape "
            f"{list(input.shape)}"
        )
    return apply(GLUFunction, input, dim)


class GLU(nn.GLU):
    """:class:`torch.nn.GLU` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return glu(input, self.dim)
