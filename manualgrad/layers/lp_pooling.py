"""Power-average pooling: a window of the input becomes its norm, from the sum (p = 1) to the maximum (p = ∞).

The smaller p, the more evenly a window's elements are responsible for its norm; at p = ∞ one is, alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..function import Autocast, Function, apply, check_floating, own, wide
from ._spatial import Ints, check_axes, kernel_and_stride
from .pooling import AVG_POOL, MAX_POOL, adjoint_of_mean, scatter_to_winners
from .unpooling import planes_as_rows

__all__ = [
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "LPPoolFunction",
    "MaxNormPoolFunction",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
]


def sums_of_powers(x: Tensor, p: float, kernel: Ints, stride: Ints, ceil_mode: bool) -> Tensor:
    """s of each window, in the precision of sums."""
    mean = AVG_POOL[len(kernel)](wide(x).pow(p), kernel, stride, 0, ceil_mode)
    return mean * torch.Size(kernel).numel()


class LPPoolFunction(Function):
    """The p-norm of each window, without the absolute values: odd powers keep their sign, as torch has it.

    Forward    s_o = (K/c_o) Σ_{j ∈ o} x_j^p,   y_o = s_o^(1/p)
               with windows o of K elements, of which c_o are in x: fewer for the last ones in ceil_mode,
               whose sum is scaled up to K elements.   y is NaN where the root does not exist: s < 0, p ≠ 1
    Backward   ∂y_o/∂s_o = (1/p) s_o^(1/p − 1)
               ∂s_o/∂x_j = (K/c_o) p x_j^(p − 1)   for j in o; the factors p cancel:
               ∂L/∂x_j = x_j^(p − 1) Σ_{o ∋ j} (K/c_o) g_o s_o^(1/p − 1)
               which for one whole window is (x_j / y)^(p − 1) g, as s = y^p: large elements are responsible
               for more than their share, the more so the larger p. Where s_o = 0 there is no derivative, and
               torch's 0 is taken
    Shapes     x: (*, *I);   y, s: (*, *O)
    Saves      x, s: not y, which the caller may change in place
    Source     Gulcehre et al. 2014, arXiv:1311.1780
    """

    @staticmethod
    def forward(x: Tensor, p: float, kernel: Ints, stride: Ints, ceil_mode: bool):
        s = sums_of_powers(x, p, kernel, stride, ceil_mode)
        y = s.pow(1 / p)
        return y.to(x.dtype), s

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.p, ctx.kernel, ctx.stride, ctx.ceil_mode = inputs
        _, s = output
        ctx.mark_non_differentiable(s)
        ctx.save_for_backward(x, s)

    @staticmethod
    def backward(ctx, grad_y: Tensor, _s):
        x, s = ctx.saved_tensors
        x_, g, p = wide(x), wide(grad_y), ctx.p
        if torch.is_grad_enabled():
            s = sums_of_powers(x, p, ctx.kernel, ctx.stride, ctx.ceil_mode)
        # Where s is 0 the root is taken of 1, so that no ∞ meets the 0.
        is_zero = s == 0
        share = torch.where(is_zero, 0, g * torch.where(is_zero, 1, s).pow(1 / p - 1))
        ndim = len(ctx.kernel)
        plane, padding = tuple(x.shape[-ndim:]), (0,) * ndim
        window_size = torch.Size(ctx.kernel).numel()
        gathered = window_size * adjoint_of_mean(share, plane, ctx.kernel, ctx.stride, padding, True, None)
        grad_x = x_.pow(p - 1) * gathered
        return grad_x.to(x.dtype), None, None, None, None


class MaxNormPoolFunction(Function):
    """The largest absolute value of each window, the norm with p = ∞; or the smallest, with p = −∞.

    Forward    y_o = |x_m(o)|   with  m(o) = argmax of |x| over window o (argmin for p = −∞), the first one
               among equals:  s^(1/p) goes there as the largest term of s outgrows all others
    Backward   only the winner is responsible, by its sign:   ∂L/∂x_j = Σ_{o: m(o) = j} g_o sign(x_j)
    Shapes     x: (*, *I);   y, m: (*, *O);   m counts the elements of the plane *I
    Saves      m, and the signs of the winners in a byte each: both are constant almost everywhere
    """

    @staticmethod
    def forward(x: Tensor, largest: bool, kernel: Ints, stride: Ints, ceil_mode: bool):
        size = x.abs() if largest else -x.abs()
        none, side_by_side = (0,) * len(kernel), (1,) * len(kernel)
        y, winner = MAX_POOL[len(kernel)](size, kernel, stride, none, side_by_side, ceil_mode)
        won = planes_as_rows(x, len(kernel)).gather(-1, planes_as_rows(winner, len(kernel)))
        sign = won.sign().to(torch.int8).reshape(winner.shape)
        return own(y if largest else -y), winner, sign

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, _, kernel, _, _ = inputs
        _, winner, sign = output
        ctx.plane = tuple(x.shape[-len(kernel) :])
        ctx.mark_non_differentiable(winner, sign)
        ctx.save_for_backward(winner, sign)

    @staticmethod
    def backward(ctx, grad_y: Tensor, _winner, _sign):
        winner, sign = ctx.saved_tensors
        return scatter_to_winners(grad_y * sign, winner, ctx.plane), None, None, None, None


def _lp_pool(ndim: int, input: Tensor, norm_type, kernel_size, stride, ceil_mode: bool) -> Tensor:
    name = f"lp_pool{ndim}d"
    if ndim > 1 and not isinstance(kernel_size, int) and len(kernel_size) != ndim:
        raise ValueError(f"{name}: kernel_size must be one number or {ndim} of them, but got {kernel_size}")
    if norm_type == 0:
        raise ZeroDivisionError(f"{name}: norm_type must not be 0: there is no root of that degree")
    check_axes(name, input, ndim)
    kernel, stride = kernel_and_stride(name, kernel_size, stride, ndim)
    # torch's autocast knows the operators that it makes this of: pow, max_pool3d and avg_pool3d.
    on_cpu = "float32" if ndim == 3 else None
    if norm_type in (float("inf"), -float("inf")):
        if ndim == 1:
            check_floating(name, input=input)
        autocast = Autocast(on_cpu, None)
        options = (norm_type > 0, kernel, stride, ceil_mode)
        return apply(MaxNormPoolFunction, input, *options, autocast=autocast)[0]
    if not input.is_floating_point() and not input.is_complex():
        input = input.to(torch.get_default_dtype())
    options = (norm_type, kernel, stride, ceil_mode)
    return apply(LPPoolFunction, input, *options, autocast=Autocast(on_cpu, "float32"))[0]


def lp_pool1d(input, norm_type, kernel_size, stride=None, ceil_mode=False) -> Tensor:
    """Norm of each window of (N, C, L) or (C, L), as :func:`torch.nn.functional.lp_pool1d`.

    Args:
        norm_type: p, the power; ±∞ takes the largest or the smallest absolute value.
        kernel_size: elements in a window.
        stride: elements between windows. Default: ``kernel_size``.
        ceil_mode: whether a last, incomplete window counts.

    Raises:
        RuntimeError: if shapes or options do not fit.
        ZeroDivisionError: if ``norm_type`` is 0.
    """
    return _lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(input, norm_type, kernel_size, stride=None, ceil_mode=False) -> Tensor:
    """Norm of each window of (N, C, H, W) or (C, H, W), as :func:`torch.nn.functional.lp_pool2d`.
    See :func:`lp_pool1d`; a ``kernel_size`` of another length than 2 is a ValueError."""
    return _lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(input, norm_type, kernel_size, stride=None, ceil_mode=False) -> Tensor:
    """Norm of each window of (N, C, D, H, W) or (C, D, H, W), as :func:`torch.nn.functional.lp_pool3d`.
    See :func:`lp_pool1d`; a ``kernel_size`` of another length than 3 is a ValueError."""
    return _lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode)


class _LPPool(nn.modules.pooling._LPPoolNd):
    ndim: int

    def forward(self, input: Tensor) -> Tensor:
        options = (self.kernel_size, self.stride, self.ceil_mode)
        return _lp_pool(self.ndim, input, float(self.norm_type), *options)


class LPPool1d(_LPPool, nn.LPPool1d):
    """:class:`torch.nn.LPPool1d` with a hand-written backward."""

    ndim = 1


class LPPool2d(_LPPool, nn.LPPool2d):
    """:class:`torch.nn.LPPool2d` with a hand-written backward."""

    ndim = 2


class LPPool3d(_LPPool, nn.LPPool3d):
    """:class:`torch.nn.LPPool3d` with a hand-written backward."""

    ndim = 3
