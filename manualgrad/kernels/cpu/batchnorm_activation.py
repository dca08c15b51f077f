"""Kernels of ``layers/batchnorm_activation.py``.

A channel is the unit of work. Its statistics are taken in a first pass over its planes, and everything else
is done in a second one, which often finds them in the cache. Forward writes the pooled output alone and a
byte for each of its elements; backward finds h from these bytes in both of its passes, at the winners alone.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import prange
from torch import Tensor

from ...layers.batchnorm_activation import BatchNormActivationEvalFunction, BatchNormActivationFunction
from .. import Twin, plain
from ._jit import compiled, contiguous, inlined
from .batchnorm import dense

__all__ = ["TWINS"]

# Elements that are summed up in float32; longer planes are summed in float64, piece by piece.
PIECE = 4096


@inlined
def sum_of(x):
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i]
    return total


@inlined
def squares_about(x, mu):
    total = x.dtype.type(0)
    for i in range(x.size):
        total += (x[i] - mu) * (x[i] - mu)
    return total


@inlined
def statistics(x, c):
    """Mean and variance of channel c of x, (n, channels, size)."""
    T = x.dtype.type
    n, _, size = x.shape
    sums, mean, squares, count = 0.0, 0.0, 0.0, 0.0
    for k in range(n):
        for start in range(0, size, PIECE):
            piece = x[k, c, start : start + PIECE]
            sum_ = sum_of(piece)
            mu = sum_ / T(piece.size)
            sums += sum_
            delta = np.float64(mu) - mean
            total = count + piece.size
            squares += np.float64(squares_about(piece, mu)) + delta * delta * count * piece.size / total
            mean += delta * piece.size / total
            count = total
    # Not the mean that moved along, which is NaN where infinities came by.
    return sums / max(count, 1.0), squares / max(count, 1.0)


@inlined
def before_activation(x, residual, mu, scale, b, v):
    # The residual is added in a loop of its own: a sum of three is rounded in one way in a loop's vectors and
    # in another in its remainder, and of two elements that are equal in x and residual one would win.
    for i in range(x.size):
        v[i] = (x[i] - mu) * scale + b
    if residual.size:
        for i in range(x.size):
            v[i] += residual[i]


@compiled(
    x="n, channels, size", residual="n, channels, size?", weight="channels?", bias="channels?",
    mean="channels", var="channels", y="n, channels, size",
)  # fmt: skip
def activated_forward(x, residual, weight, bias, mean, var, y, n, channels, size, eps, slope, training):
    T = x.dtype.type
    zero, a = T(0), T(slope)
    for c in prange(channels):
        if training:
            mean[c], var[c] = statistics(x, c)
        scale = (weight[c] if weight.size else T(1)) / np.sqrt(var[c] + T(eps))
        b = bias[c] if bias.size else zero
        for k in range(n):
            y_k = y[k, c]
            before_activation(x[k, c], residual[k, c], mean[c], scale, b, y_k)
            if a != T(1):
                for i in range(size):
                    v = y_k[i]
                    y_k[i] = (a * v if a != zero else zero) if v <= zero else v


@compiled(
    x="n, channels, size", g="n, channels, size", y="n, channels, size?", weight="channels?",
    bias="channels?", mean="channels", var="channels", grad_x="n, channels, size",
    grad_residual="n, channels, size?", grad_weight="channels", grad_bias="channels",
)  # fmt: skip
def activated_backward(
    x, g, y, weight, bias, mean, var, grad_x, grad_residual, grad_weight, grad_bias, n, channels, size, eps,
    slope, training,
):  # fmt: skip
    T = x.dtype.type
    zero, one, a = T(0), T(1), T(slope)
    for c in prange(channels):
        mu = mean[c]
        rstd = one / np.sqrt(var[c] + T(eps))
        scale = (weight[c] if weight.size else one) * rstd
        b = bias[c] if bias.size else zero
        sum_h, sum_h_x = 0.0, 0.0
        for k in range(n):
            x_k, g_k, y_k, h_k = x[k, c], g[k, c], y[k, c], grad_x[k, c]
            for i in range(size):
                v = y_k[i] if y.size else (x_k[i] - mu) * scale + b
                h_k[i] = (a * g_k[i] if a != zero else zero) if v <= zero else g_k[i]
            for start in range(0, size, PIECE):
                part, part_x = zero, zero
                for i in range(start, min(start + PIECE, size)):
                    part += h_k[i]
                    part_x += h_k[i] * (x_k[i] - mu)
                sum_h += part
                sum_h_x += part_x
        grad_bias[c] = sum_h
        grad_weight[c] = sum_h_x * rstd
        count = np.float64(n * size)
        shift, tilt = T(sum_h / count), T(sum_h_x * rstd * rstd / count)
        for k in range(n):
            x_k, h_k = x[k, c], grad_x[k, c]
            if grad_residual.size:
                grad_residual[k, c] = h_k
            if training:
                for i in range(size):
                    h_k[i] = (h_k[i] - shift - (x_k[i] - mu) * tilt) * scale
            else:
                for i in range(size):
                    h_k[i] = h_k[i] * scale


@inlined
def winners(v, height, width, kh, kw, m, place):
    """Of the plane v each window's maximum m and its place; of equals, and of several NaN, the first."""
    T = v.dtype.type
    for i in range(height // kh):
        row = i * (width // kw)
        for j in range(width // kw):
            first = i * kh * width + j * kw
            best, at = v[first], T(0)
            for tap in range(1, kh * kw):
                other = v[first + tap // kw * width + tap % kw]
                wins = (other > best) | ((other != other) & (best == best))
                best, at = (other, T(tap)) if wins else (best, at)
            m[row + j], place[row + j] = best, at


@inlined
def winners_of_fours(v, height, width, column, above, m, place):
    """The same for windows of 2 x 2, in two steps that are vectors: of each column, then of column pairs."""
    T = v.dtype.type
    half = width // 2
    for i in range(height // 2):
        upper, lower = v[2 * i * width : (2 * i + 1) * width], v[(2 * i + 1) * width : (2 * i + 2) * width]
        column_i, above_i = column[2 * i * half :], above[2 * i * half :]
        for j in range(2 * half):
            top, bottom = upper[j], lower[j]
            wins = (bottom > top) | ((bottom != bottom) & (top == top))
            column_i[j] = bottom if wins else top
            above_i[j] = T(2) if wins else T(0)
    for o in range((height // 2) * half):
        left, right = column[2 * o], column[2 * o + 1]
        p_left, p_right = above[2 * o], above[2 * o + 1] + T(1)
        # Not less, and in front where they are equal, or both NaN.
        first = p_right < p_left
        wins = (right > left) | ((right != right) & ((left == left) | first)) | ((right == left) & first)
        m[o] = right if wins else left
        place[o] = p_right if wins else p_left


@inlined
def finish(m, place, a, taps, y, winner):
    zero = y.dtype.type(0)
    for o in range(y.size):
        y[o] = (a * m[o] if a != zero else zero) if m[o] <= zero else m[o]
    for o in range(y.size):
        winner[o] = np.uint8(np.int32(place[o] + (taps if m[o] <= zero else zero)))


@compiled(
    x="n, channels, height, width", residual="n, channels, height, width?", weight="channels?",
    bias="channels?", mean="channels", var="channels", y="n, channels, height // kh, width // kw",
    winner="uint8: n, channels, height // kh, width // kw",
)  # fmt: skip
def pooled_forward(
    x, residual, weight, bias, mean, var, y, winner, n, channels, height, width, kh, kw, eps, slope, training
):
    T = x.dtype.type
    zero, a = T(0), T(slope)
    planes = x.reshape(n, channels, height * width)
    residuals = residual.reshape(n, channels, residual.size // max(n * channels, 1))
    places = (height // kh) * (width // kw)
    outputs, bytes_ = y.reshape(n, channels, places), winner.reshape(n, channels, places)
    for c in prange(channels):
        if training:
            mean[c], var[c] = statistics(planes, c)
        scale = (weight[c] if weight.size else T(1)) / np.sqrt(var[c] + T(eps))
        b = bias[c] if bias.size else zero
        v = np.empty(height * width, x.dtype)
        column, above = np.empty(height * width, x.dtype), np.empty(height * width, x.dtype)
        m, place = np.empty(places, x.dtype), np.empty(places, x.dtype)
        for k in range(n):
            before_activation(planes[k, c], residuals[k, c], mean[c], scale, b, v)
            if kh == 2 and kw == 2:
                winners_of_fours(v, height, width, column, above, m, place)
            else:
                winners(v, height, width, kh, kw, m, place)
            y_k, winner_k = outputs[k, c], bytes_[k, c]
            finish(m, place, a, T(kh * kw), y_k, winner_k)


@inlined
def where_windows_lie(height, width, kh, kw):
    """In a plane, the first element of each window; in a window, where an element lies, by winner's byte."""
    rows, columns, taps = height // kh, width // kw, kh * kw
    first, behind = np.empty(rows * columns, np.int64), np.empty(2 * taps, np.int64)
    for i in range(rows):
        for j in range(columns):
            first[i * columns + j] = i * kh * width + j * kw
    for byte in range(2 * taps):
        behind[byte] = byte % taps // kw * width + byte % kw
    return first, behind


@inlined
def passed(g, byte, taps, a, zero):
    """g f′, of the winner that a byte tells. Both are computed, since a branch would be guessed wrongly."""
    bent = a * g if a != zero else zero
    return g if byte < taps else bent


@compiled(
    x="n, channels, height, width", g="n, channels, height // kh, width // kw",
    winner="uint8: n, channels, height // kh, width // kw", weight="channels?", mean="channels",
    var="channels", grad_x="n, channels, height, width", grad_residual="n, channels, height, width?",
    grad_weight="channels", grad_bias="channels",
)  # fmt: skip
def pooled_backward(
    x, g, winner, weight, mean, var, grad_x, grad_residual, grad_weight, grad_bias, n, channels, height,
    width, kh, kw, eps, slope, training,
):  # fmt: skip
    T = x.dtype.type
    one, zero, a = T(1), T(0), T(slope)
    size, places, taps = height * width, (height // kh) * (width // kw), kh * kw
    first, behind = where_windows_lie(height, width, kh, kw)
    for c in prange(channels):
        mu = mean[c]
        rstd = one / np.sqrt(var[c] + T(eps))
        scale = (weight[c] if weight.size else one) * rstd
        sum_h, sum_h_x = 0.0, 0.0
        for k in range(n):
            x_k, g_k, winner_k = x[k, c].reshape(size), g[k, c].reshape(places), winner[k, c].reshape(places)
            for o in range(places):
                h = passed(g_k[o], winner_k[o], taps, a, zero)
                sum_h += h
                sum_h_x += h * (x_k[first[o] + behind[winner_k[o]]] - mu)
        grad_bias[c] = sum_h
        grad_weight[c] = sum_h_x * rstd
        count = np.float64(n * size)
        shift, tilt = T(sum_h / count) * scale, T(sum_h_x * rstd * rstd / count) * scale
        for k in range(n):
            x_k, grad_k = x[k, c].reshape(size), grad_x[k, c].reshape(size)
            g_k, winner_k = g[k, c].reshape(places), winner[k, c].reshape(places)
            # What reaches all elements through the statistics; then the winners.
            if training:
                for i in range(size):
                    grad_k[i] = -shift - (x_k[i] - mu) * tilt
            else:
                grad_k[:] = zero
            for o in range(places):
                h = passed(g_k[o], winner_k[o], taps, a, zero)
                grad_k[first[o] + behind[winner_k[o]]] += h * scale
            if grad_residual.size:
                grad_z = grad_residual[k, c].reshape(size)
                grad_z[:] = zero
                for o in range(places):
                    h = passed(g_k[o], winner_k[o], taps, a, zero)
                    grad_z[first[o] + behind[winner_k[o]]] = h


def plane(x: Tensor) -> tuple[int, int]:
    """Height and width, of a row or an image."""
    return (1, x.shape[2]) if x.dim() == 3 else (x.shape[2], x.shape[3])


def outputs(x, residual, mean, var, weight, bias, slope, window, eps, training):
    """y and the winners; in training into ``mean`` and ``var`` the statistics."""
    x = x.contiguous()
    residual = contiguous(residual)
    n, channels = x.shape[:2]
    if not window:
        y = torch.empty_like(x)
        size = math.prod(x.shape[2:])
        activated_forward(x, residual, weight, bias, mean, var, y, n, channels, size, eps, slope, training)
        return y, x.new_empty(0, dtype=torch.uint8)
    places = [length // k for length, k in zip(x.shape[2:], window)]
    y = x.new_empty(n, channels, *places)
    winner = torch.empty(y.shape, dtype=torch.uint8)
    kernel = (1, *window)[-2:]
    pooled_forward(
        x, residual, weight, bias, mean, var, y, winner, n, channels, *plane(x), *kernel, eps, slope, training
    )
    return y, winner


def gradients(ctx, g, need_residual, training):
    """The gradients of x, the residual, w and b."""
    x, weight, mean, var, bias, y, winner = ctx.saved_tensors
    x, g = x.contiguous(), g.contiguous()
    n, channels = x.shape[:2]
    grad_x = torch.empty_like(x)
    grad_residual = torch.empty_like(x) if need_residual else None
    grad_weight, grad_bias = x.new_empty(2, channels).unbind()
    found = (grad_x, grad_residual, grad_weight, grad_bias)
    options = (ctx.eps, ctx.slope, training)
    if ctx.window:
        kernel = (1, *ctx.window)[-2:]
        pooled_backward(x, g, winner, weight, mean, var, *found, n, channels, *plane(x), *kernel, *options)
    else:
        size = math.prod(x.shape[2:])
        activated_backward(x, g, contiguous(y), weight, bias, mean, var, *found, n, channels, size, *options)
    return found


class BatchNormActivationCPU(BatchNormActivationFunction):
    @staticmethod
    def forward(x: Tensor, residual: Tensor | None, weight, bias, slope: float, window, eps: float):
        mean, var = x.new_empty(2, x.shape[1]).unbind()
        y, winner = outputs(x, residual, mean, var, weight, bias, slope, window, eps, True)
        return y, mean, var, winner

    @staticmethod
    def backward(ctx, grad_y: Tensor, _mean, _var, _winner):
        if not plain(grad_y):
            return BatchNormActivationFunction.backward(ctx, grad_y, _mean, _var, _winner)
        need_x, need_residual, need_weight, need_bias = ctx.needs_input_grad[:4]
        grad_x, grad_residual, grad_weight, grad_bias = gradients(ctx, grad_y, need_residual, True)
        return (
            grad_x if need_x else None,
            grad_residual,
            grad_weight if need_weight else None,
            grad_bias if need_bias else None,
            None,
            None,
            None,
        )


class BatchNormActivationEvalCPU(BatchNormActivationEvalFunction):
    @staticmethod
    def forward(
        x: Tensor, residual: Tensor | None, mean, var, weight, bias, slope: float, window, eps: float
    ):
        return outputs(x, residual, mean, var, weight, bias, slope, window, eps, False)

    @staticmethod
    def backward(ctx, grad_y: Tensor, _winner):
        # Without x, which only the gradient of w asks for, there is no kernel.
        if not ctx.has_x or not plain(grad_y):
            return BatchNormActivationEvalFunction.backward(ctx, grad_y, _winner)
        need_x, need_residual, _, _, need_weight, need_bias = ctx.needs_input_grad[:6]
        grad_x, grad_residual, grad_weight, grad_bias = gradients(ctx, grad_y, need_residual, False)
        return (
            grad_x if need_x else None,
            grad_residual,
            None,
            None,
            grad_weight if need_weight else None,
            grad_bias if need_bias else None,
            None,
            None,
            None,
        )


def takes(x, residual, *arguments) -> bool:
    """Positions behind the channels, at least a few; with a pool as rows or images."""
    *per_channel, _, window, _ = arguments
    planes = math.prod(x.shape[2:]) >= 8 and x.dim() > 2 and (not window or x.dim() < 5)
    return planes and dense(*per_channel)


ASKS = "at least 8 positions for each sample and channel, no pool over volumes, contiguous parameters"
TWINS = {
    BatchNormActivationFunction: Twin(BatchNormActivationCPU, takes=takes, asks=ASKS),
    BatchNormActivationEvalFunction: Twin(BatchNormActivationEvalCPU, takes=takes, asks=ASKS),
}
