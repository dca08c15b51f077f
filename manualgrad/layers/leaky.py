"""Leaky rectifiers: straight above zero, and a slope below it that is given, learned or drawn.

All have y_i = f(x_i), so ∂L/∂x_i = g_i f′(x_i) with g = ∂L/∂y. At the kink x = 0 the lower slope is taken, as
torch does. Shapes are those of the input, where nothing else is said. The in-place forms overwrite their
input and save a copy of it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..function import LOW, Function, apply, autocasting, check_floating, check_tensors, wide

__all__ = [
    "LeakyReLU",
    "LeakyReLUFunction",
    "PReLU",
    "PReLUFunction",
    "RReLU",
    "RReLUFunction",
    "leaky_relu",
    "leaky_relu_",
    "prelu",
    "rrelu",
    "rrelu_",
]


class LeakyReLUFunction(Function):
    """Rectified linear unit that lets a fraction a of negative values through, so that no unit dies.

    Forward    y = x where x > 0, else a x
    Backward   f′ = 1 where x > 0, else a
    Saves      x
    Source     Maas, Hannun, Ng 2013, https://ai.stanford.edu/~amaas/papers/relu_hybrid_icml2013_final.pdf
    """

    @staticmethod
    def forward(x: Tensor, negative_slope: float):
        return nn.functional.leaky_relu(x, negative_slope)

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
    check_floating("leaky_relu", input=input)
    if inplace:
        return input.copy_(leaky_relu(input.clone(), negative_slope))
    return apply(LeakyReLUFunction, input, negative_slope)


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """:func:`leaky_relu` in place, as :func:`torch.nn.functional.leaky_relu_`."""
    return leaky_relu(input, negative_slope, inplace=True)


class LeakyReLU(nn.LeakyReLU):
    """:class:`torch.nn.LeakyReLU` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return leaky_relu(input, self.negative_slope, self.inplace)


class PReLUFunction(Function):
    """Leaky ReLU whose slope w is learned, one for all channels or one for each.

    Forward    y_i = x_i where x_i > 0, else w x_i
    Backward   ∂y_i/∂x_i = 1 where x_i > 0, else w
               ∂y_i/∂w = 0 where x_i > 0, else x_i, so ∂L/∂w = Σ_i g_i min(x_i, 0), over all i that share w
    Shapes     x, y: any;   w: broadcast to x
    Saves      x, w
    Source     He, Zhang, Ren, Sun 2015, arXiv:1502.01852
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor):
        return torch.where(x > 0, x, weight * x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        x, weight = ctx.saved_tensors
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.where(x > 0, grad_y, weight * grad_y)
        if ctx.needs_input_grad[1]:
            grad_weight = wide(grad_y) * wide(x).clamp(max=0)
            grad_weight = grad_weight.sum_to_size(weight.shape).to(weight.dtype)
        return grad_x, grad_weight


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where positive, else ``weight`` x, as :func:`torch.nn.functional.prelu`.

    Args:
        input: (N, C, *), or of any shape if there is one weight.
        weight: (C), (1) or a scalar: one slope for each channel, or one for all.

    Raises:
        RuntimeError: if ``weight`` has another shape, or not the input's dtype.
    """
    check_tensors("prelu", input=input, weight=weight)
    mixed = weight.dtype != input.dtype
    check_floating("prelu", RuntimeError if mixed else NotImplementedError, input=input)
    if weight.dim() > 1:
        raise RuntimeError(
            f"prelu: weight must have shape [C] or be a scalar, but has {list(weight.shape)}; flatten it"
        )
    if weight.numel() != 1:
        channels = input.shape[1] if input.dim() > 1 else 1
        if input.dim() == 0 or weight.numel() != channels:
            raise RuntimeError(
                f"prelu: weight has {weight.numel()} elements, but an input of shape {list(input.shape)} has "
                f"{channels} channel(s) along its axis 1; give one weight for each channel, or a single one"
            )
    if mixed and not autocasting(input):
        raise RuntimeError(
            f"prelu: mixed dtype: the input is {input.dtype}, but weight is {weight.dtype}; cast one of them"
        )
    axes = (1,) * (input.dim() - 2)
    weight = weight.reshape(-1, *axes) if input.dim() > 1 else weight.reshape(input.dim() * (1,))
    return apply(PReLUFunction, input, weight, autocast=LOW)


class PReLU(nn.PReLU):
    """:class:`torch.nn.PReLU` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return prelu(input, self.weight)


class RReLUFunction(Function):
    """Leaky ReLU whose slope is drawn anew for each number, a noise against overfitting.

    Forward    y_i = r_i x_i,   r_i uniform in [lower, upper] where x_i ≤ 0, else 1
    Backward   r does not depend on how large x_i is:   ∂L/∂x_i = g_i r_i
    Saves      r
    Source     Xu, Wang, Chen, Li 2015, arXiv:1505.00853
    """

    @staticmethod
    def forward(x: Tensor, slope: Tensor):
        return slope * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, slope = inputs
        ctx.save_for_backward(slope)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (slope,) = ctx.saved_tensors
        grad_x = grad_y * slope
        return grad_x, None


def rrelu(
    input: Tensor,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """x where positive, else x times a slope drawn from [``lower``, ``upper``], as
    :func:`torch.nn.functional.rrelu`; if not ``training``, times (``lower`` + ``upper``) / 2.

    Raises:
        RuntimeError: if ``lower`` is above ``upper``, or one of them not finite.
    """
    check_floating("rrelu", input=input)
    for name, bound in (("lower", lower), ("upper", upper)):
        if not math.isfinite(bound):
            raise RuntimeError(f"rrelu: {name} must be finite, but got {bound}")
    if lower > upper:
        raise RuntimeError(f"rrelu: lower={lower} is above upper={upper}; exchange them")
    if inplace:
        return input.copy_(rrelu(input.clone(), lower, upper, training))
    if not training:
        return apply(LeakyReLUFunction, input, (lower + upper) / 2)
    return apply(RReLUFunction, input, _draw_slopes(input.detach(), lower, upper))


def _draw_slopes(x: Tensor, lower: float, upper: float) -> Tensor:
    slope = torch.empty_like(x, memory_format=torch.contiguous_format)
    if torch._C._are_functorch_transforms_active():
        # vmap knows no operator that draws as many numbers as there are negative ones
        return torch.where(x > 0, 1, slope.uniform_(lower, upper))
    torch.ops.aten.rrelu_with_noise(x, slope, lower, upper, True)
    return slope


def rrelu_(input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False) -> Tensor:
    """:func:`rrelu` in place, as :func:`torch.nn.functional.rrelu_`."""
    return rrelu(input, lower, upper, training, inplace=True)


class RReLU(nn.RReLU):
    """:class:`torch.nn.RReLU` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return rrelu(input, self.lower, self.upper, self.training, self.inplace)
