"""A convolution and the batch normalization behind it, in one.

Of two linear maps in a row one half is for nothing. In training the statistics are taken off what a bias has
added: the bias reaches no output, and its gradient is zero. With given statistics the normalization is itself
linear, a factor and a shift for each channel, and goes into the weight and the bias of the convolution.
"""

from __future__ import annotations

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
from .conv import Conv1d, Conv2d, Conv3d, input_gradient, per_channel_sum, weight_gradient
from .normalization import per_channel

__all__ = ["ConvBatchNorm", "ConvBatchNormEvalFunction", "ConvBatchNormFunction", "conv_batch_norm"]

CONVS = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3, Conv1d: 1, Conv2d: 2, Conv3d: 3}
NORMS = {
    nn.BatchNorm1d: 1,
    nn.BatchNorm2d: 2,
    nn.BatchNorm3d: 3,
    BatchNorm1d: 1,
    BatchNorm2d: 2,
    BatchNorm3d: 3,
}


def convolve(x: Tensor, weight: Tensor, stride: Ints, padding: Ints, dilation: Ints, groups: int) -> Tensor:
    """u = w ∗ x, as on the page of the convolution, without a bias."""
    return torch.convolution(x, weight, None, stride, padding, dilation, False, (0,) * len(stride), groups)


class ConvBatchNormFunction(Function):
    """Convolve, then standardize each channel with the statistics of the batch, scale and shift it.

    Forward    u = w ∗ x,   μ = mean(u),  σ² = mean((u − μ)²),   û = (u − μ) r  with  r = (σ² + ε)^(−1/2)
               y = û γ + β  with weight γ and bias β of the norm.   A bias b of the convolution would move u
               and μ alike: u + b − (μ + b) = u − μ
    Backward   g = ∂L/∂y,  ĝ = g γ = ∂L/∂û.   From û back to u as in BatchNorm:
               ∂L/∂γ = Σ g û,   ∂L/∂β = Σ g
               h = ∂L/∂u = r γ (g − Σg / N − û Σ(g û) / N)
               From u back as in Conv, with h in g's place:
               ∂L/∂x = the transposed convolution of h with w,   ∂L/∂w = the contraction of h with x
               ∂L/∂b = 0:  no y depends on b.  (It is Σ h: û adds up to 0, and so does g − Σg / N)
    Shapes     x: (B, C, *I);   w: (A, C/groups, *K);   u, y: (B, A, *O);   b, γ, β: (A) or None;   μ, σ²: (A)
               N = elements of u / A
    Saves      x, w, γ, u, μ, σ²
    Source     Ioffe, Szegedy 2015, arXiv:1502.03167, section 3.2
    """

    @staticmethod
    def forward(
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        gamma: Tensor | None,
        beta: Tensor | None,
        stride: Ints,
        padding: Ints,
        dilation: Ints,
        groups: int,
        eps: float,
    ):
        u = convolve(x, weight, stride, padding, dilation, groups)
        mean, var = batch_statistics(u)
        rstd = torch.rsqrt(var + eps)
        scale = rstd if gamma is None else rstd * gamma
        y = (u - per_channel(mean, u.dim())) * per_channel(scale, u.dim())
        y = y if beta is None else y + per_channel(beta, u.dim())
        return y.to(x.dtype), mean, var, u

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, _, gamma, beta, *ctx.options, ctx.eps = inputs
        _, mean, var, u = output
        ctx.beta_dtype = None if beta is None else beta.dtype
        ctx.mark_non_differentiable(mean, var, u)
        ctx.save_for_backward(x, weight, gamma, u, mean, var)

    @staticmethod
    def backward(ctx, grad_y: Tensor, _mean, _var, _u):
        x, weight, gamma, u, mean, var = ctx.saved_tensors
        if torch.is_grad_enabled():  # differentiated again: u, μ and σ² are functions of x and w
            u = convolve(x, weight, *ctx.options)
            mean, var = batch_statistics(u)
        count, ndim = max(values_per_channel(u), 1), u.dim()
        rstd = torch.rsqrt(var + ctx.eps)
        u_hat = (u - per_channel(mean, ndim)) * per_channel(rstd, ndim)
        g = wide(grad_y)
        sum_g = per_channel_sum(g)
        sum_g_u_hat = per_channel_sum(g * u_hat)
        scale = rstd if gamma is None else rstd * gamma
        h = g - per_channel(sum_g / count, ndim) - u_hat * per_channel(sum_g_u_hat / count, ndim)
        h = (h * per_channel(scale, ndim)).to(x.dtype)
        grad_x = grad_weight = grad_bias = grad_gamma = grad_beta = None
        if ctx.needs_input_grad[0]:
            grad_x = input_gradient(h, weight, tuple(x.shape[2:]), *ctx.options)
        if ctx.needs_input_grad[1]:
            grad_weight = weight_gradient(h, x, tuple(weight.shape[2:]), *ctx.options)
        if ctx.needs_input_grad[2]:
            grad_bias = weight.new_zeros(weight.shape[0])
        if ctx.needs_input_grad[3]:
            grad_gamma = sum_g_u_hat.to(gamma.dtype)
        if ctx.needs_input_grad[4]:
            grad_beta = sum_g.to(ctx.beta_dtype)
        return grad_x, grad_weight, grad_bias, grad_gamma, grad_beta, None, None, None, None, None


class ConvBatchNormEvalFunction(Function):
    """Convolve, then standardize with given statistics: one convolution, whose weight is scaled.

    Forward    s = γ (σ² + ε)^(−1/2),   v = s w,   t = (b − μ) s + β;   y = v ∗ x + t
    Backward   g = ∂L/∂y.   As in Conv:
               ∂L/∂x = the transposed convolution of g with v,   V = ∂L/∂v = the contraction of g with x
               t is added everywhere, ∂L/∂t = Σg.   v and t depend on w, s, b and β, channel by channel:
               ∂L/∂w = s V,   ∂L/∂b = s Σg,   ∂L/∂β = Σg
               ∂L/∂s = Σ V w + (b − μ) Σg,  the first over the channel's taps;   ∂L/∂γ = (σ² + ε)^(−1/2) ∂L/∂s
    Shapes     as above;   s, t: (A);   v, V: as w
    Saves      x if w or γ needs a gradient;  w, b, γ, μ, σ², but nothing of the size of y
    Source     Jacob et al. 2018, arXiv:1712.05877, section 3.2 (folding)
    """

    @staticmethod
    def forward(
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        mean: Tensor,
        var: Tensor,
        gamma: Tensor | None,
        beta: Tensor | None,
        stride: Ints,
        padding: Ints,
        dilation: Ints,
        groups: int,
        eps: float,
    ):
        scale = scale_of(var, gamma, eps)
        shift = (-wide(mean) if bias is None else bias - wide(mean)) * scale
        shift = shift if beta is None else shift + beta
        y = convolve(x, scaled(weight, scale), stride, padding, dilation, groups)
        return y.add_(per_channel(shift.to(x.dtype), y.dim()))

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, bias, mean, var, gamma, beta, *ctx.options, ctx.eps = inputs
        need_x = ctx.needs_input_grad[1] or ctx.needs_input_grad[5]
        ctx.size = tuple(x.shape[2:])
        ctx.beta_dtype = None if beta is None else beta.dtype
        ctx.save_for_backward(x if need_x else None, weight, bias, mean, var, gamma)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        x, weight, bias, mean, var, gamma = ctx.saved_tensors
        _, need_weight, _, _, _, need_gamma, *_ = ctx.needs_input_grad
        scale = scale_of(var, gamma, ctx.eps)
        sum_g = per_channel_sum(grad_y)
        grad_x = grad_weight = grad_bias = grad_gamma = grad_beta = None
        if ctx.needs_input_grad[0]:
            grad_x = input_gradient(grad_y, scaled(weight, scale), ctx.size, *ctx.options)
        if need_weight or need_gamma:
            grad_v = weight_gradient(grad_y, x, tuple(weight.shape[2:]), *ctx.options)
            grad_weight = scaled(grad_v, scale)
            grad_scale = wide(grad_v * weight).sum(list(range(1, weight.dim())))
            grad_scale = grad_scale + (-wide(mean) if bias is None else bias - wide(mean)) * sum_g
            grad_gamma = grad_scale * torch.rsqrt(wide(var) + ctx.eps)
        if ctx.needs_input_grad[2]:
            grad_bias = (scale * sum_g).to(bias.dtype)
        if ctx.needs_input_grad[6]:
            grad_beta = sum_g.to(ctx.beta_dtype)
        grad_weight = grad_weight if need_weight else None
        grad_gamma = grad_gamma.to(gamma.dtype) if need_gamma else None
        return grad_x, grad_weight, grad_bias, None, None, grad_gamma, grad_beta, *(None,) * 5


def scale_of(var: Tensor, gamma: Tensor | None, eps: float) -> Tensor:
    """s = γ (σ² + ε)^(−1/2)"""
    rstd = torch.rsqrt(wide(var) + eps)
    return rstd if gamma is None else rstd * gamma


def scaled(weight: Tensor, scale: Tensor) -> Tensor:
    """The weight of a convolution, each output channel times its factor."""
    return (weight * scale.reshape(-1, *(1,) * (weight.dim() - 1))).to(weight.dtype)


def conv_batch_norm(
    input: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
    *,
    stride: int | Ints = 1,
    padding: int | Ints = 0,
    dilation: int | Ints = 1,
    groups: int = 1,
) -> Tensor:
    """A convolution and a batch normalization: ``batch_norm(conv(x, conv_weight, conv_bias))``.

    Args:
        input: shape (B, C, *I), with one to three axes I.
        conv_weight: shape (A, C / groups, *K).
        conv_bias: shape (A); in training it moves ``running_mean`` and nothing else.
        running_mean, running_var, weight, bias, training, momentum, eps: as of :func:`batch_norm`.
        stride, padding, dilation, groups: as of :func:`conv2d`, in numbers.

    Raises:
        RuntimeError: if the shapes or dtypes do not fit, or statistics are needed and missing.
        ValueError: if ``eps`` is not positive, or a channel has one value only in training.
    """
    name, ndim = "conv_batch_norm", input.dim() - 2
    check_tensors(name, input=input, conv_weight=conv_weight)
    check_optional(name, conv_bias=conv_bias)
    check_same_dtype(name, input, conv_weight=conv_weight, conv_bias=conv_bias)
    if not 1 <= ndim <= 3 or conv_weight.dim() != input.dim():
        raise RuntimeError(
            f"{name}: expected an input (B, C, *I) with one to three axes I and a weight (A, C / groups, *K) "
            f"with as many axes K, but got shapes {list(input.shape)} and {list(conv_weight.shape)}"
        )
    stride, padding, dilation = (
        per_axis(name, option, value, ndim)
        for option, value in (("stride", stride), ("padding", padding), ("dilation", dilation))
    )
    places = [
        max(0, (i + 2 * p - d * (k - 1) - 1) // s + 1)
        for i, k, s, p, d in zip(input.shape[2:], conv_weight.shape[2:], stride, padding, dilation)
    ]
    options = (stride, padding, dilation, groups)
    # Of what is normalized the shape is known before it is there, so that all is checked at once.
    normal = input.new_empty(()).expand(input.shape[0], conv_weight.shape[0], *places)
    check_batch_norm(name, normal, running_mean, running_var, weight, bias, training, eps)
    tensors = (input, conv_weight, conv_bias)
    if not training:
        statistics = (running_mean, running_var)
        return apply(ConvBatchNormEvalFunction, *tensors, *statistics, weight, bias, *options, eps)
    y, mean, var, _ = apply(ConvBatchNormFunction, *tensors, weight, bias, *options, eps)
    mean = mean if conv_bias is None else mean + conv_bias.detach()
    track(y, running_mean, running_var, mean, var, momentum)
    return y


def convolve_normalize(input: Tensor, conv: Any, norm: Any) -> Tensor:
    """What a convolution and a BatchNorm compute, one after the other; in one where it can be."""
    check_tensors("ConvBatchNorm", input=input)
    fits = fit(conv, norm) and input.dim() == CONVS[type(conv)] + 2 and not autocasting(input)
    if not fits or observed(conv) or observed(norm):
        return norm(conv(input))
    options = {name: getattr(conv, name) for name in ("stride", "padding", "dilation", "groups")}
    return conv_batch_norm(input, conv.weight, conv.bias, *arguments(norm), **options)


def fit(conv: Any, norm: Any) -> bool:
    """Whether these modules are those that this page has."""
    known = type(conv) in CONVS and NORMS.get(type(norm)) == CONVS[type(conv)]
    return known and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


class ConvBatchNorm(nn.Sequential):
    """A convolution and a BatchNorm, with one hand-written backward.

    Constructor, parameters, buffers and output are those of :class:`torch.nn.Sequential`. In training the
    gradient of the convolution's bias is zero; torch has rounding in its place. Under autocast both layers
    are called apart, each in the precision that is its own::

        block = ConvBatchNorm(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16))

    Args:
        layers: a Conv1d, 2d or 3d, padded with zeros and by numbers; a BatchNorm for as many axes.

    Raises:
        TypeError: if they are others.
    """

    def __init__(self, *layers):
        super().__init__(*layers)
        if len(self) != 2 or not fit(*self):
            raise TypeError(
                "ConvBatchNorm: expected a convolution that pads with zeros, and not 'same' or 'valid', then "
                f"a BatchNorm for as many axes, but got {list(self)}"
            )

    def forward(self, input: Tensor) -> Tensor:
        return convolve_normalize(input, *self)
