"""Kernels of ``layers/loss.py``: a loss is summed as it is computed, and no element of it is stored.

They take what training uses most: a sum or mean without weights, of a dense input and target of one dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import torch
from numba import prange
from torch import Tensor

from ...layers.loss import (
    BCEWithLogitsLossFunction,
    HuberLossFunction,
    L1LossFunction,
    MSELossFunction,
    SmoothL1LossFunction,
)
from .. import Twin, plain
from ._jit import Compiled, compiled
from ._math import log1p_exp, sigmoid

__all__ = ["TWINS"]

# Elements that are summed in their own dtype; their sums are added up in float64.
BLOCK = 1024

strict = numba.njit(fastmath={"contract", "arcp", "nsz"}, error_model="numpy", forceinline=True)


def total_of(f: Callable[..., Any]) -> Compiled:
    """The loop Σ f(x_i, t_i, shape, T), by blocks."""
    inlined = strict(f)

    def loop(x, target, sums, n, blocks, shape):
        T = x.dtype.type
        for block in prange(blocks):
            total = T(0)
            for i in range(block * BLOCK, min(n, (block + 1) * BLOCK)):
                total += inlined(x[i], target[i], T(shape), T)
            sums[block] = total

    loop.__name__ = f.__name__
    return compiled(x="n", target="n", sums="float64: blocks")(loop)


def gradient_of(df: Callable[..., Any]) -> Compiled:
    """The loop ∂L/∂x_i = g · share · df(x_i, t_i, shape, T)."""
    inlined = strict(df)

    def loop(x, target, g, grad_x, n, share, shape):
        T = x.dtype.type
        s = T(g[0] * share)
        for i in prange(n):
            grad_x[i] = s * inlined(x[i], target[i], T(shape), T)

    loop.__name__ = df.__name__
    return compiled(x="n", target="n", g="1", grad_x="n")(loop)


def mse(x, t, shape, T):
    return (x - t) * (x - t)


def mse_slope(x, t, shape, T):
    return T(2) * (x - t)


def l1(x, t, shape, T):
    return abs(x - t)


def l1_slope(x, t, shape, T):
    delta = x - t
    sign = T(1) if delta > T(0) else T(0)  # of NaN too, as torch.sign has it
    return T(-1) if delta < T(0) else sign


def huber(x, t, shape, T):
    size = abs(x - t)
    c = shape if size > shape else size
    return c * (size - T(0.5) * c)


def huber_slope(x, t, shape, T):
    delta = x - t
    delta = shape if delta > shape else delta
    return -shape if delta < -shape else delta


def smooth_l1(x, t, shape, T):
    size = abs(x - t)
    c = shape if size > shape else size
    return c / shape * (size - T(0.5) * c)


def smooth_l1_slope(x, t, shape, T):
    slope = (x - t) / shape
    slope = T(1) if slope > T(1) else slope
    return T(-1) if slope < T(-1) else slope


def bce_with_logits(x, t, shape, T):
    return (T(1) - t) * x + log1p_exp(-x)


def bce_with_logits_slope(x, t, shape, T):
    return sigmoid(x) - t


def total(loop: Compiled, x: Tensor, target: Tensor, reduction: str, shape: float) -> Tensor:
    n = x.numel()
    sums = torch.empty(-(-n // BLOCK), dtype=torch.float64)
    loop(x, target, sums, n, sums.numel(), shape)
    return (sums.mean() * (sums.numel() / n) if reduction == "mean" else sums.sum()).to(x.dtype)


def gradient(loop: Compiled, ctx, x: Tensor, target: Tensor, grad: Tensor, shape: float) -> Tensor:
    n = x.numel()
    grad_x = torch.empty_like(x)
    loop(x, target, grad, grad_x, n, 1 / n if ctx.reduction == "mean" else 1.0, shape)
    return grad_x


def takes(x: Tensor, target: Tensor, weight: Tensor | None, reduction: str, shape: float | None) -> bool:
    return (
        weight is None
        and reduction in ("mean", "sum")
        and target.dtype == x.dtype
        and x.is_contiguous()
        and target.is_contiguous()
    )


def difference_loss(formula: type[Any], f: Callable[..., Any], df: Callable[..., Any]) -> Twin:
    """The twin of a loss of x − t."""
    sums, slopes = total_of(f), gradient_of(df)

    class Kernel(formula):
        @staticmethod
        def forward(x: Tensor, target: Tensor, weight: None, reduction: str, shape: float | None):
            return total(sums, x, target, reduction, 0.0 if shape is None else float(shape))

        @staticmethod
        def backward(ctx, grad: Tensor):
            if not plain(grad):
                return formula.backward(ctx, grad)
            x, target, _ = ctx.saved_tensors
            shape = 0.0 if ctx.shape is None else float(ctx.shape)
            grad_x = gradient(slopes, ctx, x, target, grad, shape)
            return grad_x, -grad_x if ctx.needs_input_grad[1] else None, None, None, None

    Kernel.__name__ = Kernel.__qualname__ = formula.__name__.removesuffix("Function") + "CPU"
    return Twin(Kernel, smallest=1024, takes=takes, asks=ASKS)


ASKS = "a sum or mean without weights, contiguous, and a target of the input's dtype"

bce_total, bce_slopes = total_of(bce_with_logits), gradient_of(bce_with_logits_slope)


class BCEWithLogitsLossCPU(BCEWithLogitsLossFunction):
    @staticmethod
    def forward(x: Tensor, target: Tensor, weight: None, pos_weight: None, reduction: str):
        return total(bce_total, x, target, reduction, 0.0)

    @staticmethod
    def backward(ctx, grad: Tensor):
        if not plain(grad) or ctx.needs_input_grad[1]:
            return BCEWithLogitsLossFunction.backward(ctx, grad)
        x, target, _, _ = ctx.saved_tensors
        return gradient(bce_slopes, ctx, x, target, grad, 0.0), None, None, None, None


TWINS = {
    MSELossFunction: difference_loss(MSELossFunction, mse, mse_slope),
    L1LossFunction: difference_loss(L1LossFunction, l1, l1_slope),
    HuberLossFunction: difference_loss(HuberLossFunction, huber, huber_slope),
    SmoothL1LossFunction: difference_loss(SmoothL1LossFunction, smooth_l1, smooth_l1_slope),
    BCEWithLogitsLossFunction: Twin(
        BCEWithLogitsLossCPU,
        smallest=1024,
        takes=lambda x, target, weight, pos_weight, reduction: (
            pos_weight is None and takes(x, target, weight, reduction, None)
        ),
        asks=ASKS,
    ),
}
