"""Padding: each output element is a copy of an input element, or a constant."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..function import FLOAT32_ON_CPU, UNCHANGED, Function, apply, check_tensors, wide

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ConstantPadFunction",
    "IndexPadFunction",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
    "pad",
]


class ConstantPadFunction(Function):
    """A border of one value around the last axes (or a crop, where the padding is negative).

    Forward    y_(j + left) = x_j,   y = value elsewhere
    Backward   ∂L/∂x_j = g_(j + left),  0 for what was cropped: the padding with the negative amounts
    Shapes     x: (*, L, ...);   y: (*, left + L + right, ...);   amounts: (left, right), last axis first
    Saves      nothing
    """

    @staticmethod
    def forward(x: Tensor, amounts: tuple[int, ...], value: float):
        return torch.constant_pad_nd(x, amounts, value)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, ctx.amounts, _ = inputs

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        grad_x = torch.constant_pad_nd(grad_y, [-amount for amount in ctx.amounts])
        return grad_x, None, None


class IndexPadFunction(Function):
    """A border made of copies of the input, axis by axis.

    Forward    along each padded axis  y_i = x_s(i)  with the source s(i) that the mode says (see ``sources``)
    Backward   x_j is responsible for every place that it was copied to, along each axis:
               ∂L/∂x_j = Σ_{i: s(i) = j} g_i   (the axes do not know of each other, so any order will do)
    Shapes     as ConstantPadFunction
    Saves      nothing but the amounts: s is recomputed
    """

    @staticmethod
    def forward(x: Tensor, amounts: tuple[int, ...], mode: str):
        for axis, source in sources(x.shape, amounts, mode, x.device):
            x = x.index_select(axis, source)
        return x

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.amounts, ctx.mode = inputs
        ctx.shape = x.shape

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        g = wide(grad_y)
        for axis, source in sources(ctx.shape, ctx.amounts, ctx.mode, g.device):
            shape = [*g.shape[:axis], ctx.shape[axis], *g.shape[axis:][1:]]
            g = g.new_zeros(shape).index_add(axis, source, g)
        grad_x = g.to(grad_y.dtype)
        return grad_x, None, None


def sources(
    shape: torch.Size, amounts: tuple[int, ...], mode: str, device: torch.device
) -> list[tuple[int, Tensor]]:
    """For each padded axis (counted from the end) the index of the element that each output place copies.

    With places i = −left ... length + right − 1:  "replicate" takes the nearest of 0 and length − 1;
    "reflect" mirrors at both ends, which are not repeated:  −1 -> 1,  length -> length − 2;  "circular" takes
    i modulo length, or modulo what a negative padding has left.
    """
    result = []
    for k, (left, right) in enumerate(zip(amounts[::2], amounts[1::2])):
        axis, length = -1 - k, shape[-1 - k]
        place = torch.arange(-left, length + right, device=device)
        if mode == "circular":
            start, stop = max(-left, 0), length - max(-right, 0)
            source = start + (place - start) % (stop - start)
        elif mode == "replicate":
            source = place.clamp(0, length - 1)
        else:
            source = (length - 1) - ((length - 1) - place.abs()).abs()
        result.append((axis, source))
    return result


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Pad the last axes, as :func:`torch.nn.functional.pad`.

    Args:
        pad: (left, right) of the last axis, then of the one before it, and so on.
        mode: ``"constant"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        value: of the border, for ``"constant"`` only. Default: 0.

    Raises:
        NotImplementedError: if there is no such mode, or it does not pad that many axes.
        RuntimeError: if the padding is larger than the mode can fill from the input, or ``value`` is given
            for a mode that copies.
    """
    check_tensors("pad", input=input)
    amounts = tuple(pad)
    if mode == "constant":
        if len(amounts) % 2 or len(amounts) > 2 * input.dim():
            raise RuntimeError(
                f"pad: pad={list(amounts)} must have two numbers for each padded axis, and at most as many "
                f"axes as the input of shape {list(input.shape)} has"
            )
        return apply(ConstantPadFunction, input, amounts, 0.0 if value is None else value)
    if value not in (None, 0):
        raise RuntimeError(f"pad: mode={mode!r} takes no value, but got value={value}; leave it out")
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(
            f"pad: mode must be 'constant', 'reflect', 'replicate' or 'circular', but got {mode!r}"
        )
    axes = len(amounts) // 2
    if len(amounts) % 2 or axes > input.dim():
        raise RuntimeError(
            f"pad: pad={list(amounts)} must have two numbers for each padded axis, and at most as many axes "
            f"as the input of shape {list(input.shape)} has"
        )
    if not 1 <= axes <= 3 or input.dim() not in (axes + 1, axes + 2):
        raise NotImplementedError(
            f"pad: mode={mode!r} pads the last 1, 2 or 3 axes of an input with one or two axes more, but got "
            f"pad={list(amounts)} for an input of shape {list(input.shape)}"
        )
    _check_copies(input, amounts, mode)
    # As torch's autocast has it: these operators, but not the reflection of volumes.
    cast_up = mode == "replicate" or (mode == "reflect" and axes < 3)
    autocast = FLOAT32_ON_CPU if cast_up else UNCHANGED
    return apply(IndexPadFunction, input, amounts, mode, autocast=autocast)


def _check_copies(input: Tensor, amounts: tuple[int, ...], mode: str) -> None:
    """Raise, with torch's types, unless every place of the border has an element to copy."""
    axes = len(amounts) // 2
    if any(isinstance(amount, float) for amount in amounts):
        raise TypeError(f"pad: pad must be whole numbers, but got {list(amounts)}")
    if mode != "circular" and 0 in input.shape[-1 - axes :]:
        raise RuntimeError(
            f"pad: mode={mode!r} takes an input of which only the batch may be empty, but got shape "
            f"{list(input.shape)}"
        )
    if mode != "circular" and input.dtype == torch.bool:
        raise NotImplementedError(f"pad: mode={mode!r} is not implemented for torch.bool; cast the tensor")
    for k in range(axes):
        length, (left, right) = input.shape[-1 - k], amounts[2 * k : 2 * k + 2]
        limit = {"reflect": length - 1, "circular": length}.get(mode)
        if limit is not None and max(left, right) > limit:
            raise RuntimeError(
                f"pad: mode={mode!r} can pad axis {-1 - k}, which has {length} elements, by at most {limit}, "
                f"but got pad={list(amounts)}"
            )
        # A crop of everything is a tensor without elements to torch in circular mode only.
        if length + left + right < int(mode != "circular") or length + min(left, 0) + min(right, 0) < 0:
            raise RuntimeError(
                f"pad: pad={list(amounts)} crops more of axis {-1 - k} than its {length} elements; with "
                f"mode={mode!r} that leaves nothing to copy"
            )


class _ConstantPad(nn.modules.padding._ConstantPadNd):
    def forward(self, input: Tensor) -> Tensor:
        return pad(input, self.padding, "constant", self.value)


class ConstantPad1d(_ConstantPad, nn.ConstantPad1d):
    """:class:`torch.nn.ConstantPad1d` with a hand-written backward."""


class ConstantPad2d(_ConstantPad, nn.ConstantPad2d):
    """:class:`torch.nn.ConstantPad2d` with a hand-written backward."""


class ConstantPad3d(_ConstantPad, nn.ConstantPad3d):
    """:class:`torch.nn.ConstantPad3d` with a hand-written backward."""


class ZeroPad1d(ConstantPad1d, nn.ZeroPad1d):
    """:class:`torch.nn.ZeroPad1d` with a hand-written backward."""


class ZeroPad2d(ConstantPad2d, nn.ZeroPad2d):
    """:class:`torch.nn.ZeroPad2d` with a hand-written backward."""


class ZeroPad3d(ConstantPad3d, nn.ZeroPad3d):
    """:class:`torch.nn.ZeroPad3d` with a hand-written backward."""


class _ReflectionPad(nn.modules.padding._ReflectionPadNd):
    def forward(self, input: Tensor) -> Tensor:
        return pad(input, self.padding, "reflect")


class ReflectionPad1d(_ReflectionPad, nn.ReflectionPad1d):
    """:class:`torch.nn.ReflectionPad1d` with a hand-written backward."""


class ReflectionPad2d(_ReflectionPad, nn.ReflectionPad2d):
    """:class:`torch.nn.ReflectionPad2d` with a hand-written backward."""


class ReflectionPad3d(_ReflectionPad, nn.ReflectionPad3d):
    """:class:`torch.nn.ReflectionPad3d` with a hand-written backward."""


class _ReplicationPad(nn.modules.padding._ReplicationPadNd):
    def forward(self, input: Tensor) -> Tensor:
        return pad(input, self.padding, "replicate")


class ReplicationPad1d(_ReplicationPad, nn.ReplicationPad1d):
    """:class:`torch.nn.ReplicationPad1d` with a hand-written backward."""


class ReplicationPad2d(_ReplicationPad, nn.ReplicationPad2d):
    """:class:`torch.nn.ReplicationPad2d` with a hand-written backward."""


class ReplicationPad3d(_ReplicationPad, nn.ReplicationPad3d):
    """:class:`torch.nn.ReplicationPad3d` with a hand-written backward."""


class _CircularPad(nn.modules.padding._CircularPadNd):
    def forward(self, input: Tensor) -> Tensor:
        check_tensors(type(self).__name__, input=input)
        self._check_input_dim(input)
        return pad(input, self.padding, "circular")


class CircularPad1d(_CircularPad, nn.CircularPad1d):
    """:class:`torch.nn.CircularPad1d` with a hand-written backward."""


class CircularPad2d(_CircularPad, nn.CircularPad2d):
    """:class:`torch.nn.CircularPad2d` with a hand-written backward."""


class CircularPad3d(_CircularPad, nn.CircularPad3d):
    """:class:`torch.nn.CircularPad3d` with a hand-written backward."""
