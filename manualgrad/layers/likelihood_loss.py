"""Losses that are likelihoods: how improbable a model's distribution makes what was observed.

Reductions are those of loss.py, and so is ``share``, the gradient of each ℓ_i. Throughout, t is what was
observed, the target, and x what the model says.
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn

from ..function import (
    FLOAT32,
    FLOAT32_ON_ACCELERATOR,
    Function,
    apply,
    check_floating,
    check_number,
    check_tensors,
    transforming,
    values_known,
    wide,
)
from ._broadcast import broadcast, floating_dtype
from .distance import raised
from .loss import check_reduction, legacy_reduction, reduce, share

__all__ = [
    "GaussianNLLLoss",
    "GaussianNLLLossFunction",
    "KLDivLoss",
    "KLDivLossFunction",
    "PoissonNLLLoss",
    "PoissonNLLLossFunction",
    "gaussian_nll_loss",
    "kl_div",
    "poisson_nll_loss",
]


class KLDivLossFunction(Function):
    """The Kullback-Leibler divergence of a model's distribution from a target, one term per outcome.

    Forward    x = log q is the model's.  The target is t = p:  ℓ = p log p − p x   (0 log 0 = 0)
               or, if it is given as t = log p:                 ℓ = e^t (t − x)
               "batchmean" is Σ ℓ / B, B the batch size (for the other reductions B = 1)
    Backward   s = ∂L/∂ℓ,  what ``share`` says, divided by B
               t = p:       ∂L/∂x = −s p,      ∂L/∂t = s (log p + 1 − x),   as (p log p)′ = log p + 1
               t = log p:   ∂L/∂x = −s e^t,    ∂L/∂t = s e^t (t − x + 1)
    Shapes     x, t: the same, any
    Saves      t; x only if t needs a gradient
    Source     Kullback, Leibler 1951, doi:10.1214/aoms/1177729694
    """

    @staticmethod
    def forward(x: Tensor, target: Tensor, log_target: bool, reduction: str, batch: int):
        t = wide(target)
        loss = t.exp() * (t - wide(x)) if log_target else torch.xlogy(t, t) - t * wide(x)
        return (reduce(loss, reduction) / batch).to(torch.promote_types(x.dtype, target.dtype))

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, target, ctx.log_target, ctx.reduction, ctx.batch = inputs
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, target)
        ctx.dtype = x.dtype

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, target = ctx.saved_tensors
        s = share(grad, ctx.reduction, target.numel()) / ctx.batch
        t = wide(target)
        p = t.exp() if ctx.log_target else t
        grad_x = grad_target = None
        if ctx.needs_input_grad[0]:
            grad_x = (-s * p).to(ctx.dtype)
        if ctx.needs_input_grad[1]:
            slope = p * (t - wide(x) + 1) if ctx.log_target else t.log() + 1 - wide(x)
            grad_target = (s * slope).to(target.dtype)
        return grad_x, grad_target, None, None, None


def kl_div(
    input: Tensor,
    target: Tensor,
    size_average=None,
    reduce=None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """Kullback-Leibler divergence, as :func:`torch.nn.functional.kl_div`.

    Args:
        input: log-probabilities, any shape.
        target: probabilities, broadcast with the input.
        size_average, reduce: deprecated, as in torch; ``reduction`` takes their place.
        reduction: ``"none"``, ``"sum"``, ``"batchmean"`` (the sum by the length of the input's first axis),
            which is the divergence, or ``"mean"``, which divides by the number of elements and warns.
        log_target: the target holds log-probabilities.

    Raises:
        ValueError: if ``reduction`` is no reduction.
        RuntimeError: if shapes do not broadcast, or a tensor holds integers.
    """
    check_tensors("kl_div", input=input, target=target)
    batch = input.shape[0] if reduction == "batchmean" and input.dim() else 1
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce, reduction)
    elif reduction == "mean":
        warnings.warn(
            "kl_div: reduction: 'mean' divides by the number of elements, and is not the divergence; "
            "'batchmean' is",
            stacklevel=2,
        )
    reduction = "sum" if reduction == "batchmean" else reduction
    check_reduction("kl_div", reduction)
    for argument, tensor in (("input", input), ("target", target)):
        if not (tensor.is_floating_point() or tensor.is_complex()):
            raise RuntimeError(f"kl_div: {argument} must be floating point, but has {tensor.dtype}; cast it")
    x, t = broadcast("kl_div", input=input, target=target)
    return apply(KLDivLossFunction, x, t, log_target, reduction, batch, autocast=FLOAT32)


class KLDivLoss(nn.KLDivLoss):
    """:class:`torch.nn.KLDivLoss` with a hand-written backward."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class PoissonNLLLossFunction(Function):
    """Negative log-likelihood of a count t under a Poisson distribution of mean λ.

    Forward    P(t) = λ^t e^−λ / t!,  so −log P(t) = λ − t log λ + log t!
               x = log λ:   ℓ = e^x − t x        x = λ:   ℓ = x − t log(x + ε),   where ε keeps it finite
               ``full`` adds log t! ≈ t log t − t + ½ log 2πt  (Stirling) where t > 1
    Backward   s = ∂L/∂ℓ
               x = log λ:   ∂L/∂x = s (e^x − t),             ∂ℓ/∂t = −x
               x = λ:       ∂L/∂x = s (1 − t / (x + ε)),     ∂ℓ/∂t = −log(x + ε)
               ``full``:    ∂ℓ/∂t has (log t + 1) − 1 + 1/(2t) more where t > 1;   ∂L/∂t = s ∂ℓ/∂t
    Shapes     x, t: the same, any
    Saves      x, t
    Source     Nelder, Wedderburn 1972, doi:10.2307/2344614
    """

    @staticmethod
    def forward(x: Tensor, target: Tensor, log_input: bool, full: bool, eps: float, reduction: str):
        rate, t = wide(x), wide(target)
        loss = rate.exp() - t * rate if log_input else rate - t * torch.log(rate + eps)
        if full:
            n = torch.where(t > 1, t, 1)
            stirling = n * n.log() - n + 0.5 * torch.log(2 * math.pi * n)
            loss = loss + torch.where(t > 1, stirling, 0)
        return reduce(loss, reduction).to(floating_dtype(x, target))

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, target, ctx.log_input, ctx.full, ctx.eps, ctx.reduction = inputs
        ctx.save_for_backward(x, target)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, target = ctx.saved_tensors
        rate, t = wide(x), wide(target)
        s = share(grad, ctx.reduction, x.numel())
        grad_x = grad_target = None
        if ctx.needs_input_grad[0]:
            slope = rate.exp() - t if ctx.log_input else 1 - t / (rate + ctx.eps)
            grad_x = (s * slope).to(x.dtype)
        if ctx.needs_input_grad[1]:
            slope = -rate if ctx.log_input else -torch.log(rate + ctx.eps)
            if ctx.full:
                n = torch.where(t > 1, t, 1)
                slope = slope + torch.where(t > 1, n.log() + 0.5 / n, 0)
            grad_target = (s * slope).to(target.dtype)
        return grad_x, grad_target, None, None, None, None


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average=None,
    eps: float = 1e-8,
    reduce=None,
    reduction: str = "mean",
) -> Tensor:
    """Likelihood of counts, as :func:`torch.nn.functional.poisson_nll_loss`.

    Args:
        input: the mean, or with ``log_input`` its logarithm, any shape.
        target: counts, broadcast with the input.
        full: add Stirling's approximation of log t!.
        eps: added to a mean before its logarithm is taken.
        size_average, reduce: deprecated, as in torch; ``reduction`` takes their place.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        ValueError: if ``reduction`` is no reduction.
        RuntimeError: if shapes do not broadcast.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_reduction("poisson_nll_loss", reduction)
    check_number("poisson_nll_loss", eps=eps)
    check_tensors("poisson_nll_loss", input=input, target=target)
    if full and target.dtype == torch.bool:
        raise RuntimeError("poisson_nll_loss: full=True is not implemented for torch.bool; cast the target")
    x, t = broadcast("poisson_nll_loss", input=input, target=target)
    options = (bool(log_input), bool(full), float(eps), reduction)
    return apply(PoissonNLLLossFunction, x, t, *options, autocast=FLOAT32)


class PoissonNLLLoss(nn.PoissonNLLLoss):
    """:class:`torch.nn.PoissonNLLLoss` with a hand-written backward."""

    def forward(self, log_input: Tensor, target: Tensor) -> Tensor:
        return poisson_nll_loss(
            log_input,
            target,
            log_input=self.log_input,
            full=self.full,
            eps=self.eps,
            reduction=self.reduction,
        )


class GaussianNLLLossFunction(Function):
    """Negative log-likelihood of t under a normal distribution, whose mean x and variance the model gives.

    Forward    v = max(variance, ε),   δ = x − t,   ℓ = ½ (log v + δ² / v)      (``full`` adds ½ log 2π)
    Backward   s = ∂L/∂ℓ
               ∂L/∂x = s δ / v,   ∂L/∂t = −s δ / v:  errors count less where the model said it is unsure
               ∂L/∂v = ½ s (1/v − δ²/v²),  0 where v = δ²: the model is to say how wrong it is
               the variance receives ∂L/∂v where it was raised to ε, too, as in torch: it can come back
    Shapes     x, t, variance: the same, any
    Saves      x, t, variance
    Source     Nix, Weigend 1994, doi:10.1109/ICNN.1994.374138
    """

    @staticmethod
    def forward(x: Tensor, target: Tensor, var: Tensor, full: bool, eps: float, reduction: str):
        check_variance(x, target, var)
        v, delta = wide(var).clamp(min=eps), wide(x) - wide(target)
        loss = 0.5 * (v.log() + delta.square() / v) + (0.5 * math.log(2 * math.pi) if full else 0)
        return reduce(loss, reduction).to(floating_dtype(x, target, var))

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, target, var, _, ctx.eps, ctx.reduction = inputs
        ctx.save_for_backward(x, target, var)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, target, var = ctx.saved_tensors
        v, delta = raised(wide(var), ctx.eps), wide(x) - wide(target)
        s = share(grad, ctx.reduction, delta.numel())
        grad_x = grad_target = grad_var = None
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            grad_delta = s * delta / v
            grad_x, grad_target = grad_delta.to(x.dtype), (-grad_delta).to(target.dtype)
        if ctx.needs_input_grad[2]:
            grad_var = (0.5 * s * (1 - delta.square() / v) / v).to(var.dtype)
        return grad_x, grad_target, grad_var, None, None, None


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """Likelihood of a normal distribution, as :func:`torch.nn.functional.gaussian_nll_loss`.

    Args:
        input: means, shape (*).
        target: observations, broadcast with the input.
        var: variances, of the input's shape; or of that shape without the last axis, or with length 1 in one
            axis: one for several means; or a float for all.
        full: add the constant ½ log 2π.
        eps: the smallest variance; smaller ones are raised to it, and receive the gradient there.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        ValueError: if a variance is negative, ``var`` has another shape, or ``reduction`` is no reduction.
        TypeError: if ``var`` is a number but no float.
        RuntimeError: if shapes do not broadcast.
    """
    check_tensors("gaussian_nll_loss", input=input, target=target)
    if isinstance(var, float):
        if var < 0:
            raise ValueError(f"gaussian_nll_loss: var must not be negative, but got {var}")
        variance = torch.full((), var, dtype=floating_dtype(input), device=input.device).expand(input.shape)
    elif not isinstance(var, Tensor):
        raise TypeError(
            f"gaussian_nll_loss: expected var to be a Tensor or a float, but got {type(var).__name__}"
        )
    else:
        check_floating("gaussian_nll_loss", RuntimeError, var=var)
        variance = _aligned(var, input)
    check_reduction("gaussian_nll_loss", reduction)
    check_number("gaussian_nll_loss", eps=eps)
    x, t, v = broadcast("gaussian_nll_loss", input=input, target=target, var=variance)
    options = (full, float(eps), reduction)
    return apply(GaussianNLLLossFunction, x, t, v, *options, autocast=FLOAT32_ON_ACCELERATOR)


def check_variance(x: Tensor, target: Tensor, var: Tensor) -> None:
    """Raise ValueError unless all variances are at least 0."""
    if not transforming() and values_known(var) and (var < 0).any():
        raise ValueError(
            f"gaussian_nll_loss: var must not be negative, but its least element is {var.min():.6g}; let the "
            "model give its logarithm, or softplus of it"
        )


def _aligned(var: Tensor, input: Tensor) -> Tensor:
    # One variance for each mean, for the last axis, or for one axis of length 1.
    if var.shape == input.shape:
        return var
    if var.shape == input.shape[:-1]:
        return var.unsqueeze(-1)
    different = [theirs for own, theirs in zip(input.shape, var.shape) if own != theirs]
    if var.dim() != input.dim() or different != [1]:
        raise ValueError(
            f"gaussian_nll_loss: var must have the input's shape {list(input.shape)}, that without the last "
            f"axis, or 1 in one axis, but has {list(var.shape)}"
        )
    return var


class GaussianNLLLoss(nn.GaussianNLLLoss):
    """:class:`torch.nn.GaussianNLLLoss` with a hand-written backward."""

    def forward(self, input: Tensor, target: Tensor, var: Tensor | float) -> Tensor:
        return gaussian_nll_loss(input, target, var, full=self.full, eps=self.eps, reduction=self.reduction)
