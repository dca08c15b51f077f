"""Kernels of ``layers/cross_entropy.py``, for class indices: the logits come from memory once each way.

Saved is what the formula saves: the probabilities are computed again in backward, where an exponential costs
less than to write them to memory and read them.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import prange
from torch import Tensor

from ...layers.cross_entropy import CrossEntropyLossFunction, check_weight_dtype
from ...layers.loss import reduce
from .. import Twin, plain
from ._jit import compiled
from ._math import exp

__all__ = ["TWINS"]

# Positions whose classes are summed at once, where there are positions behind the class axis.
BLOCK = 512


@compiled(
    z="rows, classes, inner", target="int64: rows, inner", weight="classes?",
    logsumexp="rows, inner", loss="rows, inner", omega="rows, inner",
)  # fmt: skip
def cross_entropy_forward(
    z, target, weight, logsumexp, loss, omega, rows, classes, inner, ignore_index, smoothing
):
    T = z.dtype.type
    blocks = (inner + BLOCK - 1) // BLOCK
    for task in prange(rows * blocks):
        row, start = task // blocks, task % blocks * BLOCK
        width = min(BLOCK, inner - start)
        spread = np.zeros(width, z.dtype)
        if inner == 1:
            most = T(-np.inf)
            for c in range(classes):
                most = max(most, z[row, c, 0])
            most = most if abs(most) < np.inf else T(0)
            total = T(0)
            for c in range(classes):
                total += exp(z[row, c, 0] - most)
            logsumexp[row, 0] = np.log(total) + most
            if smoothing > 0:
                for c in range(classes):
                    w = weight[c] if weight.size else T(1)
                    spread[0] += w * (z[row, c, 0] - logsumexp[row, 0])
        else:
            most_of = np.full(width, T(-np.inf))
            total_of = np.zeros(width, z.dtype)
            for c in range(classes):
                zs = z[row, c, start : start + width]
                for k in range(width):
                    most_of[k] = max(most_of[k], zs[k])
            for k in range(width):
                most_of[k] = most_of[k] if abs(most_of[k]) < np.inf else T(0)
            for c in range(classes):
                zs = z[row, c, start : start + width]
                for k in range(width):
                    total_of[k] += exp(zs[k] - most_of[k])
            for k in range(width):
                logsumexp[row, start + k] = np.log(total_of[k]) + most_of[k]
            if smoothing > 0:
                for c in range(classes):
                    w = weight[c] if weight.size else T(1)
                    for k in range(width):
                        spread[k] += w * (z[row, c, start + k] - logsumexp[row, start + k])
        for k in range(start, start + width):
            t = target[row, k]
            if t == ignore_index:
                omega[row, k] = 0
                loss[row, k] = 0
                continue
            w = weight[t] if weight.size else T(1)
            omega[row, k] = w
            loss[row, k] = T(1 - smoothing) * w * (logsumexp[row, k] - z[row, t, k])
            if smoothing > 0:
                loss[row, k] -= T(smoothing / classes) * spread[k - start]


@compiled(
    z="rows, classes, inner", target="int64: rows, inner", weight="classes?", logsumexp="rows, inner",
    g="every", grad_z="rows, classes, inner",
)  # fmt: skip
def cross_entropy_backward(
    z, target, weight, logsumexp, g, grad_z, rows, classes, inner, every, ignore_index, smoothing, mean
):
    T = z.dtype.type
    divisor = 1.0
    if mean:
        divisor = 0.0
        for row in range(rows):
            for k in range(inner):
                t = target[row, k]
                if t != ignore_index:
                    divisor += weight[t] if weight.size else T(1)
    weights = T(classes)
    if weight.size:
        weights = T(0)
        for c in range(classes):
            weights += weight[c]
    blocks = (inner + BLOCK - 1) // BLOCK
    rest = T(smoothing / classes)
    for task in prange(rows * blocks):
        row, start = task // blocks, task % blocks * BLOCK
        width = min(BLOCK, inner - start)
        s = np.zeros(width, z.dtype)
        a = np.zeros(width, z.dtype)
        for k in range(width):
            t = target[row, start + k]
            if t != ignore_index:
                s[k] = T((g[row * inner + start + k] if every > 1 else g[0]) / divisor)
                a[k] = s[k] * T(1 - smoothing) * (weight[t] if weight.size else T(1))
        if inner == 1:
            both = a[0] + s[0] * rest * weights
            if smoothing > 0:
                for c in range(classes):
                    r = s[0] * rest * (weight[c] if weight.size else T(1))
                    grad_z[row, c, 0] = both * exp(z[row, c, 0] - logsumexp[row, 0]) - r
            else:
                for c in range(classes):
                    grad_z[row, c, 0] = both * exp(z[row, c, 0] - logsumexp[row, 0])
        else:
            lse = logsumexp[row, start : start + width]
            for c in range(classes):
                zs, grad = z[row, c, start : start + width], grad_z[row, c, start : start + width]
                r = rest * (weight[c] if weight.size else T(1))
                for k in range(width):
                    p = exp(zs[k] - lse[k])
                    grad[k] = (a[k] + s[k] * rest * weights) * p - s[k] * r
        for k in range(width):
            t = target[row, start + k]
            if t != ignore_index:
                grad_z[row, t, start + k] -= a[k]


def axes(z: Tensor) -> tuple[int, int, int]:
    """Rows, classes and positions."""
    return z.shape[0], z.shape[1], math.prod(z.shape[2:])


class CrossEntropyLossCPU(CrossEntropyLossFunction):
    @staticmethod
    def forward(
        z: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str, smoothing: float
    ):
        check_weight_dtype("cross_entropy", z, weight)
        logsumexp, loss, omega = (z.new_empty(target.shape) for _ in range(3))
        weight = None if weight is None else weight.contiguous()
        cross_entropy_forward(
            z.contiguous(), target.contiguous(), weight, logsumexp, loss, omega,
            *axes(z), ignore_index, float(smoothing),
        )  # fmt: skip
        if reduction == "none":
            return loss, logsumexp
        return reduce(loss, reduction, omega.sum() if reduction == "mean" else None), logsumexp

    @staticmethod
    def backward(ctx, grad: Tensor, _logsumexp):
        if not plain(grad):
            return CrossEntropyLossFunction.backward(ctx, grad, _logsumexp)
        z, target, weight, logsumexp = ctx.saved_tensors
        z, g = z.contiguous(), grad.contiguous()
        weight = None if weight is None else weight.contiguous()
        grad_z = torch.empty_like(z)
        cross_entropy_backward(
            z, target.contiguous(), weight, logsumexp, g, grad_z, *axes(z), g.numel(),
            ctx.ignore_index, float(ctx.smoothing), ctx.reduction == "mean",
        )  # fmt: skip
        return grad_z, None, None, None, None, None


TWINS = {CrossEntropyLossFunction: Twin(CrossEntropyLossCPU, smallest=512)}
