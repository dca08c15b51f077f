"""Batch normalization and what mostly follows it, in one: a residual is added, then ReLU, then a max-pool.

Apart, these layers write and keep an array each, of which all but the first follow from it. Together they
keep the first one, and of each window of the pool the place of its winner, in a byte.

ReLU, LeakyReLU and no activation at all are one function here, f(v) = v where v > 0, else a v: with a = 0,
with a between, and with a = 1. It is monotone for a ≥ 0, so that max f(v) = f(max v): the pool comes first.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..function import Function, apply, autocasting, check_optional, check_tensors, wide
from ._blocks import observed
from ._broadcast import check_same_dtype
from ._spatial import Ints, per_axis
from .batchnorm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    arguments,
    batch_statistics,
    check_batch_norm,
    track,
    values_per_channel,
)
from .conv import windows
from .leaky import LeakyReLU, leaky_relu
from .normalization import per_channel
from .piecewise import ReLU
from .pooling import MaxPool1d, MaxPool2d, MaxPool3d, max_pool1d, max_pool2d, max_pool3d
from .reshape import Identity

__all__ = [
    "BatchNormActivation",
    "BatchNormActivationEvalFunction",
    "BatchNormActivationFunction",
    "batch_norm_activation",
]

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, BatchNorm1d, BatchNorm2d, BatchNorm3d)
RELUS = (nn.ReLU, ReLU)
LEAKY_RELUS = (nn.LeakyReLU, LeakyReLU)
POOLS = {nn.MaxPool1d: 1, nn.MaxPool2d: 2, nn.MaxPool3d: 3, MaxPool1d: 1, MaxPool2d: 2, MaxPool3d: 3}
MAX_POOL = {1: max_pool1d, 2: max_pool2d, 3: max_pool3d}
# A winner's byte holds its place in the window, and whether it is positive.
LARGEST_WINDOW = 128


def before_activation(
    x: Tensor,
    residual: Tensor | None,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Tensor:
    """v = x̂ w + b + z, with z the residual."""
    rstd = torch.rsqrt(wide(var) + eps)
    scale = rstd if weight is None else rstd * weight
    v = (x - per_channel(mean, x.dim())) * per_channel(scale, x.dim())
    v = v if bias is None else v + per_channel(bias, x.dim())
    v = v.to(x.dtype)  # so that of a half type the winners are those of the layers apart
    return v if residual is None else v + residual


def after_activation(v: Tensor, slope: float, window: Ints) -> tuple[Tensor, Tensor]:
    """y = f(max v), and of each window, of K elements, the maximum's place, plus K if it is not positive."""
    winner = v.new_empty(0, dtype=torch.uint8)
    if window:
        v, place = in_windows(v, window).max(-1)
        winner = (place + math.prod(window) * (v <= 0)).to(torch.uint8)
    if slope == 1:
        return v, winner
    return (v.clamp(min=0) if slope == 0 else torch.where(v > 0, v, slope * v)), winner


def to_winners(g: Tensor, winner: Tensor, slope: float, window: Ints, size: Ints) -> Tensor:
    """∂L/∂v of y = f(max v): g f′ for each winner, 0 for the others."""
    taps = math.prod(window)
    g = torch.where(winner < taps, g, slope * g if slope else 0)
    place = torch.arange(taps, device=g.device)
    grad_v = torch.where(place == (winner % taps).unsqueeze(-1), g.unsqueeze(-1), 0)
    return out_of_windows(grad_v, window, size)


def in_windows(v: Tensor, window: Ints) -> Tensor:
    """(B, C, *I) -> (B, C, *O, K): the K elements of each window, side by side. What is left over is cut."""
    places = tuple(length // k for length, k in zip(v.shape[2:], window))
    zeros, ones = (0,) * len(window), (1,) * len(window)
    return windows(v, window, places, window, zeros, ones).flatten(-len(window))


def out_of_windows(v: Tensor, window: Ints, size: Ints) -> Tensor:
    """The adjoint of :func:`in_windows`: (B, C, *O, K) -> (B, C, *size), with 0 where there is no window."""
    ndim, places = len(window), v.shape[2:-1]
    v = v.reshape(*v.shape[:2], *places, *window)
    v = v.permute(0, 1, *(axis for k in range(ndim) for axis in (2 + k, 2 + ndim + k)))
    covered = [count * k for count, k in zip(places, window)]
    v = v.reshape(*v.shape[:2], *covered)
    left_over = [length - c for length, c in zip(size, covered)]
    return torch.constant_pad_nd(v, [p for amount in reversed(left_over) for p in (0, amount)])


class BatchNormActivationFunction(Function):
    """Standardize each channel with the statistics of the batch, add a residual, activate, pool.

    Forward    x̂ = (x − μ) r   as in BatchNorm,   v = x̂ w + b + z
               y = f(v),  or with a pool  y_o = f(v_m(o)),  m(o) = argmax of v over window o, the first among
               equals;   f(v) = v where v > 0, else a v.   Windows lie side by side
    Backward   g = ∂L/∂y,  h = ∂L/∂v.  v_j reaches y_j alone, or with a pool y_o alone if it wins window o:
               h_j = g_j f′(v_j),  or  h_j = g_o f′(v_j) if j = m(o), else 0.   f′ = 1 where v > 0, else a
               The residual is a term of v:   ∂L/∂z = h
               From v on it is BatchNorm, with h in g's place:   ∂L/∂w = Σ h x̂,   ∂L/∂b = Σ h
               ∂L/∂x = r w (h − Σh / N − x̂ Σ(h x̂) / N)
    Shapes     x, z: (B, C, *I);   y: (B, C, *I) or (B, C, *O), O = ⌊I / window⌋ along each axis
               w, b: (C) or None;   μ, σ²: (C);   N = elements of x / C
    Saves      x, w, μ, σ²; with a pool of each window a byte: m, and whether v_m is positive
               Without one, if a ≠ 1: the sign of v is that of y, which is saved if there is a residual, and
               the next layer keeps anyway; else v follows from x, and b is saved
    Source     Ioffe, Szegedy 2015, arXiv:1502.03167; He et al. 2015, arXiv:1512.03385 (the residual);
               Bulò, Porzi, Kontschieder 2017, arXiv:1712.02616 (what need not be kept)
    """

    @staticmethod
    def forward(
        x: Tensor,
        residual: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        slope: float,
        window: Ints,
        eps: float,
    ):
        mean, var = batch_statistics(x)
        v = before_activation(x, residual, mean, var, weight, bias, eps)
        y, winner = after_activation(v, slope, window)
        return y, mean, var, winner

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, residual, weight, bias, ctx.slope, ctx.window, ctx.eps = inputs
        y, mean, var, winner = output
        ctx.bias_dtype = None if bias is None else bias.dtype
        ctx.mark_non_differentiable(mean, var, winner)
        save(ctx, x, weight, mean, var, bias, residual, y, winner)

    @staticmethod
    def backward(ctx, grad_y: Tensor, _mean, _var, _winner):
        saved = ctx.saved_tensors
        x, weight, mean, var, *_ = saved
        h = at_activation(ctx, saved, wide(grad_y))
        if torch.is_grad_enabled():  # differentiated again: μ and σ² are functions of x, not constants
            mean, var = batch_statistics(x)
        axes = [axis for axis in range(x.dim()) if axis != 1]
        count = max(values_per_channel(x), 1)
        rstd = torch.rsqrt(var + ctx.eps)
        x_hat = (x - per_channel(mean, x.dim())) * per_channel(rstd, x.dim())
        sum_h = h.sum(axes)
        sum_h_x_hat = (h * x_hat).sum(axes)
        grad_x = grad_residual = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            scale = rstd if weight is None else rstd * weight
            grad_x = (
                h - per_channel(sum_h / count, x.dim()) - x_hat * per_channel(sum_h_x_hat / count, x.dim())
            ) * per_channel(scale, x.dim())
            grad_x = grad_x.to(x.dtype)
        if ctx.needs_input_grad[1]:
            grad_residual = h.to(x.dtype)
        if ctx.needs_input_grad[2]:
            grad_weight = sum_h_x_hat.to(weight.dtype)
        if ctx.needs_input_grad[3]:
            grad_bias = sum_h.to(ctx.bias_dtype)
        return grad_x, grad_residual, grad_weight, grad_bias, None, None, None


def save(ctx, x, weight, mean, var, bias, residual, y, winner, need_x=True) -> None:
    """Save what both backwards need: beside x, w, μ and σ² whatever tells the sign of v."""
    ctx.size, ctx.x_dtype = tuple(x.shape[2:]), x.dtype
    bent = ctx.slope != 1 and not ctx.window
    ctx.has_x = need_x or (bent and residual is None)
    ctx.save_for_backward(
        x if ctx.has_x else None,
        weight,
        mean,
        var,
        bias if bent and residual is None else None,
        y if bent and residual is not None else None,
        winner if ctx.window else None,
    )


def at_activation(ctx, saved: tuple, g: Tensor) -> Tensor:
    """h = ∂L/∂v, from what :func:`save` saved."""
    x, weight, mean, var, bias, y, winner = saved
    if ctx.window:
        return to_winners(g, winner, ctx.slope, ctx.window, ctx.size)
    if ctx.slope == 1:
        return g
    v = before_activation(x, None, mean, var, weight, bias, ctx.eps) if y is None else y
    return torch.where(v <= 0, ctx.slope * g if ctx.slope else 0, g)


class BatchNormActivationEvalFunction(Function):
    """Standardize with given statistics, which are constants; add a residual, activate, pool.

    Forward    x̂ = (x − μ) r   with given μ and r = (σ² + ε)^(−1/2),   v = x̂ w + b + z;   y as above
    Backward   h = ∂L/∂v and ∂L/∂z = h as above;   ∂L/∂x = h r w,   ∂L/∂w = Σ h x̂,   ∂L/∂b = Σ h
    Shapes     as above
    Saves      as above, but x only if w needs a gradient, or v follows from it
    Source     Ioffe, Szegedy 2015, arXiv:1502.03167, algorithm 2
    """

    @staticmethod
    def forward(
        x: Tensor,
        residual: Tensor | None,
        mean: Tensor,
        var: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        slope: float,
        window: Ints,
        eps: float,
    ):
        v = before_activation(x, residual, mean, var, weight, bias, eps)
        y, winner = after_activation(v, slope, window)
        return y, winner

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, residual, mean, var, weight, bias, ctx.slope, ctx.window, ctx.eps = inputs
        y, winner = output
        ctx.bias_dtype = None if bias is None else bias.dtype
        ctx.mark_non_differentiable(winner)
        need_weight = ctx.needs_input_grad[4]
        save(ctx, x, weight, mean, var, bias, residual, y, winner, need_weight)

    @staticmethod
    def backward(ctx, grad_y: Tensor, _winner):
        saved = ctx.saved_tensors
        x, weight, mean, var, *_ = saved
        h = at_activation(ctx, saved, wide(grad_y))
        axes = [axis for axis in range(h.dim()) if axis != 1]
        rstd = torch.rsqrt(wide(var) + ctx.eps)
        grad_x = grad_residual = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            scale = rstd if weight is None else rstd * weight
            grad_x = (h * per_channel(scale, h.dim())).to(ctx.x_dtype)
        if ctx.needs_input_grad[1]:
            grad_residual = h.to(ctx.x_dtype)
        if ctx.needs_input_grad[4]:
            x_hat = (x - per_channel(mean, x.dim())) * per_channel(rstd, x.dim())
            grad_weight = (h * x_hat).sum(axes).to(weight.dtype)
        if ctx.needs_input_grad[5]:
            grad_bias = h.sum(axes).to(ctx.bias_dtype)
        return grad_x, grad_residual, None, None, grad_weight, grad_bias, None, None, None


def batch_norm_activation(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
    *,
    residual: Tensor | None = None,
    negative_slope: float = 0.0,
    window: Ints = (),
) -> Tensor:
    """Batch normalization, a sum, ReLU and a max-pool: ``max_pool(relu(batch_norm(x) + residual))``.

    Args:
        input: shape (B, C, *I).
        running_mean, running_var, weight, bias, training, momentum, eps: as of :func:`batch_norm`.
        residual: added before the activation; shape and dtype of the input.
        negative_slope: 0 for ReLU, between 0 and 1 for LeakyReLU, 1 for no activation.
        window: elements along each axis of I in the windows of the pool, which lie side by side, 128 in all
            at most; () for no pool.

    Raises:
        RuntimeError: if the shapes or dtypes do not fit, or statistics are needed and missing.
        ValueError: if ``eps`` is not positive, ``negative_slope`` is negative, or neither 0 nor 1 with a
            residual, ``window`` does not fit, or a channel has one value only in training.
    """
    name = "batch_norm_activation"
    check_batch_norm(name, input, running_mean, running_var, weight, bias, training, eps)
    if residual is not None:
        check_tensors(name, residual=residual)
        check_same_dtype(name, input, residual=residual)
        if residual.shape != input.shape:
            raise RuntimeError(
                f"{name}: the residual must have the shape of the input, {list(input.shape)}, but has "
                f"{list(residual.shape)}"
            )
    if not negative_slope >= 0 or (residual is not None and negative_slope not in (0, 1)):
        raise ValueError(
            f"{name}: negative_slope must be 0 or more, with a residual 0 or 1, but got {negative_slope}"
        )
    if window and (len(window) != input.dim() - 2 or not 1 <= math.prod(window) <= LARGEST_WINDOW):
        raise ValueError(
            f"{name}: window must have a length for each of the {input.dim() - 2} axes behind the channels, "
            f"and {LARGEST_WINDOW} elements at most, but got {window}"
        )
    options = (float(negative_slope), tuple(window), eps)
    if not training:
        tensors = (input, residual, running_mean, running_var, weight, bias)
        return apply(BatchNormActivationEvalFunction, *tensors, *options)[0]
    y, mean, var, _ = apply(BatchNormActivationFunction, input, residual, weight, bias, *options)
    track(input, running_mean, running_var, mean, var, momentum)
    return y


def slope_of(activation: Any) -> float | None:
    """The slope of an activation where its input is negative; None if it is none that this page has."""
    if activation is None:
        return 1.0
    if isinstance(activation, float):
        return activation
    if type(activation) in RELUS:
        return 0.0
    if type(activation) in LEAKY_RELUS and activation.negative_slope >= 0:
        return activation.negative_slope
    return 1.0 if type(activation) in (nn.Identity, Identity) else None


def window_of(pool: Any) -> Ints | None:
    """The window of a max-pool; None if it is none that this page has: windows must lie side by side."""
    if pool is None:
        return ()
    if isinstance(pool, tuple):
        return pool
    if type(pool) not in POOLS:
        return None
    kernel, stride, *others = (
        per_axis("max_pool", "kernel_size", option, POOLS[type(pool)])
        for option in (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
    )
    simple = (0,) * len(kernel), (1,) * len(kernel)
    if kernel != stride or tuple(others) != simple or pool.ceil_mode or pool.return_indices:
        return None
    return kernel if math.prod(kernel) <= LARGEST_WINDOW else None


def normalize_activate_pool(
    input: Tensor,
    norm: Any,
    activation: Any = None,
    pool: Any = None,
    residual: Tensor | None = None,
) -> Any:
    """What these modules compute, one after the other; in one where it can be.

    Args:
        norm: a module.
        activation: a module, or the slope of a LeakyReLU, or None.
        pool: a module, or the window of a max-pool, or None.
    """
    check_tensors("BatchNormActivation", input=input)
    check_optional("BatchNormActivation", residual=residual)
    slope, window = slope_of(activation), window_of(pool)
    fits = type(norm) in NORMS and slope is not None and window is not None
    if residual is not None:
        same = residual.shape == input.shape and residual.dtype == input.dtype
        fits = fits and same and slope in (0, 1)
    if window is not None and len(window) == 3:
        fits = fits and not autocasting(input)  # which computes max_pool3d, and no other pool, in float32
    if fits and not any(observed(m) for m in (norm, activation, pool) if isinstance(m, nn.Module)):
        norm._check_input_dim(input)
        options = {"residual": residual, "negative_slope": slope, "window": window}
        return batch_norm_activation(input, *arguments(norm), **options)
    y = norm(input)
    y = y if residual is None else y + residual
    if activation is not None:
        y = leaky_relu(y, activation) if isinstance(activation, float) else activation(y)
    if pool is None:
        return y
    return MAX_POOL[len(pool)](y, pool) if isinstance(pool, tuple) else pool(y)


class BatchNormActivation(nn.Sequential):
    """A BatchNorm, an activation and a max-pool, in this order, with one hand-written backward.

    Constructor, parameters, buffers and output are those of :class:`torch.nn.Sequential`; ``forward`` also
    takes a residual, which is added to what the norm returns::

        block = BatchNormActivation(nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2))

    Args:
        layers: a BatchNorm1d, 2d or 3d; a ReLU, LeakyReLU or Identity, or none; a MaxPool whose windows lie
            side by side, or none. Torch's or ours.

    Raises:
        TypeError: if they are others.
    """

    def __init__(self, *layers):
        super().__init__(*layers)
        norm, activation, pool = in_order(self)
        if type(norm) not in NORMS or slope_of(activation) is None or window_of(pool) is None:
            raise TypeError(
                "BatchNormActivation: expected a BatchNorm, then at most a ReLU, LeakyReLU or Identity, then "
                "at most a MaxPool whose windows lie side by side (stride=kernel_size, padding=0, "
                f"dilation=1) and have {LARGEST_WINDOW} elements at most, but got {list(self)}"
            )

    def forward(self, input: Tensor, residual: Tensor | None = None) -> Tensor:
        norm, activation, pool = in_order(self)
        return normalize_activate_pool(input, norm, activation, pool, residual)


def in_order(block: nn.Sequential) -> tuple:
    """Norm, activation and pool, each None if it is missing; all None if there are others."""
    layers = list(block)
    norm = layers.pop(0) if layers else None
    pool = layers.pop() if layers and type(layers[-1]) in POOLS else None
    activation = layers.pop() if layers else None
    return (None, None, None) if layers else (norm, activation, pool)
