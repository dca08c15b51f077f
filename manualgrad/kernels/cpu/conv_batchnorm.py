"""Kernels of ``layers/conv_batchnorm.py``: those of the convolution and of the normalization, in a row."""

from __future__ import annotations

import torch
from torch import Tensor

from ...layers._spatial import Ints
from ...layers.conv import input_gradient, per_channel_sum
from ...layers.conv_batchnorm import ConvBatchNormEvalFunction, ConvBatchNormFunction, scale_of, scaled
from .. import Twin, plain
from .batchnorm import dense, gradients, normalized
from .conv import ConvCPU, weight_gradient

__all__ = ["TWINS"]


class ConvBatchNormCPU(ConvBatchNormFunction):
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
        u = ConvCPU.forward(x, weight, None, stride, padding, dilation, groups)
        mean, var = u.new_empty(2, u.shape[1]).unbind()
        return normalized(u, gamma, beta, mean, var, eps, False), mean, var, u

    @staticmethod
    def backward(ctx, grad_y: Tensor, _mean, _var, _u):
        if not plain(grad_y):
            return ConvBatchNormFunction.backward(ctx, grad_y, _mean, _var, _u)
        x, weight, gamma, u, mean, var = ctx.saved_tensors
        need_x, need_weight, need_bias, *need_affine = ctx.needs_input_grad[:5]
        needed = (need_x or need_weight, *need_affine)
        h, grad_gamma, grad_beta = gradients(grad_y, u, gamma, mean, var, ctx.eps, False, needed)
        grad_x = grad_weight = None
        if h is not None and need_x:
            grad_x = input_gradient(h, weight, tuple(x.shape[2:]), *ctx.options)
        if h is not None and need_weight:
            grad_weight = weight_gradient(h, x, tuple(weight.shape[2:]), *ctx.options)
        grad_bias = weight.new_zeros(weight.shape[0]) if need_bias else None
        return grad_x, grad_weight, grad_bias, grad_gamma, grad_beta, None, None, None, None, None


class ConvBatchNormEvalCPU(ConvBatchNormEvalFunction):
    @staticmethod
    def backward(ctx, grad_y: Tensor):
        if not plain(grad_y):
            return ConvBatchNormEvalFunction.backward(ctx, grad_y)
        x, weight, bias, mean, var, gamma = ctx.saved_tensors
        need_x, need_weight, need_bias, _, _, need_gamma, need_beta, *_ = ctx.needs_input_grad
        scale, sum_g = scale_of(var, gamma, ctx.eps), per_channel_sum(grad_y)
        grad_x = grad_weight = grad_gamma = None
        if need_x:
            grad_x = input_gradient(grad_y, scaled(weight, scale), ctx.size, *ctx.options)
        if need_weight or need_gamma:
            grad_v = weight_gradient(grad_y, x, tuple(weight.shape[2:]), *ctx.options)
            grad_weight = scaled(grad_v, scale) if need_weight else None
            if need_gamma:
                from_shift = (-mean if bias is None else bias - mean) * sum_g
                grad_gamma = ((grad_v * weight).flatten(1).sum(1) + from_shift) * torch.rsqrt(var + ctx.eps)
        grad_bias = scale * sum_g if need_bias else None
        grad_beta = sum_g if need_beta else None
        return grad_x, grad_weight, grad_bias, None, None, grad_gamma, grad_beta, *(None,) * 5


TWINS = {
    ConvBatchNormFunction: Twin(
        ConvBatchNormCPU,
        takes=lambda x, weight, bias, gamma, beta, *options: dense(gamma, beta),
        asks="contiguous parameters",
    ),
    ConvBatchNormEvalFunction: Twin(ConvBatchNormEvalCPU),
}
