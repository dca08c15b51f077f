"""Local response normalization: a channel is divided by what it and its neighbours have at the same place.

A strong response inhibits its neighbours, as in nerve cells; AlexNet made the layer known. Both layers here
have one formula, and differ in which channels are neighbours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..function import FLOAT32, FLOAT32_ON_ACCELERATOR, Function, apply, check_floating, wide

__all__ = [
    "CrossMapLRN2d",
    "CrossMapLRN2dFunction",
    "LocalResponseNorm",
    "LocalResponseNormFunction",
    "cross_map_lrn2d",
    "local_response_norm",
]


def window_sum(u: Tensor, before: int, after: int) -> Tensor:
    """Σ u_j over the channels c − before ≤ j ≤ c + after that exist, for every channel c of (B, C, *).

    Its adjoint exchanges the two numbers: u_j enters the sums of j − after ≤ c ≤ j + before.
    """
    channels = u.shape[1]
    before, after = min(before, channels), min(after, channels)
    shape = [u.shape[0], before, *u.shape[2:]]
    shape_after = [u.shape[0], after, *u.shape[2:]]
    padded = torch.cat([u.new_zeros(shape), u, u.new_zeros(shape_after)], 1)
    total = padded.narrow(1, 0, channels)
    for shift in range(1, before + after + 1):
        total = total + padded.narrow(1, shift, channels)
    return total


class LocalResponseNormFunction(Function):
    """Divide each channel by a power of the mean square of its window of ``size`` channels.

    Forward    d_c = k + (α/n) Σ_{j ∈ W(c)} x_j²,   y_c = x_c d_c^(−β),   n = size
               with the window  W(c) = {c − ⌊n/2⌋, …, c + ⌊(n−1)/2⌋}; channels that do not exist count as 0
    Backward   g = ∂L/∂y.  x_j reaches y_j directly, and every y_c with j ∈ W(c) through d_c:
               ∂d_c/∂x_j = 2 (α/n) x_j  if j ∈ W(c), else 0
               ∂y_c/∂x_j = δ_cj d_c^(−β) − β x_c d_c^(−β−1) ∂d_c/∂x_j
               summed with g_c:   ∂L/∂x_j = g_j d_j^(−β) − 2 (αβ/n) x_j Σ_{c: j ∈ W(c)} g_c x_c d_c^(−β−1)
               the channels c in whose window j lies are the mirrored window {j − ⌊(n−1)/2⌋, …, j + ⌊n/2⌋}
    Shapes     x, y, d: (B, C, *), each position by itself
    Saves      x, d
    Source     Krizhevsky, Sutskever, Hinton 2012, doi:10.1145/3065386, section 3.3 (there the sum, here as in
               Caffe the mean)
    """

    @staticmethod
    def forward(x: Tensor, size: int, alpha: float, beta: float, k: float):
        d = local_response(x, size, alpha, k)
        return (x * d.pow(-beta)).to(x.dtype), d

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.size, ctx.alpha, ctx.beta, ctx.k = inputs
        _, d = output
        ctx.mark_non_differentiable(d)
        ctx.save_for_backward(x, d)

    @staticmethod
    def backward(ctx, grad_y: Tensor, _d):
        x, d = ctx.saved_tensors
        if torch.is_grad_enabled():  # differentiated again: d is a function of x, not a constant
            d = local_response(x, ctx.size, ctx.alpha, ctx.k)
        g = wide(grad_y)
        through_d = window_sum(g * x * d.pow(-ctx.beta - 1), (ctx.size - 1) // 2, ctx.size // 2)
        grad_x = g * d.pow(-ctx.beta) - 2 * ctx.alpha * ctx.beta / ctx.size * x * through_d
        return grad_x.to(x.dtype), None, None, None, None


def local_response(x: Tensor, size: int, alpha: float, k: float) -> Tensor:
    """d = k + α mean(x²) over the window of ``size`` channels."""
    return k + alpha / size * window_sum(wide(x).square(), size // 2, (size - 1) // 2)


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Local response normalization, as :func:`torch.nn.functional.local_response_norm`.

    Args:
        input: shape (B, C, *), with at least one axis behind the channels.
        size: number n of neighbouring channels.
        alpha, beta, k: of the divisor (k + α mean(x²))^β.

    Raises:
        ValueError: if the input has fewer than 3 axes.
        TypeError: if ``size`` is no integer.
        RuntimeError: if ``size`` is not positive.
        NotImplementedError: if the input is not floating point.
    """
    check_floating("local_response_norm", input=input)
    if input.dim() < 3:
        raise ValueError(
            f"local_response_norm: expected an input (B, C, *) of 3 axes or more, but got shape "
            f"{list(input.shape)}"
        )
    check_size("local_response_norm", size)
    policy = FLOAT32_ON_ACCELERATOR if input.dim() == 3 else FLOAT32
    return apply(LocalResponseNormFunction, input, size, alpha, beta, k, autocast=policy)[0]


class LocalResponseNorm(nn.LocalResponseNorm):
    """:class:`torch.nn.LocalResponseNorm` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return local_response_norm(input, self.size, self.alpha, self.beta, self.k)


class CrossMapLRN2dFunction(Function):
    """Local response normalization with a window that reaches equally far to both sides.

    Forward    d_c = k + (α/n) Σ_{j ∈ W(c)} x_j²,   y_c = x_c d_c^(−β),   n = size,  h = ⌊(n−1)/2⌋
               W(c) = {c − h, …, c + h}, and channel 0 as well, wherever it is (see below)
    Backward   as for LocalResponseNorm, with another window:
               ∂L/∂x_j = g_j d_j^(−β) − 2 (αβ/n) x_j Σ_{c: j ∈ W(c)} g_c x_c d_c^(−β−1)
               for j > 0 the channels c with j ∈ W(c) are {j − h, …, j + h}; for j = 0 they are all, those
               with c > h beyond that window.   In code v_c = g_c x_c d_c^(−β−1)
    Shapes     x, y, d: (B, C, H, W)
    Saves      x, d
    Source     torch/nn/modules/_functions.py, after Lua Torch's SpatialCrossMapLRN

    Lua's window was {c − h, …, c + h}. torch slides it by adding the channel that enters and taking away the
    one that leaves, but counts from 0 where Lua counted from 1, and so never takes channel 0 away. A model's
    outputs depend on that, so it stays. torch's backward miscounts in its own way, and is the derivative of
    neither window; this one is the derivative of the forward above.
    """

    @staticmethod
    def forward(x: Tensor, size: int, alpha: float, beta: float, k: float):
        d = cross_map_response(x, size, alpha, k)
        return (x * d.pow(-beta)).to(x.dtype), d

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.size, ctx.alpha, ctx.beta, ctx.k = inputs
        _, d = output
        ctx.mark_non_differentiable(d)
        ctx.save_for_backward(x, d)

    @staticmethod
    def backward(ctx, grad_y: Tensor, _d):
        x, d = ctx.saved_tensors
        if torch.is_grad_enabled():  # differentiated again: d is a function of x, not a constant
            d = cross_map_response(x, ctx.size, ctx.alpha, ctx.k)
        g = wide(grad_y)
        h = (ctx.size - 1) // 2
        v = g * x * d.pow(-ctx.beta - 1)
        channel = channels_of(x)
        from_beyond = torch.where(channel > h, v, 0).sum(1, keepdim=True)
        through_d = window_sum(v, h, h) + torch.where(channel == 0, from_beyond, 0)
        grad_x = g * d.pow(-ctx.beta) - 2 * ctx.alpha * ctx.beta / ctx.size * x * through_d
        return grad_x.to(x.dtype), None, None, None, None


def cross_map_response(x: Tensor, size: int, alpha: float, k: float) -> Tensor:
    """d = k + (α/n) Σ x² over the window of ``size`` channels, and channel 0."""
    h = (size - 1) // 2
    squares = wide(x).square()
    channel = channels_of(x)
    first = squares.narrow(1, 0, min(1, x.shape[1]))
    return k + alpha / size * (window_sum(squares, h, h) + torch.where(channel > h, first, 0))


def channels_of(x: Tensor) -> Tensor:
    """The number of each channel of x, (B, C, H, W)."""
    return torch.arange(x.shape[1], device=x.device).reshape(x.shape[1], 1, 1)


def cross_map_lrn2d(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1
) -> Tensor:
    """Local response normalization, as :class:`torch.nn.CrossMapLRN2d`: torch has no function for it.

    Args:
        input: shape (B, C, H, W).
        size: number n of neighbouring channels; an even one counts in the divisor, but its window is that of
            n − 1.
        alpha, beta, k: of the divisor (k + (α/n) Σ x²)^β.

    Raises:
        ValueError: if the input has not 4 axes.
        TypeError: if ``size`` is no integer.
        RuntimeError: if ``size`` is not positive.
        NotImplementedError: if the input is not floating point.
    """
    check_floating("cross_map_lrn2d", RuntimeError, input=input)
    if input.dim() != 4:
        raise ValueError(
            f"cross_map_lrn2d: expected an input (B, C, H, W), but got shape {list(input.shape)}"
        )
    check_size("cross_map_lrn2d", size)
    return apply(CrossMapLRN2dFunction, input, size, alpha, beta, k)[0]


class CrossMapLRN2d(nn.CrossMapLRN2d):
    """:class:`torch.nn.CrossMapLRN2d` with a hand-written backward, which torch's class has not got right."""

    def forward(self, input: Tensor) -> Tensor:
        return cross_map_lrn2d(input, self.size, self.alpha, self.beta, self.k)


def check_size(name: str, size: int) -> None:
    """Raise TypeError or RuntimeError, as torch does, unless ``size`` is a positive integer."""
    if not isinstance(size, int):
        raise TypeError(f"{name}: size must be a whole number of channels, but got {size!r}")
    if size <= 0:
        raise RuntimeError(f"{name}: size must be greater than zero, but got {size}")
