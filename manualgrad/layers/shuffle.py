"""Shuffles: the elements of a tensor under other coordinates, none lost and none repeated.

A permutation of coordinates is undone by its inverse, and that is its whole derivative: with y_φ(i) = x_i for
a bijection φ, the element x_i is responsible for y_φ(i) alone, hence ∂L/∂x_i = g_φ(i). The gradient of a
shuffle is the gradient, shuffled back.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..function import Function, apply, check_tensors

__all__ = [
    "ChannelShuffle",
    "ChannelShuffleFunction",
    "PixelShuffle",
    "PixelShuffleFunction",
    "PixelUnshuffle",
    "PixelUnshuffleFunction",
    "channel_shuffle",
    "native_channel_shuffle",
    "pixel_shuffle",
    "pixel_unshuffle",
]


class PixelShuffleFunction(Function):
    """r² channels become r × r pixels: a larger image out of more channels.

    Forward    y_{c, r h + a, r w + b} = x_{c r² + a r + b, h, w}   for 0 ≤ a, b < r
    Backward   the same equation, read from left to right: every element of x stands at one place of y, so
               ∂L/∂x_{c r² + a r + b, h, w} = g_{c, r h + a, r w + b}:   PixelUnshuffle of g
    Shapes     x: (*, C r², H, W);   y: (*, C, r H, r W)
    Saves      nothing
    Source     Shi et al. 2016, arXiv:1609.05158
    """

    @staticmethod
    def forward(x: Tensor, r: int):
        return torch.pixel_shuffle(x, r)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, ctx.r = inputs

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        grad_x = pixels_to_channels(grad_y, ctx.r)
        return grad_x, None


def pixels_to_channels(x: Tensor, r: int) -> Tensor:
    """PixelUnshuffle of ``x``, of an empty one too: ATen returns that in the shape that it had."""
    y = torch.pixel_unshuffle(x, r)
    *lead, channels, height, width = x.shape
    return y if x.numel() else y.reshape(*lead, channels * r * r, height // r, width // r)


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(*, C r², H, W) to (*, C, r H, r W) with r = ``upscale_factor``, as
    :func:`torch.nn.functional.pixel_shuffle`.

    Raises:
        RuntimeError: if there are fewer than three axes, ``upscale_factor`` is not positive, or its square
            does not divide the number of channels.
    """
    return apply(PixelShuffleFunction, input, upscale_factor)


class PixelShuffle(nn.PixelShuffle):
    """:class:`torch.nn.PixelShuffle` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return pixel_shuffle(input, self.upscale_factor)


class PixelUnshuffleFunction(Function):
    """r × r pixels become r² channels: a smaller image with more channels, the inverse of PixelShuffle.

    Forward    y_{c r² + a r + b, h, w} = x_{c, r h + a, r w + b}   for 0 ≤ a, b < r
    Backward   ∂L/∂x_{c, r h + a, r w + b} = g_{c r² + a r + b, h, w}:   PixelShuffle of g
    Shapes     x: (*, C, r H, r W);   y: (*, C r², H, W)
    Saves      nothing
    """

    @staticmethod
    def forward(x: Tensor, r: int):
        return pixels_to_channels(x, r)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, ctx.r = inputs

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        grad_x = torch.pixel_shuffle(grad_y, ctx.r)
        return grad_x, None


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(*, C, r H, r W) to (*, C r², H, W) with r = ``downscale_factor``, as
    :func:`torch.nn.functional.pixel_unshuffle`.

    Raises:
        RuntimeError: if there are fewer than three axes, or ``downscale_factor`` is not positive or does not
            divide height and width.
    """
    return apply(PixelUnshuffleFunction, input, downscale_factor)


class PixelUnshuffle(nn.PixelUnshuffle):
    """:class:`torch.nn.PixelUnshuffle` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return pixel_unshuffle(input, self.downscale_factor)


class ChannelShuffleFunction(Function):
    """Channels dealt out like cards, so that the next grouped convolution sees some of every group.

    Forward    the C channels are a matrix of G groups with K = C / G channels each, and it is transposed:
               y_{k G + j} = x_{j K + k}   for 0 ≤ j < G, 0 ≤ k < K
    Backward   ∂L/∂x_{j K + k} = g_{k G + j}:   a transposition undoes a transposition, so this is the
               shuffle of g in K groups
    Shapes     x, y: (N, C, *)
    Saves      nothing
    Source     Zhang et al. 2017, arXiv:1707.01083
    """

    @staticmethod
    def forward(x: Tensor, groups: int):
        return torch.channel_shuffle(x, groups)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, groups = inputs
        # Of no channels there is one group too: none is refused.
        ctx.per_group = max(x.shape[1] // groups, 1)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        grad_x = torch.channel_shuffle(grad_y, ctx.per_group)
        return grad_x, None


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """The channels of (N, C, *) in another order, as :func:`torch.nn.functional.channel_shuffle`.

    Args:
        groups: how many groups of channels there are; it divides C.

    Raises:
        RuntimeError: if there are fewer than three axes, or ``groups`` is not positive or does not divide C.
    """
    check_tensors("channel_shuffle", input=input)
    if isinstance(input, Tensor) and input.dim() > 2 and (groups <= 0 or input.shape[1] % groups):
        raise RuntimeError(
            f"channel_shuffle: groups={groups} must be positive and divide the number of channels, axis 1 of "
            f"the input, which is {input.shape[1]}"
        )
    return apply(ChannelShuffleFunction, input, groups)


def native_channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """:func:`channel_shuffle` under its other name. torch's own has no derivative; this one does."""
    return channel_shuffle(input, groups)


class ChannelShuffle(nn.ChannelShuffle):
    """:class:`torch.nn.ChannelShuffle` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return channel_shuffle(input, self.groups)
