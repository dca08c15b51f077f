"""Fractional max pooling: windows at random places, so that an image may shrink by a factor such as √2.

Max pooling with stride 2 halves an image at once. Here the output may have any size, and the windows, all of
one size, stand at steps that are now shorter, now longer, drawn anew at every call.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..function import FLOAT32_ON_CPU, Function, apply, check_floating, check_optional, check_tensors, own
from ._spatial import Ints
from .pooling import scatter_to_winners
from .unpooling import planes_as_rows

__all__ = [
    "FractionalMaxPool2d",
    "FractionalMaxPool3d",
    "FractionalMaxPoolFunction",
    "fractional_max_pool2d",
    "fractional_max_pool2d_with_indices",
    "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices",
]


class FractionalMaxPoolFunction(Function):
    """The largest element of each of ``size`` windows at random places.

    Forward    along an axis of length I, with O windows of k elements and a random number 0 ≤ u < 1 for each
               channel of each sample:
               α = (I − k) / (O − 1)   the mean step
               t_o = ⌊(o + u) α⌋ − ⌊u α⌋   where window o starts;   t_(O−1) = I − k, so that the last one ends
               with the axis
               y_o = x_m(o)   with  m(o) = argmax of x over t_o ≤ j < t_o + k along every axis, the first one
               among equals, and the last NaN if there is any
    Backward   as in MaxPool, only the winner is responsible, once for every window that it won:
               ∂L/∂x_j = Σ_{o: m(o) = j} g_o
               m depends on u, but u is drawn and not learned, so it gets no gradient
    Shapes     x: (*, C, *I);   u: (at least as many samples, C, axes);   y, m: (*, C, *O) with * = (N,) or ()
               m counts the elements of the plane *I
    Saves      m: neither x nor y
    Source     Graham 2014, arXiv:1412.6071
    """

    @staticmethod
    def forward(x: Tensor, samples: Tensor, kernel: Ints, size: Ints):
        if samples.dtype != x.dtype:
            raise RuntimeError(
                f"fractional_max_pool{len(kernel)}d: _random_samples must have the input's dtype, {x.dtype}, "
                f"but have {samples.dtype}; cast them"
            )
        plane, lead = x.shape[-len(kernel) :], x.shape[: -len(kernel)]
        u = samples.narrow(0, 0, lead[0]) if len(lead) > 1 else samples.select(0, 0)
        starts = [
            window_starts(u.select(-1, source), length, k, count)
            for source, length, k, count in zip(order_of_samples(len(kernel)), plane, kernel, size)
        ]
        flat = planes_as_rows(x, len(kernel))
        winner = place = place_in_plane(starts, plane, (0,) * len(kernel))
        y = torch.full_like(place, -math.inf, dtype=x.dtype)
        for offset in itertools.product(*(range(k) for k in kernel)):
            place = place_in_plane(starts, plane, offset)
            value = flat.gather(-1, place)
            better = (value > y) | value.isnan()
            y, winner = torch.where(better, value, y), torch.where(better, place, winner)
        return own(y.reshape(*lead, *size)), winner.reshape(*lead, *size)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, _, kernel, _ = inputs
        _, winner = output
        ctx.plane = tuple(x.shape[-len(kernel) :])
        ctx.mark_non_differentiable(winner)
        ctx.save_for_backward(winner)

    @staticmethod
    def backward(ctx, grad_y: Tensor, _winner):
        (winner,) = ctx.saved_tensors
        return scatter_to_winners(grad_y, winner, ctx.plane), None, None, None


def order_of_samples(ndim: int) -> Ints:
    """Which of the random numbers of a channel each axis takes: torch deals them in reverse to images."""
    return (1, 0) if ndim == 2 else (0, 1, 2)


def window_starts(u: Tensor, length: int, kernel: int, count: int) -> Tensor:
    """t along one axis: from (*, C) random numbers to (*, C, count) starts."""
    last = torch.full_like(u, length - kernel, dtype=torch.int64).unsqueeze(-1)
    if count <= 1:
        return last.narrow(-1, 0, count)
    # In the dtype of u and rounded at each step, as torch does: the same u gives the same windows.
    u = u.unsqueeze(-1)
    step = torch.full_like(u, length - kernel) / (count - 1)
    window = torch.arange(count - 1, device=u.device).to(u.dtype)
    starts = ((window + u) * step).to(torch.int64) - (u * step).to(torch.int64)
    return torch.cat((starts, last), -1)


def place_in_plane(starts: list[Tensor], plane: Sequence[int], offset: Ints) -> Tensor:
    """For each window the element at ``offset`` in it: its number in the plane, windows in one axis."""
    place = starts[0] + offset[0]
    for start, length, step in zip(starts[1:], plane[1:], offset[1:]):
        table = (place * length).unsqueeze(-1) + (start + step).unsqueeze(-2)
        place = table.reshape(*place.shape[:-1], place.shape[-1] * start.shape[-1])
    return place


def _fractional_max_pool(
    ndim: int, input: Tensor, kernel_size, output_size, output_ratio, return_indices: bool, samples
):
    name = f"fractional_max_pool{ndim}d"
    if output_size is None and output_ratio is None:
        raise ValueError(f"{name}: one of output_size and output_ratio must be given")
    check_optional(name, _random_samples=samples)
    _check_input(name, input, ndim, NotImplementedError if samples is None else RuntimeError)
    plane = input.shape[-ndim:]
    if output_size is None:
        output_size = _scaled(name, plane, output_ratio)
    kernel = _exactly(name, "kernel_size", kernel_size, ndim)
    size = _exactly(name, "output_size", output_size, ndim)
    for argument, values, least in (("kernel_size", kernel, 1), ("output_size", size, 0)):
        if min(values) < least:
            raise RuntimeError(f"{name}: {argument} must be at least {least}, but got {values}")
    for axis, (length, k, count) in enumerate(zip(plane, kernel, size), -ndim):
        if count + k - 1 > length:
            raise RuntimeError(
                f"{name}: {count} windows of {k} elements do not fit into axis {axis}, which has {length}: "
                "output_size + kernel_size − 1 must not exceed it"
            )
    batch, channels = 1 if input.dim() == ndim + 1 else input.shape[0], input.shape[-ndim - 1]
    if samples is None:
        samples = torch.rand(batch, channels, ndim, dtype=input.dtype, device=input.device)
    elif samples.dim() != 3 or samples.shape[0] < batch or samples.shape[1:] != (channels, ndim):
        raise RuntimeError(
            f"{name}: _random_samples must have the shape {[batch, channels, ndim]}, or more than {batch} "
            f"samples, but have {list(samples.shape)}"
        )
    y, winner = apply(FractionalMaxPoolFunction, input, samples, kernel, size, autocast=FLOAT32_ON_CPU)
    return (y, winner) if return_indices else y


def _check_input(name: str, input: Tensor, ndim: int, error: type[Exception]) -> None:
    check_tensors(name, input=input)
    if input.dim() not in (ndim + 1, ndim + 2) or 0 in input.shape[1:]:
        kind = IndexError if input.dim() <= ndim else RuntimeError
        raise kind(
            f"{name}: expected an unbatched input with {ndim + 1} axes or a batched one with {ndim + 2}, of "
            f"which only the first may be empty, but got shape {list(input.shape)}"
        )
    check_floating(name, error, input=input)


def _scaled(name: str, plane: Sequence[int], ratio) -> Ints:
    """The output's lengths, ``ratio`` times those of the plane."""
    ratios = tuple(ratio) if isinstance(ratio, Sequence) else (ratio,) * len(plane)
    if len(ratios) != len(plane):
        raise ValueError(f"{name}: output_ratio must be one number or {len(plane)} of them, but got {ratio}")
    return tuple(int(length * r) for length, r in zip(plane, ratios))


def _exactly(name: str, argument: str, value, ndim: int) -> Ints:
    values = tuple(value) if isinstance(value, Sequence) else (value,) * ndim
    if len(values) != ndim:
        raise RuntimeError(f"{name}: {argument} must be one number or {ndim} of them, but got {value}")
    return values


def fractional_max_pool2d_with_indices(
    input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None
) -> tuple[Tensor, Tensor]:
    """:func:`fractional_max_pool2d`, and where in its plane each maximum stands."""
    return _fractional_max_pool(2, input, kernel_size, output_size, output_ratio, True, _random_samples)


def fractional_max_pool3d_with_indices(
    input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None
) -> tuple[Tensor, Tensor]:
    """:func:`fractional_max_pool3d`, and where in its volume each maximum stands."""
    return _fractional_max_pool(3, input, kernel_size, output_size, output_ratio, True, _random_samples)


def fractional_max_pool2d(
    input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None
):
    """Maxima of windows at random places of (N, C, H, W) or (C, H, W), as
    :func:`torch.nn.functional.fractional_max_pool2d`.

    Args:
        kernel_size: elements in a window along an axis: a number, or one for each axis.
        output_size: how many windows there are along an axis: a number, or one for each axis.
        output_ratio: the same as parts of the input's lengths, where ``output_size`` is None.
        return_indices: also return where each maximum stands.
        _random_samples: (N, C, 2), in [0, 1): what places the windows. Default: drawn.

    Raises:
        ValueError: if neither ``output_size`` nor ``output_ratio`` is given.
        RuntimeError: if shapes or options do not fit, or so many windows do not fit into the input.
    """
    options = (kernel_size, output_size, output_ratio, return_indices, _random_samples)
    return _fractional_max_pool(2, input, *options)


def fractional_max_pool3d(
    input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None
):
    """Maxima of windows at random places of (N, C, D, H, W) or (C, D, H, W), as
    :func:`torch.nn.functional.fractional_max_pool3d`. See :func:`fractional_max_pool2d`;
    ``_random_samples`` are (N, C, 3)."""
    options = (kernel_size, output_size, output_ratio, return_indices, _random_samples)
    return _fractional_max_pool(3, input, *options)


class FractionalMaxPool2d(nn.FractionalMaxPool2d):
    """:class:`torch.nn.FractionalMaxPool2d` with a hand-written backward."""

    def forward(self, input: Tensor):
        options = (self.kernel_size, self.output_size, self.output_ratio, self.return_indices)
        return fractional_max_pool2d(input, *options, _random_samples=self._random_samples)


class FractionalMaxPool3d(nn.FractionalMaxPool3d):
    """:class:`torch.nn.FractionalMaxPool3d` with a hand-written backward."""

    def forward(self, input: Tensor):
        options = (self.kernel_size, self.output_size, self.output_ratio, self.return_indices)
        return fractional_max_pool3d(input, *options, _random_samples=self._random_samples)
