"""Normalization over the features of one sample: LayerNorm, GroupNorm, RMSNorm.

All of them divide by a statistic that is itself a function of the input, so an input x_j reaches an output
y_i by two ways: directly if i = j, and through the statistic for every i. The second way is what their
backward is about.
"""

from __future__ import annotations

import math

import torch
from torch import Size, Tensor, nn

from ..function import (
    FLOAT32_ON_ACCELERATOR,
    Function,
    apply,
    autocasting,
    check_floating,
    check_index,
    check_optional,
    own,
    wide,
    wide_dtype,
)

__all__ = [
    "GroupNorm",
    "GroupNormFunction",
    "LayerNorm",
    "LayerNormFunction",
    "RMSNorm",
    "RMSNormFunction",
    "group_norm",
    "layer_norm",
    "rms_norm",
]


def standardize(x: Tensor, axes: tuple[int, ...], eps: float) -> tuple[Tensor, Tensor]:
    """Mean μ and reciprocal standard deviation r = (σ² + ε)^(−1/2) over ``axes``, kept as axes of size 1."""
    mean = wide(x).mean(axes, keepdim=True)
    var = (x - mean).square().mean(axes, keepdim=True)
    return mean, torch.rsqrt(var + eps)


class LayerNormFunction(Function):
    """Standardize the last ``ndim`` axes (N elements each), then scale and shift.

    Forward    x̂ = (x − μ) r   with  μ = mean(x),  r = (σ² + ε)^(−1/2),  σ² = mean((x − μ)²)
               y = x̂ ⊙ w + b
    Backward   g = ∂L/∂y,  ĝ = g ⊙ w = ∂L/∂x̂.  x_j reaches x̂_i directly, through μ and through r:
               ∂μ/∂x_j = 1/N,   ∂σ²/∂x_j = 2 (x_j − μ)/N   (μ in it adds nothing: Σ_i (x_i − μ) = 0)
               ∂r/∂x_j = −½ r³ ∂σ²/∂x_j = −r³ (x_j − μ)/N = −r² x̂_j / N
               ∂x̂_i/∂x_j = r (δ_ij − 1/N) − (x_i − μ) r² x̂_j / N = r (δ_ij − 1/N − x̂_i x̂_j / N)
               summed with ĝ_i:   ∂L/∂x = r (ĝ − mean(ĝ) − x̂ mean(ĝ x̂))
               w and b are shared by all samples:   ∂L/∂w = Σ g x̂,   ∂L/∂b = Σ g
    Shapes     x, y: (*batch, *normalized);   w, b: (*normalized) or None
    Saves      x, w, μ, r  (not x̂: one fused multiply-add brings it back)
    Source     Ba, Kiros, Hinton 2016, arXiv:1607.06450
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor | None, bias: Tensor | None, ndim: int, eps: float):
        mean, rstd = standardize(x, tuple(range(-ndim, 0)), eps)
        y = (x - mean) * rstd
        y = y if weight is None else y * weight
        y = y if bias is None else y + bias
        return y.to(x.dtype), mean, rstd

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, bias, ctx.ndim, ctx.eps = inputs
        _, mean, rstd = output
        ctx.bias_dtype = None if bias is None else bias.dtype
        ctx.mark_non_differentiable(mean, rstd)
        ctx.save_for_backward(x, weight, mean, rstd)

    @staticmethod
    def backward(ctx, grad_y: Tensor, _mean, _rstd):
        x, weight, mean, rstd = ctx.saved_tensors
        axes = tuple(range(-ctx.ndim, 0))
        if torch.is_grad_enabled():  # differentiated again: μ and r are functions of x, not constants
            mean, rstd = standardize(x, axes, ctx.eps)
        x_hat = (x - mean) * rstd
        normalized = x.shape[-ctx.ndim :]
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            g_hat = wide(grad_y) if weight is None else wide(grad_y) * weight
            mean_g = g_hat.mean(axes, keepdim=True)
            mean_g_x_hat = (g_hat * x_hat).mean(axes, keepdim=True)
            grad_x = rstd * (g_hat - mean_g - x_hat * mean_g_x_hat)
            grad_x = grad_x.to(x.dtype)
        if ctx.needs_input_grad[1]:
            grad_weight = (grad_y * x_hat).sum_to_size(normalized).to(weight.dtype)
        if ctx.needs_input_grad[2]:
            grad_bias = wide(grad_y).sum_to_size(normalized).to(ctx.bias_dtype)
        return grad_x, grad_weight, grad_bias, None, None


def layer_norm(
    input: Tensor,
    normalized_shape: list[int] | Size | tuple[int, ...],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Layer normalization, as :func:`torch.nn.functional.layer_norm`.

    Args:
        input: shape (*, *normalized_shape).
        normalized_shape: the last axes, over which mean and variance are taken.
        weight, bias: shape (*normalized_shape).
        eps: added to the variance.

    Raises:
        RuntimeError: if the input does not end in ``normalized_shape``, or weight or bias have another shape.
    """
    check_layer_norm("layer_norm", input, normalized_shape, weight, bias)
    ndim = len(normalized_shape)
    return apply(LayerNormFunction, input, weight, bias, ndim, eps, autocast=FLOAT32_ON_ACCELERATOR)[0]


def check_layer_norm(
    name: str, input: Tensor, normalized_shape, weight: Tensor | None, bias: Tensor | None
) -> None:
    """Raise unless these fit each other."""
    if not _usual(input, normalized_shape, weight, bias):
        plain = weight is None and bias is None
        check_floating(name, NotImplementedError if plain else RuntimeError, input=input)
        _check_normalized_shape(name, input, normalized_shape, weight=weight, bias=bias)
        check_dtypes(name, input, weight=weight, bias=bias)


class LayerNorm(nn.LayerNorm):
    """:class:`torch.nn.LayerNorm` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


class GroupNormFunction(Function):
    """Standardize groups of channels within each sample, then scale and shift each channel.

    Forward    the channels of a sample are cut into G groups; within a group (N elements) as in LayerNorm
               x̂ = (x − μ) r,   y = x̂ ⊙ w + b,   w and b per channel
    Backward   ĝ = g ⊙ w.  The same two ways from x to x̂ as in LayerNorm, within a group:
               ∂L/∂x = r (ĝ − mean(ĝ) − x̂ mean(ĝ x̂))
               a channel's w and b are shared by all samples and positions:   ∂L/∂w = Σ g x̂,   ∂L/∂b = Σ g
    Shapes     x, y: (B, C, *);   w, b: (C) or None;   μ, r: (B, G, 1)
    Saves      x, w, μ, r
    Source     Wu, He 2018, arXiv:1803.08494
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor | None, bias: Tensor | None, num_groups: int, eps: float):
        groups = grouped(x, num_groups)
        mean, rstd = standardize(groups, (2,), eps)
        y = ((groups - mean) * rstd).reshape(x.shape)
        y = y if weight is None else y * per_channel(weight, x.dim())
        y = y if bias is None else y + per_channel(bias, x.dim())
        return own(y.to(x.dtype)), mean, rstd

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, bias, ctx.num_groups, ctx.eps = inputs
        _, mean, rstd = output
        ctx.bias_dtype = None if bias is None else bias.dtype
        ctx.mark_non_differentiable(mean, rstd)
        ctx.save_for_backward(x, weight, mean, rstd)

    @staticmethod
    def backward(ctx, grad_y: Tensor, _mean, _rstd):
        x, weight, mean, rstd = ctx.saved_tensors
        groups = grouped(x, ctx.num_groups)
        if torch.is_grad_enabled():  # differentiated again: μ and r are functions of x, not constants
            mean, rstd = standardize(groups, (2,), ctx.eps)
        x_hat = (groups - mean) * rstd
        others = [axis for axis in range(x.dim()) if axis != 1]
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            g_hat = wide(grad_y) if weight is None else wide(grad_y) * per_channel(weight, x.dim())
            g_hat = g_hat.reshape(groups.shape)
            mean_g = g_hat.mean(2, keepdim=True)
            mean_g_x_hat = (g_hat * x_hat).mean(2, keepdim=True)
            grad_x = rstd * (g_hat - mean_g - x_hat * mean_g_x_hat)
            grad_x = grad_x.reshape(x.shape).to(x.dtype)
        if ctx.needs_input_grad[1]:
            grad_weight = (grad_y * x_hat.reshape(x.shape)).sum(others).to(weight.dtype)
        if ctx.needs_input_grad[2]:
            grad_bias = wide(grad_y).sum(others).to(ctx.bias_dtype)
        return grad_x, grad_weight, grad_bias, None, None


def grouped(x: Tensor, num_groups: int) -> Tensor:
    """The elements of each group in one axis: (B, C, *) -> (B, G, N)."""
    return x.reshape(x.shape[0], num_groups, math.prod(x.shape[1:]) // num_groups)


def per_channel(parameter: Tensor, ndim: int) -> Tensor:
    """A parameter of shape (C), shaped to meet axis 1 of a tensor with ``ndim`` axes."""
    return parameter.reshape(-1, *(1,) * (ndim - 2))


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Group normalization, as :func:`torch.nn.functional.group_norm`.

    Args:
        input: shape (B, C, *).
        num_groups: number of groups, a divisor of C.
        weight, bias: shape (C).
        eps: added to the variance.

    Raises:
        RuntimeError: if the shapes do not fit.
        ValueError: if there is one element in all for each group, which standardizing would turn into 0.
    """
    plain = weight is None and bias is None
    check_floating("group_norm", NotImplementedError if plain else RuntimeError, input=input)
    if input.dim() < 2:
        raise RuntimeError(f"group_norm: expected an input (B, C, *), but got shape {list(input.shape)}")
    channels = input.shape[1]
    check_index("group_norm", num_groups=num_groups)
    if num_groups <= 0 or channels % num_groups:
        raise RuntimeError(
            f"group_norm: num_groups={num_groups} must divide the number of channels, but the input of shape "
            f"{list(input.shape)} has {channels}"
        )
    check_per_channel("group_norm", input, weight=weight, bias=bias)
    if input.numel() // num_groups == 1:
        raise ValueError(
            "group_norm: expected more than 1 value per channel when training, but got input size "
            f"{list(input.shape)} in {num_groups} groups"
        )
    return apply(GroupNormFunction, input, weight, bias, num_groups, eps, autocast=FLOAT32_ON_ACCELERATOR)[0]


class GroupNorm(nn.GroupNorm):
    """:class:`torch.nn.GroupNorm` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


def inverse_rms(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    """Reciprocal root mean square r = (mean(x²) + ε)^(−1/2) over ``axes``, kept as axes of size 1."""
    return torch.rsqrt(wide(x).square().mean(axes, keepdim=True) + eps)


class RMSNormFunction(Function):
    """Divide the last ``ndim`` axes (N elements each) by their root mean square, then scale.

    Forward    x̂ = x r   with  r = (mean(x²) + ε)^(−1/2),   y = x̂ ⊙ w
    Backward   ĝ = g ⊙ w = ∂L/∂x̂.  x_j reaches x̂_i directly and through r:
               ∂r/∂x_j = −½ r³ · 2 x_j / N = −r² x̂_j / N
               ∂x̂_i/∂x_j = r δ_ij − x_i r² x̂_j / N = r (δ_ij − x̂_i x̂_j / N)
               summed with ĝ_i:   ∂L/∂x = r (ĝ − x̂ mean(ĝ x̂)),   ∂L/∂w = Σ g x̂
    Shapes     x, y: (*batch, *normalized);   w: (*normalized) or None
    Saves      x, w, r
    Source     Zhang, Sennrich 2019, arXiv:1910.07467
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor | None, ndim: int, eps: float):
        rrms = inverse_rms(x, tuple(range(-ndim, 0)), eps)
        y = x * rrms
        y = y if weight is None else y * weight
        return y.to(x.dtype), rrms

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, ctx.ndim, ctx.eps = inputs
        _, rrms = output
        ctx.mark_non_differentiable(rrms)
        ctx.save_for_backward(x, weight, rrms)

    @staticmethod
    def backward(ctx, grad_y: Tensor, _rrms):
        x, weight, rrms = ctx.saved_tensors
        axes = tuple(range(-ctx.ndim, 0))
        if torch.is_grad_enabled():  # differentiated again: r is a function of x, not a constant
            rrms = inverse_rms(x, axes, ctx.eps)
        x_hat = x * rrms
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            g_hat = wide(grad_y) if weight is None else wide(grad_y) * weight
            mean_g_x_hat = (g_hat * x_hat).mean(axes, keepdim=True)
            grad_x = (rrms * (g_hat - x_hat * mean_g_x_hat)).to(x.dtype)
        if ctx.needs_input_grad[1]:
            grad_weight = (grad_y * x_hat).sum_to_size(x.shape[-ctx.ndim :]).to(weight.dtype)
        return grad_x, grad_weight, None, None


def rms_norm(
    input: Tensor,
    normalized_shape: list[int] | Size | tuple[int, ...],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Root mean square normalization, as :func:`torch.nn.functional.rms_norm`.

    Args:
        input: shape (*, *normalized_shape).
        normalized_shape: the last axes, over which the mean square is taken.
        weight: shape (*normalized_shape).
        eps: added to the mean square; None takes the machine epsilon of the precision that it is computed in.

    Raises:
        RuntimeError: if the input does not end in ``normalized_shape``, or the weight has another shape.
    """
    if not _usual(input, normalized_shape, weight):
        check_floating("rms_norm", input=input)
        _check_normalized_shape("rms_norm", input, normalized_shape, weight=weight)
    if eps is None:
        eps = torch.finfo(torch.float64 if input.dtype == torch.float64 else torch.float32).eps
    ndim = len(normalized_shape)
    return apply(RMSNormFunction, input, weight, ndim, eps, autocast=FLOAT32_ON_ACCELERATOR)[0]


class RMSNorm(nn.RMSNorm):
    """:class:`torch.nn.RMSNorm` with a hand-written backward."""

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.normalized_shape, self.weight, self.eps)


def _usual(input: Tensor, normalized_shape, *parameters: Tensor | None) -> bool:
    """Whether the checks below would find nothing, seen in a tenth of their time; False may be wrong."""
    if not isinstance(input, Tensor) or not input.is_floating_point():
        return False
    shape = tuple(normalized_shape)
    whole = bool(shape) and float not in map(type, shape)
    return whole and input.shape[-len(shape) :] == shape and all_alike(input.dtype, shape, *parameters)


def all_alike(dtype: torch.dtype, shape: tuple[int, ...], *parameters: Tensor | None) -> bool:
    """Whether all parameters are None or have this dtype and shape."""
    for parameter in parameters:
        if parameter is not None and not (
            isinstance(parameter, Tensor) and parameter.dtype is dtype and parameter.shape == shape
        ):
            return False
    return True


def _check_normalized_shape(name: str, input: Tensor, normalized_shape, **parameters: Tensor | None) -> None:
    check_optional(name, **parameters)
    if any(isinstance(size, float) for size in normalized_shape):
        raise TypeError(f"{name}: normalized_shape must be of whole numbers, but got {normalized_shape}")
    if not normalized_shape or tuple(input.shape[-len(normalized_shape) :]) != tuple(normalized_shape):
        raise RuntimeError(
            f"{name}: normalized_shape={list(normalized_shape)} must be the last axes of the input, "
            f"but the input has shape {list(input.shape)}"
        )
    for argument, parameter in parameters.items():
        if parameter is not None and tuple(parameter.shape) != tuple(normalized_shape):
            raise RuntimeError(
                f"{name}: {argument} must have shape normalized_shape={list(normalized_shape)}, "
                f"but has {list(parameter.shape)}"
            )


def check_per_channel(name: str, input: Tensor, **parameters: Tensor | None) -> None:
    """Raise RuntimeError unless every parameter has shape (C), and a dtype that goes with the input's."""
    channels = input.shape[1]
    if input.is_floating_point() and all_alike(input.dtype, (channels,), *parameters.values()):
        return
    check_dtypes(name, input, **parameters)
    for argument, parameter in parameters.items():
        if parameter is not None and tuple(parameter.shape) != (channels,):
            raise RuntimeError(
                f"{name}: {argument} must have one element per channel, shape [{channels}], "
                f"but has {list(parameter.shape)}"
            )


def check_dtypes(name: str, input: Tensor, **parameters: Tensor | None) -> None:
    """Raise RuntimeError unless parameters have the input's dtype, or float32 for an input of a half type."""
    check_floating(name, input=input)
    check_optional(name, **parameters)
    if autocasting(input):
        return
    for argument, parameter in parameters.items():
        if parameter is not None and parameter.dtype not in (input.dtype, wide_dtype(input.dtype)):
            raise RuntimeError(
                f"{name}: mixed dtype: the input is {input.dtype}, but {argument} is {parameter.dtype}; "
                "cast one of them"
            )
