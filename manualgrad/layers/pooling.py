"""Pooling: a window of the input becomes its maximum or its mean. In one, two and three dimensions.

A maximum has one element responsible; a mean shares the responsibility equally. Functions work on the last
axes (as many as ``kernel`` or ``size`` has entries), so batched and unbatched inputs are alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..function import FLOAT32_ON_CPU, UNCHANGED, Function, apply, check_floating, own, wide
from ._spatial import Ints, check_axes, kernel_and_stride, per_axis

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveAvgPoolFunction",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AdaptiveMaxPoolFunction",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "AvgPoolFunction",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxPoolFunction",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool1d_with_indices",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_with_indices",
    "adaptive_max_pool3d",
    "adaptive_max_pool3d_with_indices",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "max_pool1d",
    "max_pool1d_with_indices",
    "max_pool2d",
    "max_pool2d_with_indices",
    "max_pool3d",
    "max_pool3d_with_indices",
]

MAX_POOL = {1: F.max_pool1d_with_indices, 2: F.max_pool2d_with_indices, 3: F.max_pool3d_with_indices}
ADAPTIVE_MAX_POOL = {
    1: F.adaptive_max_pool1d_with_indices,
    2: F.adaptive_max_pool2d_with_indices,
    3: F.adaptive_max_pool3d_with_indices,
}
AVG_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
ADAPTIVE_AVG_POOL = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


class MaxPoolFunction(Function):
    """The largest element of each window.

    Forward    y_o = x_m(o)   with  m(o) = argmax of x over window o, the first one among equals
    Backward   only the winner is responsible; where windows overlap, one x_j may win several:
               ∂L/∂x_j = Σ_{o: m(o) = j} g_o
    Shapes     x: (*, *I);   y, m: (*, *O);   m counts the elements of the plane *I
    Saves      m: neither x nor y. Unless the caller asks for m (return_indices), a kernel may return and
               save in its place what tells it in fewer bytes
    Source     Riesenhuber, Poggio 1999, doi:10.1038/14819
    """

    @staticmethod
    def forward(
        x: Tensor,
        kernel: Ints,
        stride: Ints,
        padding: Ints,
        dilation: Ints,
        ceil_mode: bool,
        return_indices: bool,
    ):
        y, winner = MAX_POOL[len(kernel)](x, kernel, stride, padding, dilation, ceil_mode)
        return own(y), winner

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, window = inputs[:2]
        _, winner = output
        ctx.plane = tuple(x.shape[-len(window) :])
        ctx.mark_non_differentiable(winner)
        ctx.save_for_backward(winner)

    @staticmethod
    def backward(ctx, grad_y: Tensor, _winner):
        (winner,) = ctx.saved_tensors
        return scatter_to_winners(grad_y, winner, ctx.plane), None, None, None, None, None, None


def scatter_to_winners(grad_y: Tensor, winner: Tensor, plane: Ints) -> Tensor:
    """Add each element of ``grad_y`` to the element of its plane that won."""
    lead = grad_y.shape[: -len(plane)]
    flat = (*lead, math.prod(grad_y.shape[-len(plane) :]))
    g, winner = wide(grad_y).reshape(flat), winner.reshape(flat)
    grad_x = g.new_zeros(*lead, math.prod(plane)).scatter_add(-1, winner, g)
    return grad_x.reshape(*lead, *plane).to(grad_y.dtype)


class AdaptiveMaxPoolFunction(Function):
    """The largest element of each of ``size`` windows that share the input.

    Forward    y_o = x_m(o)   with  m(o) = argmax of x over window o;  along an axis of length I and size O
               window o runs from ⌊o I / O⌋ to ⌈(o + 1) I / O⌉ − 1
    Backward   ∂L/∂x_j = Σ_{o: m(o) = j} g_o   as in MaxPool
    Shapes     x: (*, *I);   y, m: (*, *O);   m counts the elements of the plane *I
    Saves      m: neither x nor y
    """

    @staticmethod
    def forward(x: Tensor, size: Ints):
        y, winner = ADAPTIVE_MAX_POOL[len(size)](x, size)
        return own(y), winner

    setup_context = MaxPoolFunction.setup_context

    @staticmethod
    def backward(ctx, grad_y: Tensor, _winner):
        (winner,) = ctx.saved_tensors
        return scatter_to_winners(grad_y, winner, ctx.plane), None


class AvgPoolFunction(Function):
    """The mean of each window.

    Forward    y_o = (1/c_o) Σ_j M_oj x_j,   M_oj = 1 where window o contains j, else 0
               c_o is the size of the window, with the padding if count_include_pad, or divisor_override
    Backward   each element of a window is responsible for 1/c_o of its mean:
               ∂L/∂x_j = Σ_o M_oj g_o / c_o,  that is  ∂L/∂x = Mᵀ (g / c)
               A window is a product of intervals, so M = M₁ ⊗ M₂ ⊗ …, a matrix for each axis, and c is a
               product of their lengths: one axis after the other
    Shapes     x: (*, *I);   y: (*, *O);   M of an axis: (O, I)
    Saves      nothing
    Source     LeCun et al. 1998, doi:10.1109/5.726791 (subsampling)
    """

    @staticmethod
    def forward(
        x: Tensor,
        kernel: Ints,
        stride: Ints,
        padding: Ints,
        ceil_mode: bool,
        count_include_pad: bool,
        divisor_override: int | None,
    ):
        divisor = () if divisor_override is None else (divisor_override,)
        return own(AVG_POOL[len(kernel)](x, kernel, stride, padding, ceil_mode, count_include_pad, *divisor))

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.kernel, ctx.stride, ctx.padding, _, ctx.count_include_pad, ctx.divisor_override = inputs
        ctx.plane = tuple(x.shape[-len(ctx.kernel) :])

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        options = (
            ctx.plane,
            ctx.kernel,
            ctx.stride,
            ctx.padding,
            ctx.count_include_pad,
            ctx.divisor_override,
        )
        grad_x = adjoint_of_mean(wide(grad_y), *options)
        return grad_x.to(grad_y.dtype), None, None, None, None, None, None


def adjoint_of_mean(
    share: Tensor,
    plane: Ints,
    kernel: Ints,
    stride: Ints,
    padding: Ints,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    """Mᵀ (share / c): what each window gets is handed to its elements in equal parts."""
    share = share if divisor_override is None else share / divisor_override
    for axis in range(-len(plane), 0):
        length, k, s, p = plane[axis], kernel[axis], stride[axis], padding[axis]
        start = torch.arange(share.shape[axis], device=share.device) * s - p
        end = (start + k).clamp(max=length + p)  # in ceil_mode what is beyond the padding never counts
        first, last = start.clamp(min=0), end.clamp(max=length)
        if divisor_override is None:
            count = end - start if count_include_pad else last - first
            share = share / along(count, axis)
        share = spread(share, axis, first, last, -(-k // s), length)
    return share


def along(values: Tensor, axis: int) -> Tensor:
    """A number per place of the axis ``axis`` (counted from the end), shaped to meet it."""
    return values.reshape(-1, *(1,) * (-1 - axis))


def spread(share: Tensor, axis: int, first: Tensor, last: Tensor, most: int, length: int) -> Tensor:
    """Mᵀ share along one axis: each place j gathers share_o of the windows with first_o ≤ j < last_o.

    Both borders grow with o, so these windows are neighbours. Those before them end at j or earlier: their
    number is the first o of j. No place is in more than ``most`` windows.
    """
    windows = share.shape[axis]
    if windows == 0:
        return share.sum(axis, keepdim=True).expand(*share.shape[:axis], length, *share.shape[axis:][1:])
    place = torch.arange(length, device=share.device)
    leading = torch.searchsorted(last, place, right=True)
    parts = []
    for k in range(min(most, windows)):
        window = (leading + k).clamp(max=windows - 1)
        inside = (leading + k < windows) & (first.index_select(0, window) <= place)
        parts.append(torch.where(along(inside, axis), share.index_select(axis, window), 0))
    return sum(parts[1:], parts[0])


class AdaptiveAvgPoolFunction(Function):
    """The mean of each of ``size`` windows that share the input.

    Forward    y_o = (1/c_o) Σ_j M_oj x_j,   along an axis of length I and size O window o runs from
               ⌊o I / O⌋ to ⌈(o + 1) I / O⌉ − 1, and c_o is how many those are
    Backward   ∂L/∂x = Mᵀ (g / c)   as in AvgPool
    Shapes     x: (*, *I);   y: (*, *O);   M of an axis: (O, I)
    Saves      nothing
    """

    @staticmethod
    def forward(x: Tensor, size: Ints):
        return own(ADAPTIVE_AVG_POOL[len(size)](x, size))

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, size = inputs
        ctx.plane = tuple(x.shape[-len(size) :])

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        share = wide(grad_y)
        for axis in range(-len(ctx.plane), 0):
            length, size = ctx.plane[axis], grad_y.shape[axis]
            window = torch.arange(size, device=grad_y.device)
            first, last = window * length // size, ((window + 1) * length + size - 1) // size
            share = share / along(last - first, axis)
            # Window o holds place j if o I / O < j + 1 and (o + 1) I / O > j: for o from ⌊j O / I⌋ to
            # ⌈(j + 1) O / I⌉ − 1.
            whole = length % max(size, 1) == 0 or size % max(length, 1) == 0
            most = -(-size // max(length, 1)) + (0 if whole else 1)
            share = spread(share, axis, first, last, most, length)
        return share.to(grad_y.dtype), None


def _max_pool(
    ndim: int, input: Tensor, kernel_size, stride, padding, dilation, ceil_mode: bool, return_indices: bool
):
    name = f"max_pool{ndim}d"
    check_axes(name, input, ndim)
    kernel, stride = kernel_and_stride(name, kernel_size, stride, ndim)
    if ndim == 1 and not return_indices:
        check_floating(name, input=input)
    # torch's autocast knows max_pool3d, but not the operator that also returns indices.
    autocast = FLOAT32_ON_CPU if ndim == 3 and not return_indices else UNCHANGED
    padding, dilation = per_axis(name, "padding", padding, ndim), per_axis(name, "dilation", dilation, ndim)
    options = (padding, dilation, ceil_mode, return_indices)
    y, winner = apply(MaxPoolFunction, input, kernel, stride, *options, autocast=autocast)
    return (y, winner) if return_indices else y


def max_pool1d_with_indices(
    input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
) -> tuple[Tensor, Tensor]:
    """:func:`max_pool1d`, and where in its plane each maximum stands."""
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool2d_with_indices(
    input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
) -> tuple[Tensor, Tensor]:
    """:func:`max_pool2d`, and where in its plane each maximum stands."""
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool3d_with_indices(
    input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
) -> tuple[Tensor, Tensor]:
    """:func:`max_pool3d`, and where in its volume each maximum stands."""
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool1d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """Maximum of each window of (N, C, L) or (C, L), as :func:`torch.nn.functional.max_pool1d`.

    Args:
        kernel_size: elements in a window.
        stride: elements between windows. Default: ``kernel_size``.
        padding: −∞ added at both ends, at most half a window.
        dilation: elements between those of a window.
        ceil_mode: whether a last, incomplete window counts.
        return_indices: also return where each maximum stands.

    Raises:
        RuntimeError: if shapes or options do not fit.
    """
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """Maximum of each window of (N, C, H, W) or (C, H, W), as :func:`torch.nn.functional.max_pool2d`.
    See :func:`max_pool1d`."""
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """Maximum of each window of (N, C, D, H, W) or (C, D, H, W), as :func:`torch.nn.functional.max_pool3d`.
    See :func:`max_pool1d`."""
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _adaptive_size(name: str, input: Tensor, output_size, ndim: int) -> Ints:
    check_axes(name, input, ndim)
    sequence = isinstance(output_size, Sequence)
    if output_size is None or (ndim == 1 and sequence and None in output_size):
        raise TypeError(f"{name}: output_size must be {ndim} whole numbers, but got {output_size}")
    if sequence and len(output_size) != ndim:
        raise RuntimeError(f"{name}: output_size must be one number or {ndim} of them, but got {output_size}")
    size = per_axis(name, "output_size", output_size, ndim)
    return tuple(length if s is None else s for s, length in zip(size, input.shape[-ndim:]))


def _adaptive_max_pool(ndim: int, input: Tensor, output_size, return_indices: bool):
    size = _adaptive_size(f"adaptive_max_pool{ndim}d", input, output_size, ndim)
    autocast = FLOAT32_ON_CPU if ndim == 3 else UNCHANGED
    y, winner = apply(AdaptiveMaxPoolFunction, input, size, autocast=autocast)
    return (y, winner) if return_indices else y


def adaptive_max_pool1d_with_indices(input, output_size, return_indices=False) -> tuple[Tensor, Tensor]:
    """:func:`adaptive_max_pool1d`, and where in its plane each maximum stands."""
    return _adaptive_max_pool(1, input, output_size, True)


def adaptive_max_pool2d_with_indices(input, output_size, return_indices=False) -> tuple[Tensor, Tensor]:
    """:func:`adaptive_max_pool2d`, and where in its plane each maximum stands."""
    return _adaptive_max_pool(2, input, output_size, True)


def adaptive_max_pool3d_with_indices(input, output_size, return_indices=False) -> tuple[Tensor, Tensor]:
    """:func:`adaptive_max_pool3d`, and where in its volume each maximum stands."""
    return _adaptive_max_pool(3, input, output_size, True)


def adaptive_max_pool1d(input, output_size, return_indices=False):
    """Maxima of ``output_size`` windows of (N, C, L) or (C, L), as
    :func:`torch.nn.functional.adaptive_max_pool1d`.

    Args:
        output_size: how many windows; None (in more dimensions) takes the input's length.
        return_indices: also return where each maximum stands.

    Raises:
        RuntimeError: if the shape does not fit.
    """
    return _adaptive_max_pool(1, input, output_size, return_indices)


def adaptive_max_pool2d(input, output_size, return_indices=False):
    """Maxima of (N, C, H, W) or (C, H, W), as :func:`torch.nn.functional.adaptive_max_pool2d`.
    See :func:`adaptive_max_pool1d`."""
    return _adaptive_max_pool(2, input, output_size, return_indices)


def adaptive_max_pool3d(input, output_size, return_indices=False):
    """Maxima of (N, C, D, H, W) or (C, D, H, W), as :func:`torch.nn.functional.adaptive_max_pool3d`.
    See :func:`adaptive_max_pool1d`."""
    return _adaptive_max_pool(3, input, output_size, return_indices)


def _avg_pool(
    ndim: int, input: Tensor, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
) -> Tensor:
    name = f"avg_pool{ndim}d"
    check_axes(name, input, ndim)
    if divisor_override == 0:
        raise RuntimeError(
            f"{name}: divisor_override must not be 0; leave it out to divide by the window's size"
        )
    kernel, stride = kernel_and_stride(name, kernel_size, stride, ndim)
    autocast = FLOAT32_ON_CPU if ndim == 3 else UNCHANGED
    options = (per_axis(name, "padding", padding, ndim), ceil_mode, count_include_pad, divisor_override)
    return apply(AvgPoolFunction, input, kernel, stride, *options, autocast=autocast)


def avg_pool1d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True) -> Tensor:
    """Mean of each window of (N, C, L) or (C, L), as :func:`torch.nn.functional.avg_pool1d`.

    Args:
        kernel_size: elements in a window.
        stride: elements between windows. Default: ``kernel_size``.
        padding: zeros added at both ends, at most half a window.
        ceil_mode: whether a last, incomplete window counts.
        count_include_pad: whether the zeros count in the mean.

    Raises:
        RuntimeError: if shapes or options do not fit.
    """
    return _avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
) -> Tensor:
    """Mean of each window of (N, C, H, W) or (C, H, W), as :func:`torch.nn.functional.avg_pool2d`.
    See :func:`avg_pool1d`; ``divisor_override`` takes the place of the window's size."""
    return _avg_pool(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d(
    input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
) -> Tensor:
    """Mean of each window of (N, C, D, H, W) or (C, D, H, W), as :func:`torch.nn.functional.avg_pool3d`.
    See :func:`avg_pool1d`; ``divisor_override`` takes the place of the window's size."""
    return _avg_pool(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _adaptive_avg_pool(ndim: int, input: Tensor, output_size) -> Tensor:
    size = _adaptive_size(f"adaptive_avg_pool{ndim}d", input, output_size, ndim)
    return apply(AdaptiveAvgPoolFunction, input, size, autocast=FLOAT32_ON_CPU if ndim == 3 else UNCHANGED)


def adaptive_avg_pool1d(input, output_size) -> Tensor:
    """Means of ``output_size`` windows of (N, C, L) or (C, L), as
    :func:`torch.nn.functional.adaptive_avg_pool1d`.

    Args:
        output_size: how many windows; None (in more dimensions) takes the input's length.

    Raises:
        RuntimeError: if the shape does not fit.
    """
    return _adaptive_avg_pool(1, input, output_size)


def adaptive_avg_pool2d(input, output_size) -> Tensor:
    """Means of (N, C, H, W) or (C, H, W), as :func:`torch.nn.functional.adaptive_avg_pool2d`.
    See :func:`adaptive_avg_pool1d`."""
    return _adaptive_avg_pool(2, input, output_size)


def adaptive_avg_pool3d(input, output_size) -> Tensor:
    """Means of (N, C, D, H, W) or (C, D, H, W), as :func:`torch.nn.functional.adaptive_avg_pool3d`.
    See :func:`adaptive_avg_pool1d`."""
    return _adaptive_avg_pool(3, input, output_size)


class _MaxPool(nn.modules.pooling._MaxPoolNd):
    ndim: int

    def forward(self, input: Tensor):
        options = (self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices)
        return _max_pool(self.ndim, input, self.kernel_size, *options)


class MaxPool1d(_MaxPool, nn.MaxPool1d):
    """:class:`torch.nn.MaxPool1d` with a hand-written backward."""

    ndim = 1


class MaxPool2d(_MaxPool, nn.MaxPool2d):
    """:class:`torch.nn.MaxPool2d` with a hand-written backward."""

    ndim = 2


class MaxPool3d(_MaxPool, nn.MaxPool3d):
    """:class:`torch.nn.MaxPool3d` with a hand-written backward."""

    ndim = 3


class _AvgPool(nn.modules.pooling._AvgPoolNd):
    ndim: int

    def forward(self, input: Tensor) -> Tensor:
        return _avg_pool(
            self.ndim,
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            getattr(self, "divisor_override", None),  # AvgPool1d has none
        )


class AvgPool1d(_AvgPool, nn.AvgPool1d):
    """:class:`torch.nn.AvgPool1d` with a hand-written backward."""

    ndim = 1


class AvgPool2d(_AvgPool, nn.AvgPool2d):
    """:class:`torch.nn.AvgPool2d` with a hand-written backward."""

    ndim = 2


class AvgPool3d(_AvgPool, nn.AvgPool3d):
    """:class:`torch.nn.AvgPool3d` with a hand-written backward."""

    ndim = 3


class _AdaptiveMaxPool(nn.modules.pooling._AdaptiveMaxPoolNd):
    ndim: int

    def forward(self, input: Tensor):
        return _adaptive_max_pool(self.ndim, input, self.output_size, self.return_indices)


class AdaptiveMaxPool1d(_AdaptiveMaxPool, nn.AdaptiveMaxPool1d):
    """:class:`torch.nn.AdaptiveMaxPool1d` with a hand-written backward."""

    ndim = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool, nn.AdaptiveMaxPool2d):
    """:class:`torch.nn.AdaptiveMaxPool2d` with a hand-written backward."""

    ndim = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool, nn.AdaptiveMaxPool3d):
    """:class:`torch.nn.AdaptiveMaxPool3d` with a hand-written backward."""

    ndim = 3


class _AdaptiveAvgPool(nn.modules.pooling._AdaptiveAvgPoolNd):
    ndim: int

    def forward(self, input: Tensor) -> Tensor:
        return _adaptive_avg_pool(self.ndim, input, self.output_size)


class AdaptiveAvgPool1d(_AdaptiveAvgPool, nn.AdaptiveAvgPool1d):
    """:class:`torch.nn.AdaptiveAvgPool1d` with a hand-written backward."""

    ndim = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool, nn.AdaptiveAvgPool2d):
    """:class:`torch.nn.AdaptiveAvgPool2d` with a hand-written backward."""

    ndim = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool, nn.AdaptiveAvgPool3d):
    """:class:`torch.nn.AdaptiveAvgPool3d` with a hand-written backward."""

    ndim = 3
