"""Instance normalization: each channel of each sample is standardized by itself."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn

from ..function import Function, apply, check_floating, check_tensors, own, wide
from .batchnorm import BatchNormEvalFunction, move_running
from .normalization import check_per_channel, per_channel

__all__ = [
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "InstanceNormFunction",
    "instance_norm",
]


def instances(x: Tensor) -> Tensor:
    """The values of each instance in one axis: (B, C, *) -> (B, C, N)."""
    return x.reshape(x.shape[0], x.shape[1], math.prod(x.shape[2:]))


def instance_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean μ and (biased) variance σ² over the last axis, kept as an axis of size 1; 0 if it is empty."""
    count = max(x.shape[-1], 1)
    mean = wide(x).sum(-1, keepdim=True) / count
    var = (x - mean).square().sum(-1, keepdim=True) / count
    return mean, var


class InstanceNormFunction(Function):
    """Standardize each instance, which is one channel of one sample, then scale and shift each channel.

    Forward    μ = mean(x),  σ² = mean((x − μ)²)  over the N positions of an instance
               x̂ = (x − μ) r   with  r = (σ² + ε)^(−1/2),   y = x̂ w + b,   w and b per channel
    Backward   g = ∂L/∂y,  ĝ = g w = ∂L/∂x̂.  x_j reaches the x̂_i of its own instance, and no other: directly
               if i = j, and through μ and r for every i:
               ∂μ/∂x_j = 1/N,   ∂σ²/∂x_j = 2 (x_j − μ)/N   (μ in it adds nothing: Σ_i (x_i − μ) = 0)
               ∂r/∂x_j = −½ r³ ∂σ²/∂x_j = −r² x̂_j / N
               ∂x̂_i/∂x_j = r (δ_ij − 1/N) − (x_i − μ) r² x̂_j / N = r (δ_ij − 1/N − x̂_i x̂_j / N)
               summed with ĝ_i, where w is one number for the whole instance and comes out of the means:
               ∂L/∂x = r w (g − mean(g) − x̂ mean(g x̂))
               a channel's w and b are shared by its B instances, one of each sample:
               ∂L/∂w = Σ_samples Σ_positions g x̂,   ∂L/∂b = Σ_samples Σ_positions g
    Shapes     x, y: (B, C, *);   w, b: (C) or None;   μ, σ²: (B, C, 1);   N = positions of an instance
    Saves      x, w, μ, σ²
    Source     Ulyanov, Vedaldi, Lempitsky 2016, arXiv:1607.08022
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float):
        values = instances(x)
        mean, var = instance_statistics(values)
        rstd = torch.rsqrt(var + eps)
        scale = rstd if weight is None else rstd * per_channel(weight, 3)
        y = (values - mean) * scale
        y = y if bias is None else y + per_channel(bias, 3)
        return own(y.reshape(x.shape).to(x.dtype)), mean, var

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, bias, ctx.eps = inputs
        _, mean, var = output
        ctx.bias_dtype = None if bias is None else bias.dtype
        ctx.mark_non_differentiable(mean, var)
        ctx.save_for_backward(x, weight, mean, var)

    @staticmethod
    def backward(ctx, grad_y: Tensor, _mean, _var):
        x, weight, mean, var = ctx.saved_tensors
        values = instances(x)
        if torch.is_grad_enabled():  # differentiated again: μ and σ² are functions of x, not constants
            mean, var = instance_statistics(values)
        rstd = torch.rsqrt(var + ctx.eps)
        x_hat = (values - mean) * rstd
        g = wide(grad_y).reshape(values.shape)
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            scale = rstd if weight is None else rstd * per_channel(weight, 3)
            count = max(g.shape[-1], 1)
            mean_g = g.sum(-1, keepdim=True) / count
            mean_g_x_hat = (g * x_hat).sum(-1, keepdim=True) / count
            grad_x = scale * (g - mean_g - x_hat * mean_g_x_hat)
            grad_x = grad_x.reshape(x.shape).to(x.dtype)
        if ctx.needs_input_grad[1]:
            grad_weight = (g * x_hat).sum((0, 2)).to(weight.dtype)
        if ctx.needs_input_grad[2]:
            grad_bias = g.sum((0, 2)).to(ctx.bias_dtype)
        return grad_x, grad_weight, grad_bias, None


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Instance normalization, as :func:`torch.nn.functional.instance_norm`.

    Args:
        input: shape (B, C, *).
        running_mean, running_var: shape (C); used unless ``use_input_stats``, else updated in place (if
            given) with the mean over the samples of each instance's mean and unbiased variance:
            running ← (1 − momentum) running + momentum mean. An empty input leaves them as they are.
        weight, bias: shape (C).
        use_input_stats: whether the statistics are the instances' own.
        eps: added to the variance.

    Raises:
        RuntimeError: if the shapes do not fit, or statistics are needed and missing.
        ValueError: if an instance has one value only, which standardizing would turn into 0, or one of
            ``running_mean`` and ``running_var`` is given without the other.
        IndexError: if the input has fewer than two axes.
    """
    check_floating("instance_norm", input=input)
    positions = math.prod(input.shape[2:])
    if use_input_stats and positions == 1:
        raise ValueError(
            "instance_norm: expected more than 1 spatial element when training, "
            f"but got input size {list(input.shape)}"
        )
    if input.dim() < 2:
        raise IndexError(f"instance_norm: expected an input (B, C, *), but got shape {list(input.shape)}")
    if not use_input_stats and (running_mean is None or running_var is None):
        raise RuntimeError(
            "instance_norm: running_mean and running_var must be given when use_input_stats=False"
        )
    if (running_mean is None) != (running_var is None):
        raise ValueError("instance_norm: give both running_mean and running_var, or neither")
    check_per_channel(
        "instance_norm", input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias
    )
    if not use_input_stats:
        return apply(BatchNormEvalFunction, input, running_mean, running_var, weight, bias, eps)
    y, mean, var = apply(InstanceNormFunction, input, weight, bias, eps)
    if running_mean is not None and running_var is not None and input.numel():
        with torch.no_grad():
            move_running(running_mean, mean.mean((0, 2)), momentum)
            move_running(running_var, var.mean((0, 2)), momentum, positions / (positions - 1))
    return y


class _InstanceNorm(nn.modules.instancenorm._InstanceNorm):
    # An input without a batch axis is a batch of one sample.
    def forward(self, input: Tensor) -> Tensor:
        check_tensors(type(self).__name__, input=input)
        self._check_input_dim(input)
        batched = input.dim() > self._get_no_batch_dim()
        x = input if batched else input.unsqueeze(0)
        channels = x.shape[1]
        if channels != self.num_features:
            if self.affine:
                raise ValueError(
                    f"{type(self).__name__}: expected num_features={self.num_features} channels, "
                    f"but the input of shape {list(input.shape)} has {channels}"
                )
            warnings.warn(
                f"{type(self).__name__}: the input has {channels} channels and not "
                f"num_features={self.num_features}, which is not used because affine=False",
                stacklevel=2,
            )
        y = instance_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )
        return y if batched else y.squeeze(0)


class InstanceNorm1d(_InstanceNorm, nn.InstanceNorm1d):
    """:class:`torch.nn.InstanceNorm1d` with a hand-written backward."""


class InstanceNorm2d(_InstanceNorm, nn.InstanceNorm2d):
    """:class:`torch.nn.InstanceNorm2d` with a hand-written backward."""


class InstanceNorm3d(_InstanceNorm, nn.InstanceNorm3d):
    """:class:`torch.nn.InstanceNorm3d` with a hand-written backward."""
