"""Activations made of straight pieces: cheap, with a constant slope on each piece and kinks between them.

All have y_i = f(x_i), so ∂L/∂x_i = g_i f′(x_i) with g = ∂L/∂y; a docstring below states f and f′. At a kink f
has no derivative; each Backward says which side is taken, and it is the one that torch takes. Almost
everywhere the second derivative is zero, but for Hardswish, whose middle piece is a parabola. Shapes are
those of the input throughout. The in-place forms overwrite their input: ReLU and Hardtanh truly, as their
output tells the pieces apart; the others save a copy of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..function import Function, apply, check_floating, check_tensors, transforming, wide

__all__ = [
    "Hardshrink",
    "HardshrinkFunction",
    "Hardsigmoid",
    "HardsigmoidFunction",
    "Hardswish",
    "HardswishFunction",
    "Hardtanh",
    "HardtanhFunction",
    "ReLU",
    "ReLU6",
    "ReLUFunction",
    "Softshrink",
    "SoftshrinkFunction",
    "Threshold",
    "ThresholdFunction",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hardtanh_",
    "relu",
    "relu6",
    "relu_",
    "softshrink",
    "threshold",
    "threshold_",
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
        return x.relu_() if inplace else x.relu()

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
    """max(x, 0), as :func:`torch.nn.functional.relu`.

    Raises:
        RuntimeError: if the input is boolean.
    """
    _check_not_bool("relu", input)
    if inplace and transforming():
        return input.copy_(relu(input))
    return apply(ReLUFunction, input, inplace)


def relu_(input: Tensor) -> Tensor:
    """:func:`relu` in place, as :func:`torch.nn.functional.relu_`."""
    return relu(input, inplace=True)


class ReLU(nn.ReLU):
    """:class:`torch.nn.ReLU` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return relu(input, self.inplace)


class HardtanhFunction(Function):
    """The tangent's shape of three straight pieces: a number is kept between two bounds a < b.

    Forward    y = min(max(x, a), b)
    Backward   f′ = 1 where a < x < b, else 0 (at both kinks 0 is taken)
    Saves      x; in place y, of which a < y < b says the same
    Source     Collobert 2004, "Large scale machine learning", thesis, Université Paris VI
    """

    @staticmethod
    def forward(x: Tensor, min_val: float, max_val: float, inplace: bool):
        return x.clamp_(min_val, max_val) if inplace else x.clamp(min_val, max_val)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.min_val, ctx.max_val, inplace = inputs
        if inplace:
            ctx.mark_dirty(x)
        ctx.save_for_backward(output if inplace else x)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (x,) = ctx.saved_tensors
        outside = (wide(x) <= ctx.min_val) | (wide(x) >= ctx.max_val)
        grad_x = torch.where(outside, 0, grad_y)
        return grad_x, None, None, None


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """x kept between ``min_val`` and ``max_val``, as :func:`torch.nn.functional.hardtanh`.

    Raises:
        ValueError: if ``min_val`` is above ``max_val``.
        RuntimeError: if the input is boolean, or unsigned and a bound negative.
    """
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val={min_val} is above max_val={max_val}; exchange them")
    return _clamp("hardtanh", input, min_val, max_val, inplace)


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """:func:`hardtanh` in place, as :func:`torch.nn.functional.hardtanh_`."""
    return _clamp("hardtanh_", input, min_val, max_val, inplace=True)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6), as :func:`torch.nn.functional.relu6`: :func:`hardtanh` between 0 and 6.

    Raises:
        RuntimeError: if the input is boolean.
    """
    return _clamp("relu6", input, 0, 6, inplace)


def _clamp(name: str, input: Tensor, min_val: float, max_val: float, inplace: bool) -> Tensor:
    _check_not_bool(name, input)
    if not input.is_floating_point():
        min_val, max_val = int(min_val), int(max_val)
    if input.dtype == torch.uint8 and min(min_val, max_val) < 0:
        raise RuntimeError(
            f"{name}: {input.dtype} has no negative numbers, but got min_val={min_val}, max_val={max_val}; "
            "cast the input to a signed dtype"
        )
    if inplace and transforming():
        return input.copy_(apply(HardtanhFunction, input, min_val, max_val, False))
    return apply(HardtanhFunction, input, min_val, max_val, inplace)


def _check_not_bool(name: str, input: Tensor) -> None:
    if not isinstance(input, Tensor):
        check_tensors(name, input=input)
    if input.dtype is torch.bool:
        raise RuntimeError(f"{name}: not implemented for torch.bool; cast the tensor to a floating dtype")


class Hardtanh(nn.Hardtanh):
    """:class:`torch.nn.Hardtanh` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return hardtanh(input, self.min_val, self.max_val, self.inplace)


class ReLU6(nn.ReLU6):
    """:class:`torch.nn.ReLU6` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return hardtanh(input, self.min_val, self.max_val, self.inplace)


class HardsigmoidFunction(Function):
    """The logistic function's shape of three straight pieces.

    Forward    y = min(max(x + 3, 0), 6) / 6
    Backward   f′ = 1/6 where −3 < x < 3, else 0 (at both kinks 0 is taken)
    Saves      x
    Source     Howard et al. 2019, arXiv:1905.02244

    The sixth is rounded to single precision, as torch's is: so gradients in float64 are the same numbers.
    """

    @staticmethod
    def forward(x: Tensor):
        return ((wide(x) + 3).clamp(0, 6) / 6).to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (x,) = ctx.saved_tensors
        grad_x = torch.where((x > -3) & (x < 3), grad_y * SIXTH, 0)
        return grad_x


SIXTH = 0.1666666716337204  # 1/6 in float32


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x + 3, 0), 6) / 6, as :func:`torch.nn.functional.hardsigmoid`."""
    check_floating("hardsigmoid", input=input)
    if inplace:
        return input.copy_(hardsigmoid(input.clone()))
    return apply(HardsigmoidFunction, input)


class Hardsigmoid(nn.Hardsigmoid):
    """:class:`torch.nn.Hardsigmoid` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return hardsigmoid(input, self.inplace)


class HardswishFunction(Function):
    """SiLU with the hard sigmoid for a gate.

    Forward    y = x h(x),   h(x) = min(max(x + 3, 0), 6) / 6
    Backward   f′ = h + x h′:   0 where x ≤ −3;   (x + 3)/6 + x/6 = x/3 + 1/2 between;   1 where x ≥ 3
    Saves      x
    Source     Howard et al. 2019, arXiv:1905.02244

    The middle piece is computed of x kept in [−3, 3]: an infinity that ``where`` hides comes back as NaN when
    backward is differentiated.
    """

    @staticmethod
    def forward(x: Tensor):
        gate = (wide(x) + 3).clamp(0, 6)
        return (wide(x) * gate / 6).to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (x,) = ctx.saved_tensors
        between = (grad_y * (wide(x).clamp(-3, 3) / 3 + 0.5)).to(x.dtype)
        grad_x = torch.where(x <= -3, 0, torch.where(x < 3, between, grad_y))
        return grad_x


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x min(max(x + 3, 0), 6) / 6, as :func:`torch.nn.functional.hardswish`."""
    check_floating("hardswish", input=input)
    if inplace:
        return input.copy_(hardswish(input.clone()))
    return apply(HardswishFunction, input)


class Hardswish(nn.Hardswish):
    """:class:`torch.nn.Hardswish` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return hardswish(input, self.inplace)


class HardshrinkFunction(Function):
    """Small numbers become zero, the others stay. It jumps at ±λ, and a jump has no derivative.

    Forward    y = 0 where −λ ≤ x ≤ λ, else x,   λ = ``lambd``
    Backward   f′ = 0 where −λ ≤ x ≤ λ, else 1
    Saves      x
    Source     Donoho, Johnstone 1994, doi:10.1093/biomet/81.3.425
    """

    @staticmethod
    def forward(x: Tensor, lambd: float):
        return nn.functional.hardshrink(x, lambd)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.lambd = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (x,) = ctx.saved_tensors
        grad_x = torch.where((x >= -ctx.lambd) & (x <= ctx.lambd), 0, grad_y)
        return grad_x, None


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    r"""0 where \|x\| ≤ ``lambd``, else x, as :func:`torch.nn.functional.hardshrink`."""
    check_floating("hardshrink", input=input)
    return apply(HardshrinkFunction, input, lambd)


class Hardshrink(nn.Hardshrink):
    """:class:`torch.nn.Hardshrink` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return hardshrink(input, self.lambd)


class SoftshrinkFunction(Function):
    """Every number goes λ towards zero, and stops there: the step of the lasso's proximal gradient method.

    Forward    y = x − λ where x > λ,   x + λ where x < −λ,   else 0,   λ = ``lambd``
    Backward   f′ = 0 where −λ ≤ x ≤ λ, else 1
    Saves      x
    Source     Donoho 1995, "De-noising by soft-thresholding", doi:10.1109/18.382009
    """

    @staticmethod
    def forward(x: Tensor, lambd: float):
        return nn.functional.softshrink(x, lambd)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.lambd = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (x,) = ctx.saved_tensors
        grad_x = torch.where((x >= -ctx.lambd) & (x <= ctx.lambd), 0, grad_y)
        return grad_x, None


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x, by ``lambd`` nearer to zero, as :func:`torch.nn.functional.softshrink`.

    Raises:
        RuntimeError: if ``lambd`` is negative or above the largest number of the input's dtype.
    """
    check_floating("softshrink", input=input)
    largest = torch.finfo(input.dtype).max
    if not 0 <= lambd <= largest:
        raise RuntimeError(
            f"softshrink: lambd must be in [0, {largest:g}] for an input of {input.dtype}, but got {lambd}"
        )
    return apply(SoftshrinkFunction, input, lambd)


class Softshrink(nn.Softshrink):
    """:class:`torch.nn.Softshrink` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return softshrink(input, self.lambd)


class ThresholdFunction(Function):
    """What is not above the threshold is replaced by a constant.

    Forward    y = x where x > t, else v   (t: the threshold, v: the value in its place)
    Backward   f′ = 1 where x > t, else 0
    Saves      x
    """

    @staticmethod
    def forward(x: Tensor, threshold: float, value: float):
        return torch.threshold(x, threshold, value)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.threshold, _ = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (x,) = ctx.saved_tensors
        grad_x = torch.where(wide(x) <= ctx.threshold, 0, grad_y)
        return grad_x, None, None


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where above ``threshold``, else ``value``, as :func:`torch.nn.functional.threshold`.

    Raises:
        NotImplementedError: if the input is boolean.
    """
    check_tensors("threshold", input=input)
    if input.dtype == torch.bool:
        raise NotImplementedError("threshold: not implemented for torch.bool; cast the tensor")
    if inplace:
        return input.copy_(apply(ThresholdFunction, input.clone(), threshold, value))
    return apply(ThresholdFunction, input, threshold, value)


def threshold_(input: Tensor, threshold: float, value: float) -> Tensor:
    """:func:`threshold` in place, as :func:`torch.nn.functional.threshold_`."""
    return input.copy_(apply(ThresholdFunction, input.clone(), threshold, value))


class Threshold(nn.Threshold):
    """:class:`torch.nn.Threshold` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return threshold(input, self.threshold, self.value, self.inplace)
