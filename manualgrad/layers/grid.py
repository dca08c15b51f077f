"""Sampling a picture at places that are themselves data: spatial transformers, warps, deformations.

The places are a grid of coordinates from −1 to 1; ``affine_grid`` makes one from a matrix, and
``grid_sample`` reads the picture there. Both the picture and the places get a gradient: how the result
changes if a place moves a little is what a network needs to learn where to look.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from ..function import LOW, Autocast, Function, apply, autocasting, check_tensors, own, wide, wide_dtype
from ._spatial import Ints
from .upsampling import cubic

__all__ = ["AffineGridFunction", "GridSampleFunction", "affine_grid", "grid_sample"]

MODES, PADDINGS = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")


class AffineGridFunction(Function):
    """The places that an affine map sends a regular grid to.

    Forward    b_p = (x, y, 1), or (x, y, z, 1), is element p of the regular grid (see ``regular_grid``)
               y_npk = Σ_j θ_nkj b_pj
    Backward   θ_nkj is shared by all places:   ∂L/∂θ_nkj = Σ_p g_npk b_pj,   that is gᵀ b for each sample
    Shapes     θ: (N, d, d + 1);   b: (P, d + 1) with P = ∏ size;   y: (N, *size, d),  d = 2 or 3
    Saves      nothing: b is recomputed
    Source     Jaderberg et al. 2015, arXiv:1506.02025
    """

    @staticmethod
    def forward(theta: Tensor, size: Ints, align_corners: bool):
        regular = regular_grid(size, align_corners, wide_dtype(theta.dtype), theta.device)
        places = regular @ wide(theta).transpose(1, 2)
        return own(places.reshape(theta.shape[0], *size, len(size)).to(theta.dtype))

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, ctx.size, ctx.align_corners = inputs

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        g, ndim = wide(grad_y), len(ctx.size)
        regular = regular_grid(ctx.size, ctx.align_corners, g.dtype, g.device)
        g = g.reshape(g.shape[0], math.prod(ctx.size), ndim)
        return (g.transpose(1, 2) @ regular).to(grad_y.dtype), None, None


def regular_grid(size: Ints, align_corners: bool, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Coordinates of the elements of a picture, last axis first, and a 1:  (P, d + 1).

    From −1 to 1 in equal steps: with ``align_corners`` these are the centers of the outermost elements, else
    the borders, which are half an element further out. A single element is at 0.
    """
    coordinates = []
    for length in size:
        line = (
            torch.linspace(-1, 1, length, dtype=dtype, device=device)
            if length > 1
            else torch.zeros(1, dtype=dtype, device=device)
        )
        coordinates.append(line if align_corners else line * ((length - 1) / length))
    columns = torch.meshgrid(*coordinates, indexing="ij")[::-1]
    places = math.prod(size)
    one = torch.ones(places, dtype=dtype, device=device)
    return torch.stack([*(column.reshape(places) for column in columns), one], 1)


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """Places for :func:`grid_sample` from affine maps, as :func:`torch.nn.functional.affine_grid`.

    Args:
        theta: matrices, shape (N, 2, 3) or (N, 3, 4), from the output's coordinates to the input's.
        size: of the output, (N, C, H, W) or (N, C, D, H, W).
        align_corners: whether −1 and 1 are the centers, and not the borders, of the outermost elements.

    Raises:
        ValueError: if ``theta`` is not floating point, does not fit ``size``, or ``size`` is not positive.
        RuntimeError: if ``theta`` has not as many samples as ``size``.
        NotImplementedError: if ``size`` has neither four nor five numbers.
    """
    check_tensors("affine_grid", theta=theta)
    align_corners = _corners("affine_grid", align_corners)
    if not theta.is_floating_point():
        raise ValueError(f"affine_grid: theta must be floating point, but is {theta.dtype}; cast it")
    if len(size) not in (4, 5):
        raise NotImplementedError(
            f"affine_grid: size must be (N, C, H, W) or (N, C, D, H, W), but got {tuple(size)}"
        )
    ndim = len(size) - 2
    if theta.dim() != 3 or tuple(theta.shape[1:]) != (ndim, ndim + 1):
        raise ValueError(
            f"affine_grid: theta must have shape (N, {ndim}, {ndim + 1}) for size={tuple(size)}, but has "
            f"{list(theta.shape)}"
        )
    plane = tuple(size[2:])
    if align_corners and min(plane) == 1:
        warnings.warn(
            f"affine_grid: an axis of length 1 (size={tuple(size)}) has its only element at 0, although "
            "align_corners=True",
            UserWarning,
            stacklevel=2,
        )
    elif min(size) <= 0:
        raise ValueError(f"affine_grid: size must be positive, but got {tuple(size)}")
    if theta.shape[0] != size[0]:
        raise RuntimeError(
            f"affine_grid: size={tuple(size)} asks for {size[0]} samples, but theta of shape "
            f"{list(theta.shape)} has {theta.shape[0]}"
        )
    return apply(AffineGridFunction, theta, plane, align_corners, autocast=LOW)


def _corners(name: str, align_corners: bool | None) -> bool:
    if align_corners is None:
        warnings.warn(
            f"{name}: align_corners was not given, and align_corners=False was taken, as torch does",
            UserWarning,
            stacklevel=3,
        )
    return bool(align_corners)


class GridSampleFunction(Function):
    """The values of a picture at given places, between its elements too.

    Forward    place p has a coordinate v_k for each axis k, which says a position u_k = u(v_k) among the
               elements (see ``position``; ``padded`` brings it into the picture, or for bicubic the taps).
               Along each axis it sees T taps, elements j with weights w(u), which are 0 outside the picture:
               nearest    the element that u is closest to,  w = 1
               bilinear   ⌊u⌋ and ⌊u⌋ + 1,  w = 1 − |u − j|
               bicubic    ⌊u⌋ − 1 ... ⌊u⌋ + 2,  w = κ(|u − j|),  κ = cubic(·, −¾)
               Over all axes a tap t is a tap of each axis, an element j(p, t) with  W_pt = ∏_k w_k:
               y_cp = Σ_t W_pt x_c,j(p,t)
    Backward   y is linear in x:   ∂L/∂x_cj = Σ_{p,t: j(p,t) = j} W_pt g_cp   (add where forward reads)
               and v_k is in the factor w_k of each weight:
               ∂L/∂v_pk = Σ_t (Σ_c g_cp x_c,j(p,t)) ∂W_pt/∂v_k,   ∂W/∂v_k = w_k'(u_k) u_k'(v_k) ∏_{l≠k} w_l
               w' = −sign(u − j) for bilinear,  sign(u − j) κ'(|u − j|) for bicubic,  0 for nearest
               u' is the ``speed`` of ``position``, times the ``turn`` of ``padded`` if that moved u
    Shapes     x: (N, C, *I);   v: (N, *P, d), the last axis of x first;   y: (N, C, *P)
               d = 2 or 3;   t = 1 ... T^d
    Saves      x only if v needs a gradient, and v;  taps are recomputed
    Source     Jaderberg et al. 2015, arXiv:1506.02025
    """

    @staticmethod
    def forward(x: Tensor, grid: Tensor, mode: str, padding_mode: str, align_corners: bool):
        return torch.grid_sampler(x, grid, MODES.index(mode), PADDINGS.index(padding_mode), align_corners)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, grid, ctx.mode, ctx.padding_mode, ctx.align_corners = inputs
        ctx.shape = tuple(x.shape)
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, grid)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        x, grid = ctx.saved_tensors
        batch, channels, *lengths = ctx.shape
        places, elements = math.prod(grid.shape[1:-1]), math.prod(lengths)
        index, weights, slopes = all_taps(grid, lengths, ctx.mode, ctx.padding_mode, ctx.align_corners)
        count = index.shape[-1]
        g = wide(grad_y).reshape(batch, channels, places, 1)
        index = index.reshape(batch, 1, places * count).expand(batch, channels, places * count)
        grad_x = grad_grid = None
        if ctx.needs_input_grad[0]:
            shares = (g * product(weights).reshape(batch, 1, places, count)).reshape(index.shape)
            grad_x = shares.new_zeros(batch, channels, elements).scatter_add(2, index, shares)
            grad_x = grad_x.reshape(ctx.shape).to(grad_y.dtype)
        if ctx.needs_input_grad[1]:
            seen = wide(x).reshape(batch, channels, elements).gather(2, index)
            change = (g * seen.reshape(batch, channels, places, count)).sum(1)
            moved = [product([*weights[:k], slopes[k], *weights[k + 1 :]]) for k in range(len(lengths))]
            grad_grid = torch.stack([(change * slope).sum(-1) for slope in reversed(moved)], -1)
            grad_grid = grad_grid.reshape(grid.shape).to(grid.dtype)
        return grad_x, grad_grid, None, None, None


def product(factors: Sequence[Tensor]) -> Tensor:
    """All products of a number of each axis: d tensors (N, P, T) -> (N, P, T^d)."""
    result = factors[0]
    for factor in factors[1:]:
        result = result.unsqueeze(-1) * factor.unsqueeze(-2)
        result = result.reshape(*result.shape[:2], result.shape[2] * result.shape[3])
    return result


def all_taps(
    grid: Tensor, lengths: Sequence[int], mode: str, padding_mode: str, align_corners: bool
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """What each place sees: elements of the flat picture, and per axis their weights w and slopes ∂w/∂v.

    Shapes: grid (N, *P, d) -> (N, P, T^d), d times (N, P, T), d times (N, P, T)
    """
    batch, places = grid.shape[0], math.prod(grid.shape[1:-1])
    flat, weights, slopes = None, [], []
    for axis, length in enumerate(lengths):
        v = wide(grid).select(-1, len(lengths) - 1 - axis).reshape(batch, places)
        index, weight, slope = taps(v, length, mode, padding_mode, align_corners)
        weights.append(weight)
        slopes.append(slope)
        if flat is None:
            flat = index
        else:
            flat = (flat * length).unsqueeze(-1) + index.unsqueeze(-2)
            flat = flat.reshape(batch, places, flat.shape[2] * flat.shape[3])
    assert flat is not None
    return flat, weights, slopes


def taps(
    v: Tensor, length: int, mode: str, padding_mode: str, align_corners: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The taps of one axis: elements j, weights w, slopes ∂w/∂v; outside of the picture w = 0.

    Shapes: v (N, P) -> three times (N, P, T)
    """
    u, speed = position(v, length, align_corners)
    if padding_mode != "reflection":
        u = u.clamp(-3, length + 2)  # further outside is no different, and not too far for an integer
    if mode == "bicubic":  # here it is the taps that are clipped or reflected
        below = u.floor()
        offsets = torch.arange(-1, 3, dtype=u.dtype, device=u.device)
        index = padded(below.unsqueeze(-1) + offsets, length, padding_mode, align_corners)[0]
        distance = (u - below).unsqueeze(-1) - offsets
        weight = cubic(distance.abs(), -0.75)
        slope = cubic_slope(distance.abs(), -0.75) * distance.sign() * speed
    else:
        u, turn = padded(u, length, padding_mode, align_corners)
        if mode == "nearest":
            index = u.round().unsqueeze(-1)
            weight, slope = torch.ones_like(index), torch.zeros_like(index)
        else:
            below = u.floor()
            index = torch.stack([below, below + 1], -1)
            weight = torch.stack([1 - (u - below), u - below], -1)
            slope = torch.stack([-turn * speed, turn * speed], -1)
    inside = (index >= 0) & (index < length)
    return index.clamp(0, length - 1).long(), torch.where(inside, weight, 0), torch.where(inside, slope, 0)


def position(v: Tensor, length: int, align_corners: bool) -> tuple[Tensor, float]:
    """Where among the elements 0 ... length − 1 the coordinate ``v`` is, and how fast it moves with v.

    −1 and 1 are the first and the last element with ``align_corners``, else the borders at −½ and length − ½.
    """
    if align_corners:
        u, speed = (v + 1) / 2 * (length - 1), (length - 1) / 2
    else:
        u, speed = ((v + 1) * length - 1) / 2, length / 2
    return torch.nan_to_num(u, nan=-3.0), speed


def padded(u: Tensor, length: int, padding_mode: str, align_corners: bool) -> tuple[Tensor, Tensor]:
    """A position in the picture, and how it moves with ``u``: 1, −1 where reflected, 0 where clipped.

    "border" clips to the elements at the ends. "reflection" mirrors at both ends (elements with
    ``align_corners``, else borders) as often as needed, a triangle wave, and then clips. The ends themselves
    count as clipped.
    """
    turn = torch.ones_like(u)
    if padding_mode == "zeros":
        return u, turn
    if padding_mode == "reflection":
        low, span = (0.0, length - 1) if align_corners else (-0.5, length)
        if span == 0:
            return torch.zeros_like(u), torch.zeros_like(u)
        far = (u - low).abs()
        turned = (far / span).floor().remainder(2) == 1
        beyond = far.fmod(span)
        turn = torch.where((u < low) != turned, -turn, turn)
        u = low + torch.where(turned, span - beyond, beyond)
    turn = torch.where((u > 0) & (u < length - 1), turn, 0)
    return u.clamp(0, length - 1), turn


def cubic_slope(distance: Tensor, a: float) -> Tensor:
    """The derivative of ``cubic`` by its distance.

    κ'(d) = 3 (a + 2) d² − 2 (a + 3) d     for d < 1
            3a d² − 10a d + 8a             for 1 ≤ d < 2
    """
    d = distance
    near = (3 * (a + 2) * d - 2 * (a + 3)) * d
    far = (3 * a * d - 10 * a) * d + 8 * a
    return torch.where(d < 1, near, torch.where(d < 2, far, 0))


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """Values of (N, C, H, W) or (N, C, D, H, W) at given places, as :func:`torch.nn.functional.grid_sample`.

    Unlike torch's it can be differentiated twice. Coordinates that are NaN have the gradient 0.

    Args:
        grid: shape (N, H_out, W_out, 2) or (N, D_out, H_out, W_out, 3): coordinates x, y (and z) from −1 to
            1, beyond them what ``padding_mode`` says.
        mode: ``"bilinear"`` (for volumes it is trilinear), ``"nearest"``, or ``"bicubic"`` for pictures.
        padding_mode: what is outside: ``"zeros"``, ``"border"`` (the nearest element), or ``"reflection"``.
        align_corners: whether −1 and 1 are the centers, and not the borders, of the outermost elements.

    Raises:
        ValueError: if there is no such mode or padding mode.
        RuntimeError: if the shapes or dtypes of input and grid do not fit, or the mode does not do volumes.
        NotImplementedError: if the input is not floating point.
    """
    check_tensors("grid_sample", input=input, grid=grid)
    if mode not in MODES:
        raise ValueError(f"grid_sample: mode must be 'bilinear', 'nearest' or 'bicubic', but got {mode!r}")
    if padding_mode not in PADDINGS:
        raise ValueError(
            f"grid_sample: padding_mode must be 'zeros', 'border' or 'reflection', but got {padding_mode!r}"
        )
    align_corners = _corners("grid_sample", align_corners)
    shapes = f"but got an input of shape {list(input.shape)} and a grid of shape {list(grid.shape)}"
    ndim = input.dim() - 2
    if ndim not in (2, 3) or grid.dim() != input.dim() or grid.shape[-1] != ndim:
        raise RuntimeError(
            "grid_sample: expected an input (N, C, H, W) and a grid (N, H_out, W_out, 2), or (N, C, D, H, W) "
            f"and (N, D_out, H_out, W_out, 3), {shapes}"
        )
    if input.shape[0] != grid.shape[0]:
        raise RuntimeError(f"grid_sample: input and grid must have the same number of samples, {shapes}")
    if 0 in input.shape[2:]:
        raise RuntimeError(f"grid_sample: the axes of the picture must not be empty, {shapes}")
    if ndim == 3 and mode == "bicubic":
        raise RuntimeError(f"grid_sample: mode='bicubic' is for inputs (N, C, H, W) alone, {shapes}")
    if not input.is_floating_point() and not input.is_complex():
        raise NotImplementedError(f"grid_sample: not implemented for {input.dtype}; cast the input")
    if input.dtype != grid.dtype and not autocasting(input):
        raise RuntimeError(
            f"grid_sample: input and grid must have the same dtype, but are {input.dtype} and {grid.dtype}; "
            "cast one of them"
        )
    autocast = Autocast("float32", "widest")
    return apply(GridSampleFunction, input, grid, mode, padding_mode, align_corners, autocast=autocast)
