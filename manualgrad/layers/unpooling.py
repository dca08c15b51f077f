"""Unpooling: maxima go back to where max pooling found them, into a plane of zeros."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..function import (
    FLOAT32_ON_CPU,
    Function,
    apply,
    check_floating,
    check_tensors,
    own,
    transforming,
    values_known,
)
from ._spatial import Ints, check_axes, per_axis

__all__ = [
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
    "MaxUnpoolFunction",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
]


class MaxUnpoolFunction(Function):
    """Each element at the place that its index says; 0 everywhere else.

    Forward    y_m(o) = x_o   for an index m(o) that counts the elements of the plane,   y = 0 elsewhere
    Backward   x_o is responsible for the one element that it became:   ∂L/∂x_o = g_m(o)
               So this goes backward as MaxPool goes forward, and forward as MaxPool goes backward, but for
               the sums there. The indices must differ: of two elements with one place only one remains, and
               which is not said. Both then get the gradient of the place, as torch has it
    Shapes     x, m: (*, *O);   y: (*, *I)
    Saves      m
    Source     Zeiler, Fergus 2013, arXiv:1311.2901
    """

    @staticmethod
    def forward(x: Tensor, index: Tensor, plane: Ints):
        flat = planes_as_rows(x, len(plane))
        y = flat.new_zeros(*flat.shape[:-1], math.prod(plane))
        y = y.scatter(-1, planes_as_rows(index, len(plane)), flat)
        return own(y.reshape(*flat.shape[:-1], *plane))

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, index, ctx.plane = inputs
        ctx.save_for_backward(index)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (index,) = ctx.saved_tensors
        ndim = len(ctx.plane)
        grad_x = planes_as_rows(grad_y, ndim).gather(-1, planes_as_rows(index, ndim)).reshape(index.shape)
        return grad_x, None, None


def planes_as_rows(x: Tensor, ndim: int) -> Tensor:
    """``x`` with its last ``ndim`` axes as one."""
    return x.reshape(*x.shape[:-ndim], math.prod(x.shape[-ndim:]))


def _max_unpool(
    ndim: int, input: Tensor, indices: Tensor, kernel_size, stride, padding, output_size
) -> Tensor:
    name = f"max_unpool{ndim}d"
    _check_tensors(name, input, indices, ndim)
    kernel = per_axis(name, "kernel_size", kernel_size, ndim)
    stride = kernel if stride is None else per_axis(name, "stride", stride, ndim)
    padding = per_axis(name, "padding", padding, ndim)
    if ndim == 3 and min(stride) < 1:
        raise RuntimeError(f"{name}: stride must be at least 1, but got stride={stride}")
    plane = _output_plane(name, input.shape[-ndim:], kernel, stride, padding, output_size)
    if not transforming() and values_known(indices) and indices.numel():
        least, most = (value.item() for value in torch.aminmax(indices))
        if least < 0 or most >= math.prod(plane):
            raise RuntimeError(
                f"{name}: indices count the {math.prod(plane)} elements of a plane of {plane}, but they run "
                f"from {least} to {most}; give the indices that max pooling returned, and as output_size "
                "what it was given"
            )
    return apply(MaxUnpoolFunction, input, indices, plane, autocast=FLOAT32_ON_CPU)


def _check_tensors(name: str, input: Tensor, indices: Tensor, ndim: int) -> None:
    check_tensors(name, input=input, indices=indices)
    check_axes(name, input, ndim)
    if indices.dtype != torch.int64:
        raise RuntimeError(f"{name}: indices must be int64, but are {indices.dtype}; cast them with .long()")
    if indices.shape != input.shape:
        raise RuntimeError(
            f"{name}: indices must have the shape of the input, {list(input.shape)}, but have "
            f"{list(indices.shape)}"
        )
    if 0 in input.shape[1:]:
        raise RuntimeError(f"{name}: only the first axis may be empty, but got shape {list(input.shape)}")
    check_floating(name, input=input)


def _output_plane(name: str, pooled, kernel: Ints, stride: Ints, padding: Ints, output_size) -> Ints:
    """The plane to fill: ``output_size``, or the smallest that was pooled to ``pooled`` by whole windows."""
    ndim = len(kernel)
    plane = tuple((n - 1) * s + k - 2 * p for n, s, k, p in zip(pooled, stride, kernel, padding))
    if output_size is not None:
        wanted = tuple(output_size)
        if len(wanted) not in (ndim, ndim + 2):
            raise ValueError(
                f"{name}: output_size must have {ndim} numbers, or {ndim + 2} with those of the batch and "
                f"the channels, but got {wanted}"
            )
        wanted = wanted[-ndim:]
        for axis, (size, default, step) in enumerate(zip(wanted, plane, stride)):
            if not default - step < size < default + step:
                raise ValueError(
                    f"{name}: output_size={wanted} is not what was pooled: number {axis} must be between "
                    f"{default - step} and {default + step}"
                )
        plane = wanted
    if min(plane) < 0:
        raise ValueError(f"{name}: output_size must not be negative, but got {plane}; use less padding")
    return plane


def max_unpool1d(input, indices, kernel_size, stride=None, padding=0, output_size=None) -> Tensor:
    """Put the elements of (N, C, L) or (C, L) where their indices say, as
    :func:`torch.nn.functional.max_unpool1d`.

    Args:
        indices: as ``input``: the place of each element in its output plane, as max pooling returns it.
        kernel_size, stride, padding: of the pooling. Default of ``stride``: ``kernel_size``.
        output_size: lengths of the plane, with those of batch and channels or without, where several lengths
            are pooled to that of the input.

    Raises:
        RuntimeError: if shapes or dtypes do not fit, or an index is outside of its plane.
        ValueError: if ``output_size`` is none that these options pool to the input's.
    """
    return _max_unpool(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(input, indices, kernel_size, stride=None, padding=0, output_size=None) -> Tensor:
    """Put the elements of (N, C, H, W) or (C, H, W) where their indices say, as
    :func:`torch.nn.functional.max_unpool2d`. See :func:`max_unpool1d`."""
    return _max_unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(input, indices, kernel_size, stride=None, padding=0, output_size=None) -> Tensor:
    """Put the elements of (N, C, D, H, W) or (C, D, H, W) where their indices say, as
    :func:`torch.nn.functional.max_unpool3d`. See :func:`max_unpool1d`."""
    return _max_unpool(3, input, indices, kernel_size, stride, padding, output_size)


class _MaxUnpool(nn.modules.pooling._MaxUnpoolNd):
    ndim: int

    def forward(self, input: Tensor, indices: Tensor, output_size: list[int] | None = None) -> Tensor:
        options = (self.kernel_size, self.stride, self.padding)
        return _max_unpool(self.ndim, input, indices, *options, output_size)


class MaxUnpool1d(_MaxUnpool, nn.MaxUnpool1d):
    """:class:`torch.nn.MaxUnpool1d` with a hand-written backward."""

    ndim = 1


class MaxUnpool2d(_MaxUnpool, nn.MaxUnpool2d):
    """:class:`torch.nn.MaxUnpool2d` with a hand-written backward."""

    ndim = 2


class MaxUnpool3d(_MaxUnpool, nn.MaxUnpool3d):
    """:class:`torch.nn.MaxUnpool3d` with a hand-written backward."""

    ndim = 3
