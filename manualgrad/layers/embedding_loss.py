"""Losses of an embedding: which vectors should lie close together, and which apart.

They are made of a distance, a margin and a reduction. Those of a triplet take the distance from distance.py,
or from the user, and only what follows it is derived here. Reductions are those of loss.py, and so is
``share``, the gradient of each ℓ_i.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ..function import (
    FLOAT32,
    FLOAT32_ON_ACCELERATOR,
    UNCHANGED,
    Autocast,
    Function,
    apply,
    check_number,
    check_tensors,
    wide,
)
from ._broadcast import broadcast, floating_dtype
from .distance import distance, pairwise_distance
from .loss import check_reduction, legacy_reduction, reduce, share

__all__ = [
    "CosineEmbeddingLoss",
    "CosineEmbeddingLossFunction",
    "TripletMarginLoss",
    "TripletMarginLossFunction",
    "TripletMarginWithDistanceLoss",
    "cosine_embedding_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]

EPSILON = 1e-12


class CosineEmbeddingLossFunction(Function):
    """A similar pair is to point the same way, a dissimilar one to have a cosine below a margin.

    Forward    a = Σ x₁² + ε,   b = Σ x₂² + ε,   c = Σ x₁ x₂ / (√a √b),   ε = 10⁻¹²
               t = 1:  ℓ = 1 − c     t = −1:  ℓ = max(0, c − m)  with margin m     another t:  ℓ = 0
    Backward   s = ∂L/∂ℓ,   ∂L/∂c = s ([t = −1] [c − m ≥ 0] − [t = 1])   (the kink counts as missed)
               ∂a/∂x₁ = 2 x₁, so that ∂(1/√a)/∂x₁ = −x₁ / (a √a), and by the product rule
               ∂c/∂x₁ = x₂ / (√a √b) − c x₁ / a,   ∂c/∂x₂ = x₁ / (√a √b) − c x₂ / b
    Shapes     x₁, x₂: (N, D) or (D);   t: (N) or ()
    Saves      x₁, x₂, t
    Source     Wang et al. 2014, arXiv:1404.4661 (similarity learned from pairs); the angle: distance.py
    """

    @staticmethod
    def cosine(x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """c, √a and √b, the last axis kept."""
        root_a = (x1.square().sum(-1, keepdim=True) + EPSILON).sqrt()
        root_b = (x2.square().sum(-1, keepdim=True) + EPSILON).sqrt()
        return (x1 * x2).sum(-1, keepdim=True) / (root_a * root_b), root_a, root_b

    @staticmethod
    def forward(x1: Tensor, x2: Tensor, target: Tensor, margin: float, reduction: str):
        c = CosineEmbeddingLossFunction.cosine(wide(x1), wide(x2))[0].squeeze(-1)
        similar = torch.where(target == 1, 1 - c, 0)
        dissimilar = torch.where(target == -1, (c - margin).clamp(min=0), 0)
        return reduce(similar + dissimilar, reduction).to(floating_dtype(x1, x2))

    @staticmethod
    def setup_context(ctx, inputs, output):
        x1, x2, target, ctx.margin, ctx.reduction = inputs
        ctx.save_for_backward(x1, x2, target)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x1, x2, target = ctx.saved_tensors
        c, root_a, root_b = CosineEmbeddingLossFunction.cosine(wide(x1), wide(x2))
        s = share(grad, ctx.reduction, target.numel())
        t = target.unsqueeze(-1)
        s = s.unsqueeze(-1) if ctx.reduction == "none" else s
        missed = (t == -1) & (c - ctx.margin >= 0)
        grad_c = s * (missed.to(c.dtype) - (t == 1).to(c.dtype))
        grad_x1 = grad_x2 = None
        if ctx.needs_input_grad[0]:
            grad_x1 = (grad_c * (x2 / root_b - c * x1 / root_a) / root_a).to(x1.dtype)
        if ctx.needs_input_grad[1]:
            grad_x2 = (grad_c * (x1 / root_a - c * x2 / root_b) / root_b).to(x2.dtype)
        return grad_x1, grad_x2, None, None, None


def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average=None,
    reduce=None,
    reduction: str = "mean",
) -> Tensor:
    """Loss of an angle, as :func:`torch.nn.functional.cosine_embedding_loss`.

    Args:
        input1, input2: vectors, shape (N, D), or (D) for one pair; broadcast to each other.
        target: 1 (similar) or −1 (dissimilar), shape (N) or ().
        margin: the cosine that a dissimilar pair may have.
        size_average, reduce: deprecated, as in torch; ``reduction`` takes their place.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        ValueError: if ``reduction`` is no reduction.
        RuntimeError: if shapes do not fit.
    """
    check_tensors("cosine_embedding_loss", input1=input1, input2=input2, target=target)
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_reduction("cosine_embedding_loss", reduction)
    check_number("cosine_embedding_loss", margin=margin)
    axes = target.dim() + 1
    if target.dim() > 1 or input1.dim() != axes or input2.dim() != axes:
        raise RuntimeError(
            "cosine_embedding_loss: expected input1 and input2 of shape (N, D) and a target of shape (N), or "
            f"(D) and (), but got {list(input1.shape)}, {list(input2.shape)} and {list(target.shape)}"
        )
    # The target has no axis D: it takes part with length 1 there.
    pairs = {"input1": input1, "input2": input2, "target": target.unsqueeze(-1)}
    x1, x2, _ = broadcast("cosine_embedding_loss", **pairs)
    options = (target.expand(x1.shape[:-1]), float(margin), reduction)
    return apply(CosineEmbeddingLossFunction, x1, x2, *options, autocast=FLOAT32)


class CosineEmbeddingLoss(nn.CosineEmbeddingLoss):
    """:class:`torch.nn.CosineEmbeddingLoss` with a hand-written backward."""

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        return cosine_embedding_loss(input1, input2, target, margin=self.margin, reduction=self.reduction)


class TripletMarginLossFunction(Function):
    """An anchor is to be nearer to a positive example than to a negative one, by a margin.

    Forward    d⁺ = d(anchor, positive),   d⁻ = d(anchor, negative),   d˟ = d(positive, negative), if swapped
               n = min(d⁻, d˟)   (the nearer of the two to the negative serves as anchor; else n = d⁻)
               z = m + d⁺ − n  with margin m,   ℓ = max(0, z)
    Backward   h = s [z ≥ 0],   s = ∂L/∂ℓ   (the kink counts as missed, as in torch)
               ∂L/∂d⁺ = h,   ∂L/∂n = −h,  which goes to the smaller of d⁻ and d˟, and by halves if they tie
    Shapes     d⁺, d⁻, d˟: the same, any (d˟ may be None)
    Saves      d⁺, d⁻, d˟
    Source     Schroff, Kalenichenko, Philbin 2015, arXiv:1503.03832; the swap: Balntas et al. 2016,
               doi:10.5244/C.30.119
    """

    @staticmethod
    def missed_by(positive: Tensor, negative: Tensor, swapped: Tensor | None, margin: float) -> Tensor:
        """z"""
        nearest = wide(negative) if swapped is None else torch.minimum(wide(negative), wide(swapped))
        return margin + wide(positive) - nearest

    @staticmethod
    def forward(positive: Tensor, negative: Tensor, swapped: Tensor | None, margin: float, reduction: str):
        z = TripletMarginLossFunction.missed_by(positive, negative, swapped, margin)
        kinds = (positive, negative) if swapped is None else (positive, negative, swapped)
        return reduce(z.clamp(min=0), reduction).to(floating_dtype(*kinds))

    @staticmethod
    def setup_context(ctx, inputs, output):
        positive, negative, swapped, ctx.margin, ctx.reduction = inputs
        ctx.save_for_backward(positive, negative, swapped)

    @staticmethod
    def backward(ctx, grad: Tensor):
        positive, negative, swapped = ctx.saved_tensors
        z = TripletMarginLossFunction.missed_by(positive, negative, swapped, ctx.margin)
        h = share(grad, ctx.reduction, z.numel()) * (z >= 0)
        grad_negative, grad_swapped = -h, None
        if swapped is not None:
            part = torch.where(negative == swapped, 0.5, (negative < swapped).to(h.dtype))
            grad_negative, grad_swapped = -h * part, (-h * (1 - part)).to(swapped.dtype)
        return h.to(positive.dtype), grad_negative.to(negative.dtype), grad_swapped, None, None


Distance = Callable[[Tensor, Tensor], Tensor]


def _triplet(
    name: str,
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    distance_function: Distance,
    margin: float,
    swap: bool,
    reduction: str,
    autocast: Autocast,
) -> Tensor:
    check_reduction(name, reduction)
    if margin <= 0:
        raise ValueError(f"{name}: margin must be greater than 0, but got {margin}")
    if not anchor.dim() == positive.dim() == negative.dim():
        raise RuntimeError(
            f"{name}: anchor, positive and negative must have equally many axes, but have shapes "
            f"{list(anchor.shape)}, {list(positive.shape)} and {list(negative.shape)}"
        )
    distances = {
        "d(anchor, positive)": distance_function(anchor, positive),
        "d(anchor, negative)": distance_function(anchor, negative),
    }
    if swap:
        distances["d(positive, negative)"] = distance_function(positive, negative)
    d_positive, d_negative, *rest = broadcast(name, **distances)
    options = (rest[0] if swap else None, float(margin), reduction)
    return apply(TripletMarginLossFunction, d_positive, d_negative, *options, autocast=autocast)


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average=None,
    reduce=None,
    reduction: str = "mean",
) -> Tensor:
    """Loss of two distances from an anchor, as :func:`torch.nn.functional.triplet_margin_loss`.

    Args:
        anchor, positive, negative: vectors, shape (*, D), with equally many axes, broadcast to each other.
        margin: by how much the positive example should be nearer, greater than 0.
        p, eps: of the distance, as in :func:`manualgrad.functional.pairwise_distance`.
        swap: let the positive example be the anchor where it is nearer to the negative one.
        size_average, reduce, reduction: as in :func:`cosine_embedding_loss`; ``"none"`` gives shape (*).

    Raises:
        ValueError: if ``margin`` is not positive, or ``reduction`` is no reduction.
        RuntimeError: if shapes do not fit.
    """
    check_tensors("triplet_margin_loss", anchor=anchor, positive=positive, negative=negative)
    reduction = legacy_reduction(size_average, reduce, reduction)
    name = "triplet_margin_loss"
    measure = partial(distance, name, p=p, eps=eps, keepdim=False, autocast=FLOAT32)
    return _triplet(name, anchor, positive, negative, measure, margin, swap, reduction, FLOAT32)


class TripletMarginLoss(nn.TripletMarginLoss):
    """:class:`torch.nn.TripletMarginLoss` with a hand-written backward."""

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return triplet_margin_loss(
            anchor,
            positive,
            negative,
            margin=self.margin,
            p=self.p,
            eps=self.eps,
            swap=self.swap,
            reduction=self.reduction,
        )


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Distance | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """Loss of two distances, as :func:`torch.nn.functional.triplet_margin_with_distance_loss`.

    Args:
        anchor, positive, negative: whatever ``distance_function`` takes, with equally many axes.
        distance_function: of two tensors; :func:`manualgrad.functional.pairwise_distance` if None. The
            gradient of another one is its own affair.
        margin, swap, reduction: as in :func:`triplet_margin_loss`.

    Raises:
        ValueError: if ``margin`` is not positive, or ``reduction`` is no reduction.
        RuntimeError: if shapes do not fit.
    """
    check_tensors("triplet_margin_with_distance_loss", anchor=anchor, positive=positive, negative=negative)
    measure = pairwise_distance if distance_function is None else distance_function
    # In torch these are separate steps, and autocast widens sums alone.
    autocast = FLOAT32_ON_ACCELERATOR if reduction == "sum" else UNCHANGED
    name = "triplet_margin_with_distance_loss"
    return _triplet(name, anchor, positive, negative, measure, margin, swap, reduction, autocast)


class TripletMarginWithDistanceLoss(nn.TripletMarginWithDistanceLoss):
    """:class:`torch.nn.TripletMarginWithDistanceLoss` with a hand-written backward.

    torch's own PairwiseDistance, which the constructor takes if none is given, is computed by ours, unless
    it has hooks.
    """

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        measure = self.distance_function
        if isinstance(measure, nn.PairwiseDistance) and _replaceable(measure):
            measure = partial(pairwise_distance, p=measure.norm, eps=measure.eps, keepdim=measure.keepdim)
        return triplet_margin_with_distance_loss(
            anchor,
            positive,
            negative,
            distance_function=measure,
            margin=self.margin,
            swap=self.swap,
            reduction=self.reduction,
        )


def _replaceable(module: nn.PairwiseDistance) -> bool:
    # torch's class itself, whose hooks, if it has any, are to run.
    hooks = (module._forward_pre_hooks, module._forward_hooks, module._backward_pre_hooks)
    return type(module) is nn.PairwiseDistance and not any((*hooks, module._backward_hooks))
