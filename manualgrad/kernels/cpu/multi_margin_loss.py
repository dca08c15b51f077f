"""Kernels of ``layers/multi_margin_loss.py``: a sample at a time, and no margin of a pair in memory."""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from ...layers.cross_entropy import check_weight_dtype
from ...layers.multi_margin_loss import MultiLabelMarginLossFunction, MultiMarginLossFunction
from .. import Twin, plain
from ._jit import compiled, contiguous

__all__ = ["TWINS"]


@compiled(x="rows, classes", target="int64: rows", weight="classes?", loss="every")
def multi_margin_forward(x, target, weight, loss, rows, classes, every, p, margin, share):
    T = x.dtype.type
    losses = np.empty(rows)
    for row in prange(rows):
        t = target[row]
        xs, offset = x[row], T(margin) - x[row, t]
        # The true class is no rival of itself.
        total = T(0)
        for part in range(2):
            rivals = xs[:t] if part == 0 else xs[t + 1 :]
            if p == 1:
                for c in range(rivals.size):
                    z = offset + rivals[c]
                    total += T(0) if z < T(0) else z
            else:
                for c in range(rivals.size):
                    z = offset + rivals[c]
                    z = T(0) if z < T(0) else z
                    total += z * z
        losses[row] = total / T(classes) * (weight[t] if weight.size else T(1))
        if every > 1:
            loss[row] = T(losses[row])
    if every == 1:
        loss[0] = T(losses.sum() * share)


@compiled(x="rows, classes", target="int64: rows", weight="classes?", g="every", grad_x="rows, classes")
def multi_margin_backward(x, target, weight, g, grad_x, rows, classes, every, p, margin, share):
    T = x.dtype.type
    for row in prange(rows):
        t = target[row]
        xs, grad, offset = x[row], grad_x[row], T(margin) - x[row, t]
        s = T(g[row % every] * share) / T(classes) * (weight[t] if weight.size else T(1))
        if p == 1:
            for c in range(classes):
                grad[c] = s if offset + xs[c] > T(0) else s * T(0)
        else:
            for c in range(classes):
                z = offset + xs[c]
                grad[c] = s * T(2) * (T(0) if z < T(0) else z)
        grad[t] = T(0)
        total = T(0)
        for c in range(classes):
            total += grad[c]
        grad[t] = -total


@compiled(x="rows, classes", target="int64: rows, classes", loss="every")
def multilabel_margin_forward(x, target, loss, rows, classes, every, share):
    T = x.dtype.type
    losses = np.empty(rows)
    for row in prange(rows):
        rivals = x[row].copy()
        labels = target[row]
        count = 0
        while count < classes and labels[count] >= 0:
            rivals[labels[count]] = T(-np.inf)
            count += 1
        total = T(0)
        for j in range(count):
            offset = T(1) - x[row, labels[j]]
            for k in range(classes):
                z = offset + rivals[k]
                total += z if z > T(0) else T(0)
        losses[row] = total / T(classes)
        if every > 1:
            loss[row] = T(losses[row])
    if every == 1:
        loss[0] = T(losses.sum() * share)


@compiled(x="rows, classes", target="int64: rows, classes", g="every", grad_x="rows, classes")
def multilabel_margin_backward(x, target, g, grad_x, rows, classes, every, share):
    T = x.dtype.type
    for row in prange(rows):
        rivals, grad = x[row].copy(), grad_x[row]
        labels = target[row]
        count = 0
        while count < classes and labels[count] >= 0:
            rivals[labels[count]] = T(-np.inf)
            count += 1
        s = T(g[row % every] * share) / T(classes)
        for k in range(classes):
            grad[k] = T(0)
        below = np.empty(count, x.dtype)
        for j in range(count):
            offset = T(1) - x[row, labels[j]]
            for k in range(classes):
                grad[k] += T(1) if offset + rivals[k] > T(0) else T(0)
            active = T(0)
            for k in range(classes):
                active += T(1) if offset + rivals[k] > T(0) else T(0)
            below[j] = active
        for k in range(classes):
            grad[k] *= s
        for j in range(count):
            grad[labels[j]] -= s * below[j]


def share_of(reduction: str, rows: int) -> float:
    """What of the sum of all losses the loss is."""
    return 1 / rows if reduction == "mean" else 1.0


def empty_loss(x: Tensor, reduction: str) -> Tensor:
    return torch.empty(x.shape[:1] if reduction == "none" else (), dtype=x.dtype)


class MultiMarginLossCPU(MultiMarginLossFunction):
    @staticmethod
    def forward(x: Tensor, target: Tensor, p: int, margin: float, weight: Tensor | None, reduction: str):
        check_weight_dtype("multi_margin_loss", x, weight)
        loss, rows = empty_loss(x, reduction), x.shape[0]
        multi_margin_forward(
            x, target.contiguous(), contiguous(weight), loss, *x.shape,
            loss.numel(), p, margin, share_of(reduction, rows),
        )  # fmt: skip
        return loss

    @staticmethod
    def backward(ctx, grad: Tensor):
        if not plain(grad):
            return MultiMarginLossFunction.backward(ctx, grad)
        x, target, weight = ctx.saved_tensors
        g, grad_x = grad.contiguous(), torch.empty_like(x)
        multi_margin_backward(
            x, target.contiguous(), contiguous(weight), g, grad_x, *x.shape,
            g.numel(), ctx.p, ctx.margin, share_of(ctx.reduction, x.shape[0]),
        )  # fmt: skip
        return grad_x, None, None, None, None, None


class MultiLabelMarginLossCPU(MultiLabelMarginLossFunction):
    @staticmethod
    def forward(x: Tensor, target: Tensor, reduction: str):
        loss = empty_loss(x, reduction)
        share = share_of(reduction, x.shape[0])
        multilabel_margin_forward(x, target.contiguous(), loss, *x.shape, loss.numel(), share)
        return loss

    @staticmethod
    def backward(ctx, grad: Tensor):
        if not plain(grad):
            return MultiLabelMarginLossFunction.backward(ctx, grad)
        x, target = ctx.saved_tensors
        g, grad_x = grad.contiguous(), torch.empty_like(x)
        share = share_of(ctx.reduction, x.shape[0])
        multilabel_margin_backward(x, target.contiguous(), g, grad_x, *x.shape, g.numel(), share)
        return grad_x, None, None


def takes(x: Tensor, *options) -> bool:
    return x.is_contiguous()


TWINS = {
    MultiMarginLossFunction: Twin(MultiMarginLossCPU, smallest=512, takes=takes, asks="a contiguous input"),
    MultiLabelMarginLossFunction: Twin(
        MultiLabelMarginLossCPU, smallest=128, takes=takes, asks="a contiguous input"
    ),
}
