"""Activations: functions of one number, applied to every element.

All have y_i = f(x_i), so ∂L/∂x_i = g_i f′(x_i) with g = ∂L/∂y; a docstring below states f and f′. Shapes are
those of the input throughout. The in-place forms overwrite their input: ReLU truly, as its gradient needs
the output alone; those that save x save a copy of it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..function import FLOAT32_ON_ACCELERATOR, Function, apply, check_floating, transforming, wide

__all__ = [
    "ELU",
    "GELU",
    "ELUFunction",
    "GELUFunction",
    "LeakyReLU",
    "LeakyReLUFunction",
    "ReLU",
    "ReLUFunction",
    "SiLU",
    "SiLUFunction",
    "Sigmoid",
    "SigmoidFunction",
    "Softplus",
    "SoftplusFunction",
    "Tanh",
    "TanhFunction",
    "elu",
    "gelu",
    "leaky_relu",
    "relu",
    "sigmoid",
    "silu",
    "softplus",
    "tanh",
]


class ReLUFunction(Function):
    """Rectified linear unit.

    Forward    y = max(x, 0)
    Backward   f′ = 1 where y > 0, else 0 (at the kink x = 0 the subgradient 0 is taken, as torch does)
    Saves      y, which is what the next layer keeps anyway
    Source     Nair, Hinton 2010, https://icml.cc/Conferences/2010/papers/432.pdf
    """

    @staticmethod
    def forward(x: Tensor, inplace: bool):
        return x.clamp_(min=0) if inplace else x.clamp(min=0)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, inplace = inputs
        if inplace:
            ctx.mark_dirty(x)
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (y,) = ctx.saved_tensors
        grad_x = torch.where(y <= 0, 0, grad_y)  # not masked_fill, which loses channels_last
        return grad_x, None


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0), as :func:`torch.nn.functional.relu`."""
    if inplace and transforming():
        return input.copy_(relu(input))
    return apply(ReLUFunction, input, inplace)


class ReLU(nn.ReLU):
    """:class:`torch.nn.ReLU` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return relu(input, self.inplace)


class LeakyReLUFunction(Function):
    """Rectified linear unit that lets a fraction a of negative values through, so that no unit dies.

    Forward    y = x where x > 0, else a x
    Backward   f′ = 1 where x > 0, else a
    Saves      x
    Source     Maas, Hannun, Ng 2013, https://ai.stanford.edu/~amaas/papers/relu_hybrid_icml2013_final.pdf
    """

    @staticmethod
    def forward(x: Tensor, negative_slope: float):
        return torch.where(x > 0, x, negative_slope * x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.negative_slope = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (x,) = ctx.saved_tensors
        grad_x = torch.where(x > 0, grad_y, ctx.negative_slope * grad_y)
        return grad_x, None


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where positive, else ``negative_slope`` x, as :func:`torch.nn.functional.leaky_relu`."""
    if inplace:
        return input.copy_(leaky_relu(input.clone(), negative_slope))
    check_floating("leaky_relu", input)
    return apply(LeakyReLUFunction, input, negative_slope)


class LeakyReLU(nn.LeakyReLU):
    """:class:`torch.nn.LeakyReLU` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return leaky_relu(input, self.negative_slope, self.inplace)


class SigmoidFunction(Function):
    """The logistic function. Its derivative is at most 1/4: so deep sigmoid networks lose their gradient.

    Forward    y = 1 / (1 + e^−x)
    Backward   f′ = e^−x / (1 + e^−x)² = y (1 − y)
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


class TanhFunction(Function):
    """The hyperbolic tangent.

    Forward    y = tanh x = (e^x − e^−x) / (e^x + e^−x)
    Backward   f′ = 1 − tanh² x = 1 − y²
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
        slope = GELUFunction.cdf(wide(x), ctx.approximate) + wide(x) * GELUFunction.pdf(
            wide(x), ctx.approximate
        )
        grad_x = (grad_y * slope).to(x.dtype)
        return grad_x, None


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x Φ(x), as :func:`torch.nn.functional.gelu`.

    Args:
        approximate: ``"none"`` (the normal distribution) or ``"tanh"``.

    Raises:
        RuntimeError: if ``approximate`` is neither.
    """
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"gelu: approximate must be 'none' or 'tanh', but got {approximate!r}")
    check_floating("gelu", input)
    return apply(GELUFunction, input, approximate)


class GELU(nn.GELU):
    """:class:`torch.nn.GELU` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return gelu(input, self.approximate)


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
    if inplace:
        return input.copy_(silu(input.clone()))
    check_floating("silu", input)
    return apply(SiLUFunction, input)


class SiLU(nn.SiLU):
    """:class:`torch.nn.SiLU` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return silu(input, self.inplace)


class SoftplusFunction(Function):
    """A smooth ReLU. Above the threshold it equals x to rounding, and is computed so.

    Forward    y = log(1 + e^βx) / β   where βx ≤ threshold, else x
    Backward   f′ = e^βx / (1 + e^βx) = σ(βx)   where βx ≤ threshold, else 1
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
    check_floating("softplus", input)
    return apply(SoftplusFunction, input, beta, threshold, autocast=FLOAT32_ON_ACCELERATOR)


class Softplus(nn.Softplus):
    """:class:`torch.nn.Softplus` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return softplus(input, self.beta, self.threshold)


class ELUFunction(Function):
    """Exponential linear unit.

    Forward    y = a (e^x − 1) where x ≤ 0, else x
    Backward   f′ = a e^x where x ≤ 0, else 1
    Saves      x
    Source     Clevert, Unterthiner, Hochreiter 2015, arXiv:1511.07289

    The exponentials are taken of min(x, 0): they would overflow where they are not wanted, and an infinity
    that ``where`` hides comes back as NaN when backward is differentiated.
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
    if inplace:
        return input.copy_(elu(input.clone(), alpha))
    check_floating("elu", input)
    return apply(ELUFunction, input, alpha)


class ELU(nn.ELU):
    """:class:`torch.nn.ELU` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return elu(input, self.alpha, self.inplace)
