"""Kernels of ``layers/conv.py``: the library's contraction in place of windows written out.

Forward and the gradient of the input are the formula's: a convolution and a transposed one, each of which
oneDNN computes at the speed of the machine. The gradient of the weight,

    ∂L/∂w_abk = Σ_{n,o} g_nao x_nb(s o + d k − p)

contracts two tensors that are there, as a matrix product does. The formula writes out what every tap sees,
as many copies of x as the kernel has taps, and leaves the rest to matmul. The same contraction without the
copies is a primitive of every library of convolutions (oneDNN's and cuDNN's wgrad), and ATen has no name for
it but ``convolution_backward``, asked for the weight alone. This is the one place of this package that calls
an operator with such a name; the formula is its oracle.

Of images with few channels, as every network's first layer gets them, the library makes less: it computes
eight channels at a time. The loops here take eight taps at a time. A sample's image is written out once for
each column of the kernel, shifted by it and padded, in rows as long as the output's, so that what a tap sees
at all places is one stretch of memory: an output is a sum of such stretches, a weight's gradient the inner
product of one with g.

Of 3x3 convolutions between many channels, which most networks consist of, the weight's gradient is the
slowest part for the library: see ``_winograd.py``.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from ...layers._spatial import Ints
from ...layers.conv import (
    ConvFunction,
    ConvTBCFunction,
    ConvTransposeFunction,
    crop,
    input_gradient,
    per_channel_sum,
)
from .. import Twin, plain
from . import _winograd
from ._jit import compiled, contiguous, inlined

__all__ = ["TWINS"]

# Of the gradients of the input, the weight and the bias.
WEIGHT_ALONE = (False, True, False)
# Samples are shared out in so many parts, whatever the number of threads, so that sums do not depend on it.
PARTS = 16
# Input channels up to which the loops here are faster than the library, forward and for the weight.
FEW_FORWARD, FEW_BACKWARD = 1, 3
# Bytes of what is written out of a sample, which has to stay in the cache.
CACHE = 2**18


@inlined
def write_out(x, seen, padding, margin, places):
    """seen[v, (i + padding) places + j] = x[i, j + v - margin]; around it are zeros, which stay."""
    height, width = x.shape
    for v in range(seen.shape[0]):
        first, last = max(0, margin - v), min(places, width + margin - v)
        for i in range(height):
            row = (i + padding) * places
            to, source = seen[v, row + first : row + last], x[i, first + v - margin : last + v - margin]
            for j in range(last - first):
                to[j] = source[j]


@inlined
def starts(channels, taps, across, plane, places):
    """Where in what is written out the stretch of each tap begins."""
    start = np.empty(channels * taps * across, np.int64)
    for b in range(channels):
        for u in range(taps):
            for v in range(across):
                start[(b * taps + u) * across + v] = (b * across + v) * plane + u * places
    return start


@inlined
def add_eight(y, seen, start, w):
    x0, x1, x2, x3 = seen[start[0] :], seen[start[1] :], seen[start[2] :], seen[start[3] :]
    x4, x5, x6, x7 = seen[start[4] :], seen[start[5] :], seen[start[6] :], seen[start[7] :]
    w0, w1, w2, w3, w4, w5, w6, w7 = w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]
    for o in range(y.size):
        first = w0 * x0[o] + w1 * x1[o] + w2 * x2[o] + w3 * x3[o]
        y[o] += first + w4 * x4[o] + w5 * x5[o] + w6 * x6[o] + w7 * x7[o]


@inlined
def dot_eight(g, seen, start, total):
    T = g.dtype.type
    x0, x1, x2, x3 = seen[start[0] :], seen[start[1] :], seen[start[2] :], seen[start[3] :]
    x4, x5, x6, x7 = seen[start[4] :], seen[start[5] :], seen[start[6] :], seen[start[7] :]
    t0, t1, t2, t3, t4, t5, t6, t7 = T(0), T(0), T(0), T(0), T(0), T(0), T(0), T(0)
    for o in range(g.size):
        t0 += g[o] * x0[o]
        t1 += g[o] * x1[o]
        t2 += g[o] * x2[o]
        t3 += g[o] * x3[o]
        t4 += g[o] * x4[o]
        t5 += g[o] * x5[o]
        t6 += g[o] * x6[o]
        t7 += g[o] * x7[o]
    total[0] += t0
    total[1] += t1
    total[2] += t2
    total[3] += t3
    total[4] += t4
    total[5] += t5
    total[6] += t6
    total[7] += t7


@compiled(x="n, b, h, w", weight="a, b * p * q", bias="a?", y="n, a, oh * ow")
def few_channels_forward(x, weight, bias, y, n, a, b, h, w, oh, ow, p, q, top, left, parts):
    T = x.dtype.type
    plane = (h + 2 * top) * ow
    taps = b * p * q
    for part in prange(parts):
        seen = np.zeros((b, q, plane), x.dtype)
        stretch = seen.reshape(-1)
        start = starts(b, p, q, plane, ow)
        total = np.empty(oh * ow, x.dtype)
        for s in range(part * n // parts, (part + 1) * n // parts):
            for c in range(b):
                write_out(x[s, c], seen[c], top, left, ow)
            for e in range(a):
                total[:] = bias[e] if bias.size else T(0)
                eights = taps // 8 * 8
                for k in range(0, eights, 8):
                    add_eight(total, stretch, start[k:], weight[e, k:])
                for k in range(eights, taps):
                    x0, w0 = stretch[start[k] :], weight[e, k]
                    for o in range(total.size):
                        total[o] += w0 * x0[o]
                y[s, e] = total


@compiled(x="n, b, h, w", g="n, a, oh * ow", grad_weight="parts, a, b * p * q")
def few_channels_weight(x, g, grad_weight, n, a, b, h, w, oh, ow, p, q, top, left, parts):
    T = x.dtype.type
    plane = (h + 2 * top) * ow
    taps = b * p * q
    for part in prange(parts):
        seen = np.zeros((b, q, plane), x.dtype)
        stretch = seen.reshape(-1)
        start = starts(b, p, q, plane, ow)
        grad_weight[part] = 0
        for s in range(part * n // parts, (part + 1) * n // parts):
            for c in range(b):
                write_out(x[s, c], seen[c], top, left, ow)
            for e in range(a):
                eights = taps // 8 * 8
                for k in range(0, eights, 8):
                    dot_eight(g[s, e], stretch, start[k:], grad_weight[part, e, k:])
                for k in range(eights, taps):
                    x0, total = stretch[start[k] :], T(0)
                    for o in range(oh * ow):
                        total += g[s, e, o] * x0[o]
                    grad_weight[part, e, k] += total


def few_channels(
    x: Tensor, kernel: Ints, places: Ints, stride: Ints, padding: Ints, dilation: Ints, most: int
) -> tuple | None:
    """What the loops above ask to know of a convolution of one group; None if they are not for it."""
    axes = len(kernel)
    if axes > 2 or x.shape[1] > most or any(s != 1 for s in (*stride, *dilation)) or not x.is_contiguous():
        return None
    h, p, oh, top = (1, 1, 1, 0) if axes == 1 else (x.shape[2], kernel[0], places[0], padding[0])
    w, q, ow, left = x.shape[-1], kernel[-1], places[-1], padding[-1]
    if x.shape[1] * q * (h + 2 * top) * ow * x.element_size() > CACHE or left >= q:
        return None
    return h, w, oh, ow, p, q, top, left, min(PARTS, x.shape[0])


def contraction(g: Tensor, x: Tensor, weight: Tensor, options: tuple) -> Tensor:
    """The weight's gradient alone. Of ``weight`` the shape is read, and no number."""
    return torch.ops.aten.convolution_backward(g, x, weight, None, *options, WEIGHT_ALONE)[1]


def weight_gradient(
    g: Tensor, x: Tensor, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Tensor:
    """The gradient of a convolution's weight, by the fastest of three ways."""
    n, b, a = x.shape[0], x.shape[1], g.shape[1]
    if groups == 1:
        sizes = few_channels(x, kernel, g.shape[2:], stride, padding, dilation, FEW_BACKWARD)
        if sizes is not None:
            sums = x.new_empty(sizes[-1], a, b, *kernel)
            few_channels_weight(x, g.contiguous(), sums, n, a, b, *sizes)
            return sums.sum(0)
        threes = tuple(kernel) == (3, 3) and all(s == 1 for s in (*stride, *dilation))
        if threes and _winograd.pays(n, a, b, g.shape[2:]):
            grad_weight = _winograd.weight_gradient(g, x, padding)
            if grad_weight is not None:
                return grad_weight
    options = (stride, padding, dilation, False, (0,) * len(stride), groups)
    return contraction(g, x, x.new_empty(a, b // groups, *kernel), options)


class ConvCPU(ConvFunction):
    @staticmethod
    def forward(
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Ints,
        padding: Ints,
        dilation: Ints,
        groups: int,
    ):
        kernel = weight.shape[2:]
        if weight.dim() != x.dim() or min(padding) < 0:  # which the library refuses
            return ConvFunction.forward(x, weight, bias, stride, padding, dilation, groups)
        places = tuple(i + 2 * p - k + 1 for i, p, k in zip(x.shape[2:], padding, kernel))
        sizes = few_channels(x, kernel, places, stride, padding, dilation, FEW_FORWARD)
        fits = weight.shape[1] == x.shape[1] and (bias is None or bias.shape == weight.shape[:1])
        if sizes is None or groups != 1 or min(places) < 1 or not fits or not x.numel() or not weight.numel():
            return ConvFunction.forward(x, weight, bias, stride, padding, dilation, groups)
        n, b = x.shape[:2]
        y = x.new_empty(n, len(weight), *places)
        few_channels_forward(x, weight.contiguous(), contiguous(bias), y, n, len(weight), b, *sizes)
        return y

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        if not plain(grad_y):
            return ConvFunction.backward(ctx, grad_y)
        x, weight = ctx.saved_tensors
        s, p, d = ctx.stride, ctx.padding, ctx.dilation
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = input_gradient(grad_y, weight, ctx.size, s, p, d, ctx.groups)
        if ctx.needs_input_grad[1]:
            grad_weight = weight_gradient(grad_y, x, ctx.kernel, s, p, d, ctx.groups)
        if ctx.needs_input_grad[2]:
            grad_bias = per_channel_sum(grad_y)
        return grad_x, grad_weight, grad_bias, None, None, None, None


class ConvTransposeCPU(ConvTransposeFunction):
    @staticmethod
    def backward(ctx, grad_x: Tensor):
        if not plain(grad_x) or not grad_x.numel():  # the library refuses an empty image
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


class ConvTBCCPU(ConvTBCFunction):
    """Steps in time are side by side in memory: each tap is a product of slices, and no window is copied."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, padding: int):
        return torch.conv_tbc(x.contiguous(), weight.contiguous(), bias, padding)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        length, channels, _ = ctx.size
        if not plain(grad_y) or not grad_y.numel() or ctx.padding >= length:
            return ConvTBCFunction.backward(ctx, grad_y)
        x, weight = ctx.saved_tensors
        g = grad_y.contiguous()
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            backwards, zero = weight.flip(0).transpose(1, 2), g.new_zeros(channels)
            grad_x = torch.conv_tbc(g.contiguous(), backwards.contiguous(), zero, length - 1 - ctx.padding)
        if ctx.needs_input_grad[1]:
            x, grad_weight = x.contiguous(), g.new_empty(ctx.size)
            for k in range(length):
                # Of the windows t those whose element t + k − p is not padding.
                first = max(ctx.padding - k, 0)
                last = max(first, min(g.shape[0], x.shape[0] + ctx.padding - k))
                seen = x[first + k - ctx.padding : last + k - ctx.padding].flatten(0, 1)
                torch.mm(seen.t(), g[first:last].flatten(0, 1), out=grad_weight[k])
        if ctx.needs_input_grad[2]:
            grad_bias = g.sum((0, 1))
        return grad_x, grad_weight, grad_bias, None


TWINS = {
    ConvFunction: Twin(ConvCPU),
    ConvTBCFunction: Twin(ConvTBCCPU),
    ConvTransposeFunction: Twin(ConvTransposeCPU),
}
