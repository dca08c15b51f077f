"""Margin losses: a score may be on the right side by a margin; beyond it there is nothing more to gain.

Most are a hinge, max(0, z), of how much a margin is missed by. On this page the target is one of two sides,
−1 or 1; where it is a class, see multi_margin_loss.py. Reductions are those of loss.py, and so is ``share``,
the gradient of each ℓ_i. Throughout, t is the target and m the margin.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..function import (
    FLOAT32,
    Function,
    apply,
    check_floating,
    check_number,
    check_tensors,
    wide,
)
from ._broadcast import broadcast, floating_dtype
from .loss import check_constant, check_reduction, legacy_reduction, reduce, share, softplus_of_minus

__all__ = [
    "HingeEmbeddingLoss",
    "HingeEmbeddingLossFunction",
    "MarginRankingLoss",
    "MarginRankingLossFunction",
    "SoftMarginLoss",
    "SoftMarginLossFunction",
    "hinge_embedding_loss",
    "margin_ranking_loss",
    "soft_margin_loss",
]


class HingeEmbeddingLossFunction(Function):
    """A distance x that is to be small for a similar pair, and at least a margin for a dissimilar one.

    Forward    t = 1:  ℓ = x,   t = −1:  ℓ = max(0, m − x),   another t: the sum of both, as in torch
    Backward   ∂ℓ/∂x = [t ≠ −1] − [t ≠ 1] [m − x ≥ 0],   ∂L/∂x = s ∂ℓ/∂x   with s = ∂L/∂ℓ
               (the kink, where x = m, counts as missed, as in torch)
    Shapes     x, t: the same, any
    Saves      x, t
    Source     Hadsell, Chopra, LeCun 2006, doi:10.1109/CVPR.2006.100
    """

    @staticmethod
    def forward(x: Tensor, target: Tensor, margin: float, reduction: str):
        similar = torch.where(target != -1, wide(x), 0)
        dissimilar = torch.where(target != 1, (margin - wide(x)).clamp(min=0), 0)
        return reduce(similar + dissimilar, reduction).to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, target, ctx.margin, ctx.reduction = inputs
        ctx.save_for_backward(x, target)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, target = ctx.saved_tensors
        s = share(grad, ctx.reduction, x.numel())
        missed = (target != 1) & (ctx.margin - wide(x) >= 0)
        slope = (target != -1).to(s.dtype) - missed.to(s.dtype)
        return (s * slope).to(x.dtype), None, None, None


def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average=None,
    reduce=None,
    reduction: str = "mean",
) -> Tensor:
    """Loss of a distance, as :func:`torch.nn.functional.hinge_embedding_loss`.

    Args:
        input: distances, any shape.
        target: 1 (similar) or −1 (dissimilar), broadcast with the input.
        margin: what the distance of a dissimilar pair should reach.
        size_average, reduce: deprecated, as in torch; ``reduction`` takes their place.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        ValueError: if ``reduction`` is no reduction.
        RuntimeError: if shapes do not broadcast, or ``input`` is not floating point.
    """
    check_floating("hinge_embedding_loss", RuntimeError, input=input)
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_reduction("hinge_embedding_loss", reduction)
    check_number("hinge_embedding_loss", margin=margin)
    x, t = broadcast("hinge_embedding_loss", input=input, target=target)
    return apply(HingeEmbeddingLossFunction, x, t, float(margin), reduction, autocast=FLOAT32)


class HingeEmbeddingLoss(nn.HingeEmbeddingLoss):
    """:class:`torch.nn.HingeEmbeddingLoss` with a hand-written backward."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return hinge_embedding_loss(input, target, margin=self.margin, reduction=self.reduction)


class MarginRankingLossFunction(Function):
    """Of two scores, that which should be higher is to be so by a margin.

    Forward    z = m − t d   with the lead  d = x₁ − x₂,   ℓ = max(0, z)
    Backward   a = ∂L/∂z = s [z ≥ 0],  s = ∂L/∂ℓ   (the kink counts as missed, as in torch)
               ∂L/∂d = −a t:   ∂L/∂x₁ = −a t,   ∂L/∂x₂ = a t;   ∂L/∂t = −a d
    Shapes     x₁, x₂, t: the same, any
    Saves      x₁, x₂, t
    Source     Herbrich, Graepel, Obermayer 2000, "Large Margin Rank Boundaries for Ordinal Regression"
    """

    @staticmethod
    def forward(x1: Tensor, x2: Tensor, target: Tensor, margin: float, reduction: str):
        z = margin - wide(target) * (wide(x1) - wide(x2))
        return reduce(z.clamp(min=0), reduction).to(floating_dtype(x1, x2, target))

    @staticmethod
    def setup_context(ctx, inputs, output):
        x1, x2, target, ctx.margin, ctx.reduction = inputs
        ctx.save_for_backward(x1, x2, target)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x1, x2, target = ctx.saved_tensors
        lead = wide(x1) - wide(x2)
        z = ctx.margin - wide(target) * lead
        a = share(grad, ctx.reduction, z.numel()) * (z >= 0)
        grad_x1 = grad_x2 = grad_target = None
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            grad_lead = -a * wide(target)
            grad_x1, grad_x2 = grad_lead.to(x1.dtype), (-grad_lead).to(x2.dtype)
        if ctx.needs_input_grad[2]:
            grad_target = (-a * lead).to(target.dtype)
        return grad_x1, grad_x2, grad_target, None, None


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average=None,
    reduce=None,
    reduction: str = "mean",
) -> Tensor:
    """Loss of an order, as :func:`torch.nn.functional.margin_ranking_loss`.

    Args:
        input1, input2: scores, with equally many axes, broadcast to each other.
        target: 1 where ``input1`` should be higher, −1 where ``input2`` should; as many axes.
        margin: by how much.
        size_average, reduce, reduction: as in :func:`hinge_embedding_loss`.

    Raises:
        ValueError: if ``reduction`` is no reduction.
        RuntimeError: if the numbers of axes differ, or shapes do not broadcast.
    """
    check_tensors("margin_ranking_loss", input1=input1, input2=input2, target=target)
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_reduction("margin_ranking_loss", reduction)
    check_number("margin_ranking_loss", margin=margin)
    if target.dtype == torch.bool:
        raise RuntimeError("margin_ranking_loss: the target must be 1 or -1, but has torch.bool; cast it")
    if input1.dim() != input2.dim() or input1.dim() != target.dim():
        raise RuntimeError(
            "margin_ranking_loss: input1, input2 and target must have equally many axes, but have shapes "
            f"{list(input1.shape)}, {list(input2.shape)} and {list(target.shape)}"
        )
    x1, x2, t = broadcast("margin_ranking_loss", input1=input1, input2=input2, target=target)
    return apply(MarginRankingLossFunction, x1, x2, t, float(margin), reduction, autocast=FLOAT32)


class MarginRankingLoss(nn.MarginRankingLoss):
    """:class:`torch.nn.MarginRankingLoss` with a hand-written backward."""

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        return margin_ranking_loss(input1, input2, target, margin=self.margin, reduction=self.reduction)


class SoftMarginLossFunction(Function):
    """A logistic loss: a hinge without the kink, and without an end.

    Forward    ℓ = log(1 + e^(−t x)) = softplus(−t x)
    Backward   softplus′(u) = e^u / (1 + e^u) = σ(u):   ∂L/∂x = −s t σ(−t x),   s = ∂L/∂ℓ
    Shapes     x, t: the same, any
    Saves      x, t
    Source     Cox 1958, doi:10.1111/j.2517-6161.1958.tb00292.x (softplus without overflow: loss.py)
    """

    @staticmethod
    def forward(x: Tensor, target: Tensor, reduction: str):
        return reduce(softplus_of_minus(target * wide(x)), reduction).to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, target, ctx.reduction = inputs
        ctx.save_for_backward(x, target)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, target = ctx.saved_tensors
        s = share(grad, ctx.reduction, x.numel())
        return (-s * target * torch.sigmoid(-target * wide(x))).to(x.dtype), None, None


def soft_margin_loss(
    input: Tensor, target: Tensor, size_average=None, reduce=None, reduction: str = "mean"
) -> Tensor:
    """Logistic loss of a target −1 or 1, as :func:`torch.nn.functional.soft_margin_loss`.

    Args:
        input: scores, any shape.
        target: −1 or 1, of a shape that broadcasts to the input's.
        size_average, reduce, reduction: as in :func:`hinge_embedding_loss`.

    Raises:
        ValueError: if ``reduction`` is no reduction.
        RuntimeError: if the target does not broadcast to the input's shape, the input is not floating point,
            or the target requires a gradient, which torch does not have either.
    """
    check_floating("soft_margin_loss", RuntimeError, input=input)
    check_tensors("soft_margin_loss", target=target)
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_reduction("soft_margin_loss", reduction)
    check_constant("soft_margin_loss", "target", target)
    x, t = broadcast("soft_margin_loss", input=input, target=target)
    if x.shape != input.shape:
        raise RuntimeError(
            f"soft_margin_loss: the target, of shape {list(target.shape)}, must broadcast to the input, of "
            f"shape {list(input.shape)}; expand the input"
        )
    return apply(SoftMarginLossFunction, x, t, reduction, autocast=FLOAT32)


class SoftMarginLoss(nn.SoftMarginLoss):
    """:class:`torch.nn.SoftMarginLoss` with a hand-written backward."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return soft_margin_loss(input, target, reduction=self.reduction)
