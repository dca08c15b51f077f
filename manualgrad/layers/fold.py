"""Unfold and fold: an image as the list of its windows, and back by summing them.

They are a pair of adjoint linear maps, and so each is the other's derivative. Let C be the matrix of zeros
and ones that copies: C_ij = 1 where place i of the list of windows holds pixel j. Unfold is y = C x and fold
is y = Cᵀ x; a linear map y = A x has ∂L/∂x = Aᵀ g; hence the backward of the one is the forward of the other.

They are not inverse: a pixel that stands in n windows comes back from fold(unfold(x)) n times as large.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ..function import Function, apply, check_floating, wide
from ._spatial import Ints, per_axis

__all__ = ["Fold", "FoldFunction", "Unfold", "UnfoldFunction", "fold", "unfold"]

Axes = int | Sequence[int]


class UnfoldFunction(Function):
    """The windows of an image, one column each.

    Forward    with kernel k, dilation d, padding p, stride s per axis, and 0 outside of the image
               y_{(c, a), o} = x_{c, s o + d a − p}
               for a place a = (a₁, a₂) in the window, 0 ≤ a < k, and the window o = (o₁, o₂)
    Backward   a pixel is responsible for every place that it was copied to:
               ∂L/∂x_{c, j} = Σ_{(a, o): s o + d a − p = j} g_{(c, a), o}:   fold of g
    Shapes     x: (N, C, H, W) or (C, H, W);   y: (N, C k₁ k₂, O) or (C k₁ k₂, O) with O windows
    Saves      nothing
    """

    @staticmethod
    def forward(x: Tensor, kernel: Ints, dilation: Ints, padding: Ints, stride: Ints):
        return F.unfold(x, kernel, dilation, padding, stride)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, *ctx.window = inputs
        ctx.plane = tuple(x.shape[-2:])

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        grad_x = F.fold(wide(grad_y), ctx.plane, *ctx.window)
        return grad_x.to(grad_y.dtype), None, None, None, None


class FoldFunction(Function):
    """The sum of windows, each at its place in an image.

    Forward    with kernel k, dilation d, padding p, stride s per axis
               y_{c, j} = Σ_{(a, o): s o + d a − p = j} x_{(c, a), o}
               for a place a = (a₁, a₂) in the window, 0 ≤ a < k, and the window o = (o₁, o₂)
    Backward   each element of a window was added to one pixel, or fell into the padding (g = 0 there):
               ∂L/∂x_{(c, a), o} = g_{c, s o + d a − p}:   unfold of g
    Shapes     x: (N, C k₁ k₂, O) or (C k₁ k₂, O) with O windows;   y: (N, C, H, W) or (C, H, W)
    Saves      nothing
    """

    @staticmethod
    def forward(x: Tensor, plane: Ints, kernel: Ints, dilation: Ints, padding: Ints, stride: Ints):
        return F.fold(wide(x), plane, kernel, dilation, padding, stride).to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, _, *ctx.window = inputs

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        grad_x = F.unfold(grad_y, *ctx.window)
        return grad_x, None, None, None, None, None


def _window(
    name: str, kernel_size: Axes, dilation: Axes, padding: Axes, stride: Axes
) -> tuple[Ints, Ints, Ints, Ints]:
    """The four options per axis, checked."""
    options = {"kernel_size": kernel_size, "dilation": dilation, "padding": padding, "stride": stride}
    for argument, value in options.items():
        if isinstance(value, Sequence) and len(value) != 2:
            raise RuntimeError(f"{name}: {argument} must be one number or 2 of them, but got {value}")
    pairs = {argument: per_axis(name, argument, value, 2) for argument, value in options.items()}
    for argument, pair in pairs.items():
        least = 0 if argument == "padding" else 1
        if min(pair) < least:
            raise RuntimeError(f"{name}: {argument} must be at least {least}, but got {argument}={pair}")
    return pairs["kernel_size"], pairs["dilation"], pairs["padding"], pairs["stride"]


def _windows(plane: Ints, kernel: Ints, dilation: Ints, padding: Ints, stride: Ints) -> Ints:
    """How many windows fit along each axis."""
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel)]
    return tuple((n + 2 * p - m) // s + 1 for n, p, m, s in zip(plane, padding, spans, stride))


def unfold(
    input: Tensor, kernel_size: Axes, dilation: Axes = 1, padding: Axes = 0, stride: Axes = 1
) -> Tensor:
    """All windows of (N, C, H, W) or (C, H, W) as columns, as :func:`torch.nn.functional.unfold`.

    Args:
        kernel_size: elements of a window along an axis; these four are a number, or one per axis.
        dilation: elements between those of a window.
        padding: zeros added at both ends.
        stride: elements between windows.

    Returns:
        (N, C k₁ k₂, O) or (C k₁ k₂, O), the O windows row by row.

    Raises:
        RuntimeError: if an option is too small, no window fits, or the input has another number of axes.
        NotImplementedError: if the input is not floating point.
    """
    kernel, dilation, padding, stride = _window("unfold", kernel_size, dilation, padding, stride)
    check_floating("unfold", input=input)
    _check_image(input)
    counts = _windows(input.shape[-2:], kernel, dilation, padding, stride)
    if min(counts) < 1:
        raise RuntimeError(
            f"unfold: no window of kernel_size={kernel} and dilation={dilation} fits into an image of "
            f"{tuple(input.shape[-2:])} with padding={padding}: there would be {counts} of them; use a "
            "smaller window or more padding"
        )
    return apply(UnfoldFunction, input, kernel, dilation, padding, stride)


def _check_image(input: Tensor) -> None:
    if input.dim() not in (3, 4) or 0 in input.shape[-3:]:
        kind = IndexError if input.dim() in (1, 2) else RuntimeError
        raise kind(
            "unfold: expected an input of shape (N, C, H, W) or (C, H, W), of which only N may be 0, but got "
            f"{list(input.shape)}"
        )


def fold(
    input: Tensor,
    output_size: Axes,
    kernel_size: Axes,
    dilation: Axes = 1,
    padding: Axes = 0,
    stride: Axes = 1,
) -> Tensor:
    """The sum of windows, given as columns, as :func:`torch.nn.functional.fold`.

    Args:
        input: (N, C k₁ k₂, O) or (C k₁ k₂, O), the O windows row by row.
        output_size: (H, W) of the image, or one number for both.
        kernel_size: elements of a window along an axis; these four are a number, or one per axis.
        dilation: elements between those of a window.
        padding: elements at both ends of the image that are dropped.
        stride: elements between windows.

    Returns:
        (N, C, H, W) or (C, H, W).

    Raises:
        RuntimeError: if an option is too small, or the shape of the input is not that of so many windows.
        NotImplementedError: if the input is not floating point.
    """
    plane = per_axis("fold", "output_size", output_size, 2)
    kernel, dilation, padding, stride = _window("fold", kernel_size, dilation, padding, stride)
    check_floating("fold", input=input)
    if input.dim() not in (2, 3) or 0 in input.shape[-2:]:
        raise RuntimeError(
            "fold: expected an input of shape (N, C k₁ k₂, O) or (C k₁ k₂, O), of which only N may be 0, "
            f"but got {list(input.shape)}"
        )
    rows, columns = input.shape[-2:]
    counts = _windows(plane, kernel, dilation, padding, stride)
    if rows % (kernel[0] * kernel[1]):
        raise RuntimeError(
            f"fold: axis -2 of the input has {rows} elements, which must be a multiple of the size of "
            f"kernel_size={kernel}"
        )
    if min(counts) < 1 or counts[0] * counts[1] != columns:
        raise RuntimeError(
            f"fold: the image of output_size={plane} has {counts[0]} x {counts[1]} windows of "
            f"kernel_size={kernel} with dilation={dilation}, padding={padding} and stride={stride}, but "
            f"axis -1 of the input has {columns} elements: it needs one for each window"
        )
    return apply(FoldFunction, input, plane, kernel, dilation, padding, stride)


class Unfold(nn.Unfold):
    """:class:`torch.nn.Unfold` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)


class Fold(nn.Fold):
    """:class:`torch.nn.Fold` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        window = (self.kernel_size, self.dilation, self.padding, self.stride)
        return fold(input, self.output_size, *window)
