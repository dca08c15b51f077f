"""Kernels of ``layers/conv.py``: the library's contraction in place of windows written out.

Forward and the gradient of the input are the formula's: a convolution and a transposed one, each of which
oneDNN computes at the speed of the machine. The gradient of the weight,

    ∂L/∂w_abk = Σ_{n,o} g_nao x_nb(s o + d k − p)

contracts two tensors that are there, as a matrix product does. The formula writes out what every tap sees,
as many copies of x as the kernel has taps, and leaves the rest to matmul. The same contraction without the
copies is a primitive of every library of convolutions (oneDNN's and cuDNN's wgrad), and ATen has no name for
it but ``convolution_backward``, asked for the weight alone. This is the one place of this package that calls
an operator with such a name; the formula is its oracle.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...layers.conv import ConvFunction, ConvTransposeFunction, crop, per_channel_sum
from .. import Twin, plain

__all__ = ["TWINS"]

# Of the gradients of the input, the weight and the bias.
WEIGHT_ALONE = (False, True, False)


def contraction(g: Tensor, x: Tensor, weight: Tensor | None, options: tuple) -> Tensor:
    """The weight's gradient alone. Of ``weight`` the shape is read, and no number."""
    return torch.ops.aten.convolution_backward(g, x, weight, None, *options, WEIGHT_ALONE)[1]


class ConvCPU(ConvFunction):
    @staticmethod
    def backward(ctx, grad_y: Tensor):
        if not plain(grad_y):
            return ConvFunction.backward(ctx, grad_y)
        x, weight = ctx.saved_tensors
        s, p, d = ctx.stride, ctx.padding, ctx.dilation
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            rest = tuple(
                (i + 2 * p_ - d_ * (k - 1) - 1) % s_
                for i, k, s_, p_, d_ in zip(ctx.size, ctx.kernel, s, p, d)
            )
            grad_x = torch.convolution(grad_y, weight, None, s, p, d, True, rest, ctx.groups)
        if ctx.needs_input_grad[1]:
            if weight is None:
                weight = x.new_empty(grad_y.shape[1], x.shape[1] // ctx.groups, *ctx.kernel)
            options = (s, p, d, False, (0,) * len(s), ctx.groups)
            grad_weight = contraction(grad_y, x, weight, options)
        if ctx.needs_input_grad[2]:
            grad_bias = per_channel_sum(grad_y)
        return grad_x, grad_weight, grad_bias, None, None, None, None


class ConvTransposeCPU(ConvTransposeFunction):
    @staticmethod
    def backward(ctx, grad_x: Tensor):
        if not plain(grad_x):
            return ConvTransposeFunction.backward(ctx, grad_x)
        y, weight = ctx.saved_tensors
        s, p, d = ctx.stride, ctx.padding, ctx.dilation
        grad_y = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_y = torch.convolution(grad_x, weight, None, s, p, d, False, (0,) * len(s), ctx.groups)
            for axis, size in enumerate(ctx.size, start=2):
                grad_y = crop(grad_y, axis, size)
        if ctx.needs_input_grad[1]:
            if weight is None:
                weight = y.new_empty(y.shape[1], grad_x.shape[1] // ctx.groups, *ctx.kernel)
            output_padding = tuple(
                i - (o - 1) * s_ + 2 * p_ - d_ * (k - 1) - 1
                for i, o, k, s_, p_, d_ in zip(grad_x.shape[2:], ctx.size, ctx.kernel, s, p, d)
            )
            grad_weight = contraction(grad_x, y, weight, (s, p, d, True, output_padding, ctx.groups))
        if ctx.needs_input_grad[2]:
            grad_bias = per_channel_sum(grad_x)
        return grad_y, grad_weight, grad_bias, None, None, None, None, None


TWINS = {ConvFunction: Twin(ConvCPU), ConvTransposeFunction: Twin(ConvTransposeCPU)}
