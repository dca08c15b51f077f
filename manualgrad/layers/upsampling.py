"""Interpolation: the same picture with more, or fewer, elements along each axis.

Every output element is a weighted sum of a few input elements near the place that it comes from. Which ones,
and with which weights, depends on places alone and not on values: interpolation is a linear map. It also
works on one axis after the other, so that a small matrix per axis says all of it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..function import FLOAT32_ON_ACCELERATOR, Function, apply, check_tensors, wide, wide_dtype
from ._spatial import Ints
from .pooling import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d

__all__ = [
    "InterpolateFunction",
    "Upsample",
    "UpsamplingBilinear2d",
    "UpsamplingNearest2d",
    "interpolate",
    "upsample",
    "upsample_bilinear",
    "upsample_nearest",
]

NEAREST, LINEAR = ("nearest", "nearest-exact"), ("linear", "bilinear", "trilinear")
REACH = {"bilinear": 1, "bicubic": 2, "lanczos": 3}  # half the width of the filters for antialias
AXES = {"linear": (1,), "bilinear": (2,), "trilinear": (3,), "bicubic": (2,), "lanczos": (2,)}
AREA = {1: adaptive_avg_pool1d, 2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}


class InterpolateFunction(Function):
    """Resize the last axes by weighted sums of neighbours.

    Forward    along an axis of length I that becomes one of length O, output o lies at s_o in the input, and
               y_o = Σ_t w_ot x_j(o,t)   with taps t = 1 ... T of places j and weights w  (see ``taps``)
               With M_oj the sum of the weights that o gives to j, this is y = M x; a picture takes a map per
               axis, one after the other,  y = (M₁ ⊗ M₂ ⊗ …) x
    Backward   x_j reaches y_o with weight M_oj:   ∂L/∂x_j = Σ_o M_oj g_o = Σ_{o,t: j(o,t) = j} w_ot g_o
               that is Mᵀ g: what forward gathers from j(o, t) backward adds to j(o, t), with the same weight.
               (A ⊗ B)ᵀ = Aᵀ ⊗ Bᵀ:   one axis after the other again
    Shapes     x: (N, C, *I);   y: (N, C, *O);   j, w of an axis: (O, T)
    Saves      nothing: the map is linear, and j and w are recomputed from the lengths
    Source     Keys 1981, doi:10.1109/TASSP.1981.1163711 (cubic); Turkowski 1990, Filters for common
               resampling tasks, Graphics Gems (antialias, lanczos)
    """

    @staticmethod
    def forward(
        x: Tensor,
        size: Ints,
        scales: tuple[float, ...] | None,
        mode: str,
        align_corners: bool,
        antialias: bool,
    ):
        if mode not in NEAREST and not antialias:
            return F.interpolate(x, None if scales else size, scales, mode, align_corners)
        # Here ATen's result depends on the memory format, and for a width of 1 antialias goes wrong (2.13).
        y = wide(x) if antialias else x
        for axis, index, weight in axes(
            x.shape, size, scales, mode, align_corners, antialias, x.dtype, x.device
        ):
            y = gather(y, axis, index, weight)
        return y.to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.size, ctx.scales, ctx.mode, ctx.align_corners, ctx.antialias = inputs
        ctx.shape = tuple(x.shape)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        grad_x, places = wide(grad_y), (ctx.shape, ctx.size, ctx.scales)
        how = (ctx.mode, ctx.align_corners, ctx.antialias, grad_y.dtype, grad_y.device)
        for axis, index, weight in axes(*places, *how):
            grad_x = spread(grad_x, axis, index, weight, ctx.shape[axis])
        return grad_x.to(grad_y.dtype), None, None, None, None, None


def gather(x: Tensor, axis: int, index: Tensor, weight: Tensor | None) -> Tensor:
    """M x along ``axis`` (counted from the end):  Σ_t w_ot x_j(o,t);  without weights every one is 1."""
    (places, count), rest = index.shape, (1,) * (-1 - axis)
    seen = x.index_select(axis, index.reshape(places * count))
    if weight is None:
        return seen
    seen = seen.reshape(*x.shape[:axis], places, count, *x.shape[x.dim() + axis + 1 :])
    return (seen * weight.reshape(places, count, *rest)).sum(axis)


def spread(g: Tensor, axis: int, index: Tensor, weight: Tensor | None, length: int) -> Tensor:
    """Mᵀ g along ``axis`` (counted from the end): add w_ot g_o to the place j(o, t), for all o and t."""
    (places, count), rest = index.shape, (1,) * (-1 - axis)
    before, after = g.shape[:axis], g.shape[g.dim() + axis + 1 :]
    if weight is not None:
        g = g.reshape(*before, places, 1, *after) * weight.reshape(places, count, *rest)
        g = g.reshape(*before, places * count, *after)
    zero = g.new_zeros(*before, length, *after)
    return zero.index_add(axis, index.reshape(places * count), g)


def axes(
    shape: Sequence[int],
    size: Ints,
    scales: tuple[float, ...] | None,
    mode: str,
    align_corners: bool,
    antialias: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> list[tuple[int, Tensor, Tensor | None]]:
    """For each axis of ``size``, the last one first: the axis, counted from the end, and its taps."""
    ndim, dtype = len(size), wide_dtype(dtype)
    if mode in NEAREST and ndim == 2:
        # As torch does, for two axes alone; it matters where s_o is close to an integer.
        dtype = torch.float32
    result = []
    for axis in range(-1, -ndim - 1, -1):
        length, places, scale = shape[axis], size[axis], scales[axis] if scales else None
        if mode == "nearest" and ndim == 2 and places in (length, 2 * length):
            scale = None  # as torch does, for two axes alone
        if places == length and (mode in LINEAR or antialias):
            scale = None  # the same places, whatever the scale
        place = torch.arange(places, dtype=dtype, device=device)
        step = ratio(length, places, scale, align_corners)
        find = widened_taps if antialias else taps
        result.append((axis, *find(place, length, step, mode, align_corners)))
    return result


def ratio(length: int, places: int, scale: float | None, align_corners: bool) -> float:
    """How far apart in the input two neighbouring outputs lie."""
    if align_corners:  # the first and the last elements of both meet
        return (length - 1) / (places - 1) if places > 1 else 0.0
    return 1 / scale if scale else length / places


def taps(
    place: Tensor, length: int, step: float, mode: str, align_corners: bool
) -> tuple[Tensor, Tensor | None]:
    """For each output o the places j(o, t) of its taps in the input, and their weights w_ot.

    An element is a cell of width 1, its center at j + ½. The centers of the outputs lie r apart (``step``),
    the first of them r/2 behind the border, so that output o has its center at r (o + ½), which is
    s_o = r (o + ½) − ½  among the places j. With ``align_corners``  s_o = r o.

    nearest          j = ⌊r o⌋:  what stands at the left border of the output's cell
    nearest-exact    j = ⌊r (o + ½)⌋:  the cell that the center is in
    linear           j = ⌊s⌋, ⌊s⌋ + 1  with weights  1 − f, f,   f = s − ⌊s⌋
    cubic            j = ⌊s⌋ − 1 ... ⌊s⌋ + 2  with weights κ(1 + f), κ(f), κ(1 − f), κ(2 − f),
                     κ = cubic(·, −¾)

    Places beyond the border are those at the border.
    Shapes: place (O) -> (O, T), (O, T)
    """
    if mode in NEAREST:
        source = step * (place if mode == "nearest" else place + 0.5)
        source = source.float()  # as torch does, which counts where a place is close to an integer
        return source.floor().long().clamp(max=length - 1).unsqueeze(1), None
    source = step * place if align_corners else step * (place + 0.5) - 0.5
    if mode in LINEAR:
        source = source.clamp(min=0, max=length - 1)
        offsets = torch.arange(2, device=place.device)
    else:
        offsets = torch.arange(-1, 3, device=place.device)
    index = source.floor().long().unsqueeze(1) + offsets
    distance = (source.unsqueeze(1) - index).abs()
    weight = 1 - distance if mode in LINEAR else cubic(distance, -0.75)
    return index.clamp(0, length - 1), weight


def widened_taps(
    place: Tensor, length: int, step: float, mode: str, _align_corners: bool
) -> tuple[Tensor, Tensor]:
    """As ``taps``, for ``antialias``: where the output has fewer elements, its filter reaches so much further
    that each input element counts.

    The filter κ is stretched by σ = max(r, 1) around the center c_o = r (o + ½):  w_ot ∝ κ((j + ½ − c_o) / σ)
    for all cells j whose center is nearer than σ times the reach of κ; weights are scaled to the sum 1.

    bilinear   κ(d) = 1 − |d|
    bicubic    κ = cubic(·, −½)
    lanczos    κ(d) = sinc(d) sinc(d / 3),   sinc(d) = sin(πd) / πd
    """
    stretch = max(step, 1.0)
    reach = REACH[mode] * stretch
    center = step * (place + 0.5)
    first = (center - reach + 0.5).long().clamp(min=0).unsqueeze(1)
    end = (center + reach + 0.5).long().clamp(max=length).unsqueeze(1)
    index = first + torch.arange(2 * math.ceil(reach) + 1, device=place.device)
    distance = (index + 0.5 - center.unsqueeze(1)) / stretch
    if mode == "bilinear":
        weight = (1 - distance.abs()).clamp(min=0)
    elif mode == "bicubic":
        weight = cubic(distance.abs(), -0.5)
    else:
        weight = torch.where(distance.abs() < 3, torch.sinc(distance) * torch.sinc(distance / 3), 0)
    weight = torch.where(index < end, weight, 0)
    return index.clamp(max=length - 1), weight / weight.sum(1, keepdim=True)


def cubic(distance: Tensor, a: float) -> Tensor:
    """Keys' kernel: two cubic polynomials that meet smoothly at 1 and end smoothly at 2.

    κ(d) = (a + 2) d³ − (a + 3) d² + 1      for d < 1:  it is 1 at 0, and 0 at 1
           a d³ − 5a d² + 8a d − 4a         for 1 ≤ d < 2:  it is 0 at 1 and at 2
    The slope at 1 is a, for both.
    """
    d = distance
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return torch.where(d < 1, near, torch.where(d < 2, far, 0))


def interpolate(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Resize (N, C, L), (N, C, H, W) or (N, C, D, H, W), as :func:`torch.nn.functional.interpolate`.

    Integers are resized by torch's operators, which know uint8: they have no gradient.

    Args:
        size: the lengths of the output, one number for all axes or one for each.
        scale_factor: how much longer the axes become, if ``size`` is not given. The lengths are rounded down.
        mode: ``"nearest"`` (as OpenCV, which is half an element off), ``"nearest-exact"``, ``"linear"`` for
            one axis, ``"bilinear"``, ``"bicubic"``, ``"lanczos"`` for two, ``"trilinear"`` for three, or
            ``"area"``, means of the cells that an output covers.
        align_corners: whether the centers, rather than the borders, of the outermost elements stay where they
            are; not for modes that copy or take means.
        recompute_scale_factor: whether the places follow from the rounded lengths, as with ``size``, and not
            from ``scale_factor``.
        antialias: whether filters widen where the output is smaller; for two axes, bilinear, bicubic and
            lanczos (which needs it).

    Raises:
        ValueError: if options exclude each other, or there is not one number per axis.
        TypeError: if ``size`` is not of integers.
        NotImplementedError: if the mode does not go with the number of axes, or the dtype with the mode.
        RuntimeError: if an axis is empty.
    """
    check_tensors("interpolate", input=input)
    ndim = input.dim() - 2
    if mode in (*NEAREST, "area") and align_corners is not None:
        raise ValueError(
            f"interpolate: mode={mode!r} has no align_corners, but got align_corners={align_corners}; "
            "leave it out"
        )
    size, scales = _size_and_scales(input, size, scale_factor, recompute_scale_factor or False, mode)
    if antialias and not (mode in REACH and ndim == 2):
        raise ValueError(
            "interpolate: antialias=True is for inputs (N, C, H, W) and the modes bilinear, bicubic and "
            f"lanczos, but got shape {list(input.shape)} and mode={mode!r}"
        )
    if ndim not in AXES.get(mode, (1, 2, 3) if mode in (*NEAREST, "area") else ()):
        raise NotImplementedError(
            f"interpolate: mode={mode!r} for an input of shape {list(input.shape)}: there are 'linear' for "
            "(N, C, L), 'bilinear', 'bicubic' and 'lanczos' for (N, C, H, W), 'trilinear' for "
            "(N, C, D, H, W), and 'nearest', 'nearest-exact' and 'area' for all of them"
        )
    if mode == "area":
        return AREA[ndim](input, size)
    if mode == "lanczos" and (align_corners or not antialias):
        raise ValueError(
            "interpolate: mode='lanczos' needs antialias=True and has no align_corners=True, but got "
            f"antialias={antialias}, align_corners={align_corners}"
        )
    if not input.is_floating_point() and not input.is_complex():
        return F.interpolate(
            input, None if scales else size, scales, mode, align_corners, antialias=antialias
        )
    if 0 in input.shape[1:] or min(size) <= 0:
        raise RuntimeError(
            "interpolate: no axis but the batch may be empty, neither of the input nor of the output, but "
            f"the input has shape {list(input.shape)} and the output the lengths {list(size)}"
        )
    if antialias and input.device.type == "cpu" and input.dtype in (torch.float16, torch.bfloat16):
        raise NotImplementedError(
            f"interpolate: antialias=True is not implemented for {input.dtype} on the CPU; cast to float32"
        )
    # torch's autocast has no entry for lanczos.
    options = (mode, bool(align_corners), antialias)
    if mode == "lanczos":
        return apply(InterpolateFunction, input, size, scales, *options)
    return apply(InterpolateFunction, input, size, scales, *options, autocast=FLOAT32_ON_ACCELERATOR)


def _size_and_scales(
    input: Tensor, size, scale_factor, recompute: bool, mode: str
) -> tuple[Ints, tuple[float, ...] | None]:
    # The lengths of the output, and the scales if places follow from them.
    lengths = list(input.shape[2:])
    if (size is None) == (scale_factor is None):
        raise ValueError(
            f"interpolate: exactly one of size={size} and scale_factor={scale_factor} must be given"
        )
    name, value = ("size", size) if scale_factor is None else ("scale_factor", scale_factor)
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,) * len(lengths)
    if len(values) != len(lengths):
        raise ValueError(
            f"interpolate: {name}={value} must be one number, or one for each axis behind the second of the "
            f"input of shape {list(input.shape)}"
        )
    if scale_factor is None:
        if recompute:
            raise ValueError(
                "interpolate: recompute_scale_factor=True needs a scale_factor, but size was given"
            )
        if not all(isinstance(v, (int, torch.SymInt)) for v in values):
            raise TypeError(f"interpolate: size must be of integers, but got {size}")
        return values, None
    if any(isinstance(scale, (str, Tensor)) for scale in values):
        raise TypeError(f"interpolate: scale_factor must be of numbers, but got {scale_factor!r}")
    if any(isinstance(scale, float) and not math.isfinite(scale) for scale in values):
        raise RuntimeError(f"interpolate: scale_factor must be finite, but got {scale_factor}")
    places = tuple(int(length * scale) for length, scale in zip(lengths, values))
    return places, None if recompute or mode == "area" else tuple(float(scale) for scale in values)


def upsample(input, size=None, scale_factor=None, mode="nearest", align_corners=None) -> Tensor:
    """:func:`interpolate` under an older name; deprecated."""
    _deprecated("upsample")
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input, size=None, scale_factor=None) -> Tensor:
    """:func:`interpolate` with ``mode="nearest"``; deprecated."""
    _deprecated("upsample_nearest")
    return interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(input, size=None, scale_factor=None) -> Tensor:
    """:func:`interpolate` with ``mode="bilinear", align_corners=True``; deprecated."""
    _deprecated("upsample_bilinear")
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)


def _deprecated(name: str) -> None:
    warnings.warn(f"{name} is deprecated, as in torch; use interpolate instead", UserWarning, stacklevel=3)


class _Upsample(nn.Upsample):
    def forward(self, input: Tensor) -> Tensor:
        recompute = self.recompute_scale_factor
        return interpolate(input, self.size, self.scale_factor, self.mode, self.align_corners, recompute)


class Upsample(_Upsample):
    """:class:`torch.nn.Upsample` with a hand-written backward."""


class UpsamplingNearest2d(_Upsample, nn.UpsamplingNearest2d):
    """:class:`torch.nn.UpsamplingNearest2d` with a hand-written backward."""


class UpsamplingBilinear2d(_Upsample, nn.UpsamplingBilinear2d):
    """:class:`torch.nn.UpsamplingBilinear2d` with a hand-written backward."""
