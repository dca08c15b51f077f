"""What convolution and pooling share: arguments per spatial axis."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..function import check_tensors

__all__ = ["Ints", "check_axes", "kernel_and_stride", "per_axis"]

Ints = tuple[int, ...]


def per_axis(name: str, argument: str, value: int | Sequence[int], ndim: int) -> Ints:
    """``value`` for each of ``ndim`` axes: a number, or a sequence of one number, holds for all.

    Raises:
        RuntimeError: if a sequence has another length.
        TypeError: if a number is not whole.
    """
    values = tuple(value) if isinstance(value, Sequence) else (value,)
    if len(values) not in (1, ndim):
        raise RuntimeError(f"{name}: {argument} must be one number or {ndim} of them, but got {value}")
    if any(isinstance(number, (float, str)) for number in values):
        raise TypeError(f"{name}: {argument} must be of whole numbers, but got {value!r}")
    return values * ndim if len(values) == 1 else values


def kernel_and_stride(name: str, kernel_size, stride, ndim: int) -> tuple[Ints, Ints]:
    """Both per axis; where no stride is given, windows lie side by side."""
    kernel = per_axis(name, "kernel_size", kernel_size, ndim)
    return kernel, kernel if stride is None or stride in ([], ()) else per_axis(name, "stride", stride, ndim)


def check_axes(name: str, input: Tensor, ndim: int) -> None:
    """Raise TypeError unless ``input`` is a tensor, RuntimeError unless it is (N, C, *) or (C, *) with
    ``ndim`` spatial axes."""
    check_tensors(name, input=input)
    if input.dim() not in (ndim + 1, ndim + 2):
        raise RuntimeError(
            f"{name}: expected an unbatched input with {ndim + 1} axes or a batched one with {ndim + 2}, "
            f"but got shape {list(input.shape)}"
        )
