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

from ...layers.cross_entropy import (
    CrossEntropyLossFunction,
    NLLLossFunction,
    check_classes,
    check_weight_dtype,
)
from .. import Twin, plain
from ._jit import compiled, contiguous, inlined
from ._math import exp

__all__ = ["TWINS"]

# Positions whose classes are summed at once, where there are positions behind the class axis.
BLOCK = 512
# A sum of exponentials between these, and so a part of it that counts, has neither over- nor underflown: only
# for the others is the largest logit looked for and subtracted.
SMALL, LARGE = 1e-18, 1e30
# Elements of the input from which a team is faster where only one in a row of classes is touched.
GATHERED = 2**20


@inlined
def total_weight(target, weight, ignore_index):
    """Σ ω, in float64"""
    total = 0.0
    for t in target:
        if t != ignore_index:
            total += weight[t] if weight.size else 1.0
    return total


@inlined
def log_sum_exp(zs):
    T = zs.dtype.type
    most, total = T(0), T(0)
    for c in range(zs.size):
        total += exp(zs[c])
    if not SMALL < total < LARGE:
        most, total = T(-np.inf), T(0)
        for c in range(zs.size):
            most = max(most, zs[c])
        most = most if abs(most) < np.inf else T(0)
        for c in range(zs.size):
            total += exp(zs[c] - most)
    return np.log(total) + most


@compiled(
    z="rows, classes, inner", target="int64: rows, inner", weight="classes?", logsumexp="rows, inner",
    loss="every",
)  # fmt: skip
def cross_entropy_forward(
    z, target, weight, logsumexp, loss, rows, classes, inner, every, ignore_index, smoothing, mean
):
    """Whether a target is no class."""
    T = z.dtype.type
    blocks = (inner + BLOCK - 1) // BLOCK
    tasks = rows * blocks
    losses, omegas, wrong = np.zeros(tasks), np.zeros(tasks), np.zeros(tasks, np.bool_)
    for task in prange(tasks):
        row, start = task // blocks, task % blocks * BLOCK
        width = min(BLOCK, inner - start)
        lse = logsumexp[row, start : start + width]
        log_p = np.zeros(width, z.dtype)  # Σ_c weight_c log p_c, for smoothing
        if inner == 1:
            zs = z[row].ravel()
            lse[0] = log_sum_exp(zs)
            if smoothing > 0:
                if weight.size:
                    for c in range(classes):
                        log_p[0] += weight[c] * (zs[c] - lse[0])
                else:
                    above = T(0)
                    for c in range(classes):
                        above += zs[c] - lse[0]
                    log_p[0] = above
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
                lse[k] = np.log(total_of[k]) + most_of[k]
            if smoothing > 0:
                for c in range(classes):
                    w = weight[c] if weight.size else T(1)
                    zs = z[row, c, start : start + width]
                    for k in range(width):
                        log_p[k] += w * (zs[k] - lse[k])
        for k in range(width):
            t = target[row, start + k]
            value = T(0)
            if t != ignore_index:
                if t < 0 or t >= classes:
                    wrong[task] = True
                    continue
                w = weight[t] if weight.size else T(1)
                value = T(1 - smoothing) * w * (lse[k] - z[row, t, start + k])
                if smoothing > 0:
                    value -= T(smoothing / classes) * log_p[k]
                losses[task] += value
                omegas[task] += w
            if every > 1:
                loss[row * inner + start + k] = value
    if every == 1:
        loss[0] = T(losses.sum() / omegas.sum() if mean else losses.sum())
    return wrong.any()


@compiled(
    z="rows, classes, inner", target="int64: rows, inner", weight="classes?", logsumexp="rows, inner",
    g="every", grad_z="rows, classes, inner",
)  # fmt: skip
def cross_entropy_backward(
    z, target, weight, logsumexp, g, grad_z, rows, classes, inner, every, ignore_index, smoothing, mean
):
    T = z.dtype.type
    divisor = total_weight(target.ravel(), weight, ignore_index) if mean else 1.0
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


@compiled(
    grain=GATHERED, x="rows, classes, inner", target="int64: rows * inner", weight="classes?", loss="every",
)  # fmt: skip
def nll_forward(x, target, weight, loss, rows, classes, inner, every, ignore_index, mean):
    """Whether a target is no class."""
    T = x.dtype.type
    tasks = (target.size + BLOCK - 1) // BLOCK
    losses, omegas, wrong = np.zeros(tasks), np.zeros(tasks), np.zeros(tasks, np.bool_)
    for task in prange(tasks):
        start, stop = task * BLOCK, min((task + 1) * BLOCK, target.size)
        row, k = start // inner, start % inner
        for i in range(start, stop):
            t = target[i]
            value = T(0)
            if t != ignore_index:
                if t < 0 or t >= classes:
                    wrong[task] = True
                    break
                w = weight[t] if weight.size else T(1)
                value = -w * x[row, t, k]
                losses[task] += value
                omegas[task] += w
            if every > 1:
                loss[i] = value
            k += 1
            if k == inner:
                row, k = row + 1, 0
    if every == 1:
        loss[0] = T(losses.sum() / omegas.sum() if mean else losses.sum())
    return wrong.any()


@compiled(
    grain=GATHERED, grad_x="rows, classes, inner", target="int64: rows * inner", weight="classes?", g="every",
)  # fmt: skip
def nll_backward(grad_x, target, weight, g, rows, classes, inner, every, ignore_index, mean):
    """For a gradient that is zero so far."""
    T = grad_x.dtype.type
    divisor = total_weight(target, weight, ignore_index) if mean else 1.0
    for task in prange((target.size + BLOCK - 1) // BLOCK):
        start, stop = task * BLOCK, min((task + 1) * BLOCK, target.size)
        row, k = start // inner, start % inner
        for i in range(start, stop):
            t = target[i]
            if t != ignore_index:
                s = T((g[i] if every > 1 else g[0]) / divisor)
                grad_x[row, t, k] = -s * (weight[t] if weight.size else T(1))
            k += 1
            if k == inner:
                row, k = row + 1, 0


def axes(z: Tensor) -> tuple[int, int, int]:
    """Rows, classes and positions."""
    rows, classes, *places = z.shape
    return rows, classes, math.prod(places)


class CrossEntropyLossCPU(CrossEntropyLossFunction):
    @staticmethod
    def forward(
        z: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str, smoothing: float
    ):
        check_weight_dtype("cross_entropy", z, weight)
        logsumexp = torch.empty(target.shape, dtype=z.dtype)
        loss = torch.empty(target.shape if reduction == "none" else (), dtype=z.dtype)
        if cross_entropy_forward(
            z.contiguous(), target.contiguous(), contiguous(weight), logsumexp, loss, *axes(z), loss.numel(),
            ignore_index, float(smoothing), reduction == "mean",
        ):  # fmt: skip
            check_classes("cross_entropy", target, z.shape[1], ignore_index)
        return loss, logsumexp

    @staticmethod
    def backward(ctx, grad: Tensor, _logsumexp):
        if not plain(grad):
            return CrossEntropyLossFunction.backward(ctx, grad, _logsumexp)
        z, target, weight, logsumexp = ctx.saved_tensors
        z, g = z.contiguous(), grad.contiguous()
        grad_z = torch.empty_like(z)
        cross_entropy_backward(
            z, target.contiguous(), contiguous(weight), logsumexp, g, grad_z, *axes(z), g.numel(),
            ctx.ignore_index, float(ctx.smoothing), ctx.reduction == "mean",
        )  # fmt: skip
        return grad_z, None, None, None, None, None


class NLLLossCPU(NLLLossFunction):
    @staticmethod
    def forward(x: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str):
        check_weight_dtype("nll_loss", x, weight)
        loss = torch.empty(target.shape if reduction == "none" else (), dtype=x.dtype)
        if nll_forward(
            x, target.contiguous(), contiguous(weight), loss, *axes(x), loss.numel(), ignore_index,
            reduction == "mean",
        ):  # fmt: skip
            check_classes("nll_loss", target, x.shape[1], ignore_index)
        return loss

    @staticmethod
    def backward(ctx, grad: Tensor):
        if not plain(grad):
            return NLLLossFunction.backward(ctx, grad)
        target, weight = ctx.saved_tensors
        g = grad.contiguous()
        grad_x = torch.zeros(ctx.size, dtype=ctx.dtype)
        nll_backward(
            grad_x, target.contiguous(), contiguous(weight), g, *axes(grad_x), g.numel(), ctx.ignore_index,
            ctx.reduction == "mean",
        )  # fmt: skip
        return grad_x, None, None, None, None


TWINS = {
    CrossEntropyLossFunction: Twin(CrossEntropyLossCPU, smallest=512),
    NLLLossFunction: Twin(
        NLLLossCPU,
        smallest=64,
        takes=lambda x, *options: x.is_contiguous(),
        asks="a contiguous input",
    ),
}
