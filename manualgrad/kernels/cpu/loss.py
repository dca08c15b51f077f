"""Kernels of ``layers/loss.py``, ``likelihood_loss.py`` and ``margin_loss.py``: losses of single elements.

A loss is summed as it is computed, and no element of it is stored; backward is one pass over the arguments,
for all gradients. They take what training uses most: a sum or mean without weights, of dense arguments.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from numba import prange
from torch import Tensor

from ...layers.likelihood_loss import (
    GaussianNLLLossFunction,
    KLDivLossFunction,
    PoissonNLLLossFunction,
    check_variance,
)
from ...layers.loss import (
    BCELossFunction,
    BCEWithLogitsLossFunction,
    HuberLossFunction,
    L1LossFunction,
    MSELossFunction,
    SmoothL1LossFunction,
    check_probabilities,
)
from ...layers.margin_loss import (
    HingeEmbeddingLossFunction,
    MarginRankingLossFunction,
    SoftMarginLossFunction,
)
from .. import Twin, plain
from ._jit import Compiled, compiled
from ._math import exp, log, log1p, log1p_exp, sigmoid

__all__ = ["TWINS"]

# Elements that are summed in their own dtype; their sums are added up in float64.
BLOCK = 1024

# Without contraction: e^x − t x at ∞ would be one step, in which e^x has not overflown yet.
strict = numba.njit(fastmath={"arcp", "nsz"}, error_model="numpy", forceinline=True)


def total_of(loss: Callable[..., Any]) -> Compiled:
    """The loop Σ loss(x_i, t_i, u_i, a, b, T) · share, by blocks, where a and b are options.

    It returns whether the sum is NaN.
    """
    inlined = strict(loss)

    def loop(x, target, third, total, n, share, a, b):
        T = x.dtype.type
        blocks = (n + BLOCK - 1) // BLOCK
        sums = np.empty(blocks)
        for block in prange(blocks):
            start, stop = block * BLOCK, min(n, (block + 1) * BLOCK)
            xs, ts, us = x[start:stop], target[start:stop], third[start:stop]
            part = T(0)
            for i in range(xs.size):
                part += inlined(xs[i], ts[i], us[i], T(a), T(b), T)
            sums[block] = part
        total[0] = T(sums.sum() * share)
        return total[0] != total[0]

    loop.__name__ = loss.__name__
    return compiled(x="n", target="n", third="n", total="1")(loop)


def gradients_of(*slopes: Callable[..., Any]) -> Compiled:
    """The loops ∂L/∂x_i = g · share · slope(x_i, t_i, u_i, a, b, T), likewise for t and u.

    A loop writes one array, so that it becomes vector instructions; its arguments stay in the cache.
    """
    slope_x, slope_target, slope_third = map(strict, slopes)

    def loop(x, target, third, g, grad_x, grad_target, grad_third, n, share, a, b):
        T = x.dtype.type
        s = T(g[0] * share)
        for block in prange((n + BLOCK - 1) // BLOCK):
            start, stop = block * BLOCK, min(n, (block + 1) * BLOCK)
            xs, ts, us = x[start:stop], target[start:stop], third[start:stop]
            grad = grad_x[start:stop]
            for i in range(grad.size):
                grad[i] = s * slope_x(xs[i], ts[i], us[i], T(a), T(b), T)
            grad = grad_target[start:stop]
            for i in range(grad.size):
                grad[i] = s * slope_target(xs[i], ts[i], us[i], T(a), T(b), T)
            grad = grad_third[start:stop]
            for i in range(grad.size):
                grad[i] = s * slope_third(xs[i], ts[i], us[i], T(a), T(b), T)

    loop.__name__ = slopes[0].__name__
    return compiled(
        x="n", target="n", third="n", g="1", grad_x="n?", grad_target="n?", grad_third="n?"
    )(loop)  # fmt: skip


def nothing(x, t, u, a, b, T):
    return T(0)


def mirrored(slope_x: Callable[..., Any]) -> Callable[..., Any]:
    """The slope of the target, if the loss stays what it is where input and target change places."""
    inlined = strict(slope_x)

    def slope_target(x, t, u, a, b, T):
        return inlined(t, x, u, a, b, T)

    return slope_target


def kernel_of(
    formula: type[Any],
    loss: Callable[..., Any],
    slope_x: Callable[..., Any],
    slope_target: Callable[..., Any] = nothing,
    slope_third: Callable[..., Any] = nothing,
    *,
    reduction: int,
    tensors: int = 2,
    options: dict[str, int] | None = None,
    without: tuple[int, ...] = (),
    exact: bool = False,
    check: Callable[..., None] | None = None,
) -> Twin:
    """The twin of a loss of two or three tensors of one shape.

    Args:
        loss, slope_x, ...: as :func:`total_of` and :func:`gradients_of` take them.
        reduction: where this is among the arguments of forward.
        tensors: how many of the first arguments of forward, and of the saved ones, are the loss's.
        options: a and b, where they are among the arguments of forward, by their names on ctx.
        without: the arguments of forward for which there is no code: they have to be None or False.
        exact: whether the tensors have to be of one dtype; else integers are converted.
        check: raises an error if an element of a tensor is out of range, which the loss makes NaN of.
    """
    sums, slopes = total_of(loss), gradients_of(slope_x, slope_target, slope_third)
    numbers = options or {}
    nones = (None,) * (len(inspect.signature(formula.forward).parameters) - tensors)

    def arrays(given: tuple) -> list[Tensor]:
        # What is not used is not saved, and what is not there is not used: another stands in its place.
        x, target = given[1] if given[0] is None else given[0], given[1]
        target = target if target.dtype is x.dtype else target.to(x.dtype)
        third = given[2] if tensors > 2 else target
        return [x, target, third if third.dtype is x.dtype else third.to(x.dtype)]

    def values(found: list) -> list[float]:
        return [float(v) for v in found] + [0.0] * (2 - len(found))

    class Kernel(formula):
        @staticmethod
        def forward(*args):
            x, target, third = arrays(args)
            y, n = torch.empty((), dtype=x.dtype), x.numel()
            share = 1 / n if args[reduction] == "mean" else 1.0
            a, b = values([args[k] for k in numbers.values()])
            if sums(x, target, third, y, n, share, a, b) and check is not None:
                check(*args[:tensors])
            return y

        @staticmethod
        def backward(ctx, grad: Tensor):
            if not plain(grad):
                return formula.backward(ctx, grad)
            x, target, third = arrays(ctx.saved_tensors)
            n = x.numel()
            grads = [
                torch.empty_like(x) if k < tensors and ctx.needs_input_grad[k] else None for k in range(3)
            ]
            share = 1 / n if ctx.reduction == "mean" else 1.0
            a, b = values([getattr(ctx, name) for name in numbers])
            slopes(x, target, third, grad, *grads, n, share, a, b)
            return *grads[:tensors], *nones

    def takes(*args) -> bool:
        return (
            args[reduction] != "none"
            and all(args[k] is None or args[k] is False for k in without)
            and all(t.is_contiguous() for t in args[:tensors])
            and not (exact and args[1].dtype != args[0].dtype)
        )

    Kernel.__name__ = Kernel.__qualname__ = formula.__name__.removesuffix("Function") + "CPU"
    return Twin(Kernel, smallest=1024, takes=takes, asks="a sum or mean without weights, contiguous tensors")


def mse(x, t, u, a, b, T):
    return (x - t) * (x - t)


def mse_slope(x, t, u, a, b, T):
    return T(2) * (x - t)


def l1(x, t, u, a, b, T):
    return abs(x - t)


def l1_slope(x, t, u, a, b, T):
    delta = x - t
    sign = T(1) if delta > T(0) else T(0)  # of NaN too, as torch.sign has it
    return T(-1) if delta < T(0) else sign


def huber(x, t, u, threshold, b, T):
    size = abs(x - t)
    c = threshold if size > threshold else size
    return c * (size - T(0.5) * c)


def huber_slope(x, t, u, threshold, b, T):
    delta = x - t
    delta = threshold if delta > threshold else delta
    return -threshold if delta < -threshold else delta


def smooth_l1(x, t, u, beta, b, T):
    size = abs(x - t)
    c = beta if size > beta else size
    return c / beta * (size - T(0.5) * c)


def smooth_l1_slope(x, t, u, beta, b, T):
    slope = (x - t) / beta
    slope = T(1) if slope > T(1) else slope
    return T(-1) if slope < T(-1) else slope


def bce(x, t, u, a, b, T):
    log_x, log_not_x = log(x), log1p(-x)
    log_x = T(-100) if log_x < T(-100) else log_x
    log_not_x = T(-100) if log_not_x < T(-100) else log_not_x
    # A logarithm is NaN if x is no probability; so is this, if t is none.
    t = t if (t >= T(0)) & (t <= T(1)) else T(np.nan)
    return (t - T(1)) * log_not_x - t * log_x


def bce_slope(x, t, u, a, b, T):
    variance = x * (T(1) - x)
    return (x - t) / (T(1e-12) if variance < T(1e-12) else variance)


def bce_slope_target(x, t, u, a, b, T):
    log_x, log_not_x = log(x), log1p(-x)
    log_x = T(-100) if log_x < T(-100) else log_x
    log_not_x = T(-100) if log_not_x < T(-100) else log_not_x
    return log_not_x - log_x


def bce_with_logits(x, t, u, a, b, T):
    return (T(1) - t) * x + log1p_exp(-x)


def bce_with_logits_slope(x, t, u, a, b, T):
    return sigmoid(x) - t


def bce_with_logits_slope_target(x, t, u, a, b, T):
    return -x


def kl_div(x, t, u, batch, log_target, T):
    if log_target > 0:
        return exp(t) * (t - x) / batch
    entropy = t * log(t)
    return ((T(0) if t == T(0) else entropy) - t * x) / batch


def kl_div_slope(x, t, u, batch, log_target, T):
    if log_target > 0:
        return -exp(t) / batch
    return -t / batch


def kl_div_slope_target(x, t, u, batch, log_target, T):
    if log_target > 0:
        return exp(t) * (t - x + T(1)) / batch
    return (log(t) + T(1) - x) / batch


def poisson(x, t, u, eps, log_input, T):
    return exp(x) - t * x if log_input > 0 else x - t * log(x + eps)


def poisson_slope(x, t, u, eps, log_input, T):
    return exp(x) - t if log_input > 0 else T(1) - t / (x + eps)


def poisson_slope_target(x, t, u, eps, log_input, T):
    return -x if log_input > 0 else -log(x + eps)


def gaussian(x, t, variance, eps, b, T):
    v = eps if variance < eps else variance
    # A variance that is none makes it NaN.
    v = T(np.nan) if variance < T(0) else v
    return T(0.5) * (log(v) + (x - t) * (x - t) / v)


def gaussian_slope(x, t, variance, eps, b, T):
    return (x - t) / (eps if variance < eps else variance)


def gaussian_slope_variance(x, t, variance, eps, b, T):
    v = eps if variance < eps else variance
    return T(0.5) * (T(1) - (x - t) * (x - t) / v) / v


def hinge(x, t, u, margin, b, T):
    missed = margin - x
    missed = T(0) if missed < T(0) else missed
    return (T(0) if t == T(-1) else x) + (T(0) if t == T(1) else missed)


def hinge_slope(x, t, u, margin, b, T):
    missed = T(1) if margin - x >= T(0) else T(0)
    return (T(0) if t == T(-1) else T(1)) - (T(0) if t == T(1) else missed)


def ranking(x1, x2, t, margin, b, T):
    missed = margin - t * (x1 - x2)
    return T(0) if missed < T(0) else missed


def ranking_slope_1(x1, x2, t, margin, b, T):
    return -(T(1) if margin - t * (x1 - x2) >= T(0) else T(0)) * t


def ranking_slope_2(x1, x2, t, margin, b, T):
    return (T(1) if margin - t * (x1 - x2) >= T(0) else T(0)) * t


def ranking_slope_target(x1, x2, t, margin, b, T):
    return (T(1) if margin - t * (x1 - x2) >= T(0) else T(0)) * (x2 - x1)


def soft_margin(x, t, u, a, b, T):
    return log1p_exp(-t * x)


def soft_margin_slope(x, t, u, a, b, T):
    return -t * sigmoid(-t * x)


def difference(formula, loss, slope, options: dict[str, int] | None = None) -> Twin:
    return kernel_of(formula, loss, slope, mirrored(slope), reduction=3, options=options, without=(2,))


TWINS = {
    MSELossFunction: difference(MSELossFunction, mse, mse_slope),
    L1LossFunction: difference(L1LossFunction, l1, l1_slope),
    HuberLossFunction: difference(HuberLossFunction, huber, huber_slope, {"shape": 4}),
    SmoothL1LossFunction: difference(SmoothL1LossFunction, smooth_l1, smooth_l1_slope, {"shape": 4}),
    BCELossFunction: kernel_of(
        BCELossFunction, bce, bce_slope, bce_slope_target,
        reduction=3, without=(2,), exact=True, check=check_probabilities,
    ),
    BCEWithLogitsLossFunction: kernel_of(
        BCEWithLogitsLossFunction, bce_with_logits, bce_with_logits_slope, bce_with_logits_slope_target,
        reduction=4, without=(2, 3),
    ),
    KLDivLossFunction: kernel_of(
        KLDivLossFunction, kl_div, kl_div_slope, kl_div_slope_target,
        reduction=3, options={"batch": 4, "log_target": 2},
    ),
    PoissonNLLLossFunction: kernel_of(
        PoissonNLLLossFunction, poisson, poisson_slope, poisson_slope_target,
        reduction=5, options={"eps": 4, "log_input": 2}, without=(3,),
    ),
    GaussianNLLLossFunction: kernel_of(
        GaussianNLLLossFunction, gaussian, gaussian_slope, mirrored(gaussian_slope), gaussian_slope_variance,
        reduction=5, tensors=3, options={"eps": 4}, without=(3,), check=check_variance,
    ),
    HingeEmbeddingLossFunction: kernel_of(
        HingeEmbeddingLossFunction, hinge, hinge_slope, reduction=3, options={"margin": 2}
    ),
    MarginRankingLossFunction: kernel_of(
        MarginRankingLossFunction, ranking, ranking_slope_1, ranking_slope_2, ranking_slope_target,
        reduction=4, tensors=3, options={"margin": 3},
    ),
    SoftMarginLossFunction: kernel_of(SoftMarginLossFunction, soft_margin, soft_margin_slope, reduction=2),
}  # fmt: skip
