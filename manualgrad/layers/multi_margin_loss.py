"""Margin losses of classes: the classes of a sample are to score higher than its others, by a margin.

What a margin is, margin_loss.py says. Reductions are those of loss.py, and so is ``share``, the gradient of
each ℓ_i. Throughout, i is a sample and c a class, one of C, and ω are weights of classes.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..function import (
    FLOAT32,
    FLOAT32_ON_ACCELERATOR,
    Function,
    apply,
    check_floating,
    check_number,
    check_optional,
    check_tensors,
    transforming,
    values_known,
    wide,
)
from ._broadcast import broadcast, floating_dtype
from .cross_entropy import check_weight_dtype
from .loss import check_constant, check_reduction, legacy_reduction, reduce, share, softplus_of_minus

__all__ = [
    "MultiLabelMarginLoss",
    "MultiLabelMarginLossFunction",
    "MultiLabelSoftMarginLoss",
    "MultiLabelSoftMarginLossFunction",
    "MultiMarginLoss",
    "MultiMarginLossFunction",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
]


class MultiLabelSoftMarginLossFunction(Function):
    """One logistic loss for each class a sample may belong to, averaged over the C classes.

    Forward    −log σ(x) = softplus(−x),   −log(1 − σ(x)) = x + softplus(−x)   (see BCEWithLogitsLoss)
               e_c = t_c softplus(−x_c) + (1 − t_c) (x_c + softplus(−x_c)) = (1 − t_c) x_c + softplus(−x_c)
               ℓ = Σ_c ω_c e_c / C
    Backward   s = ∂L/∂ℓ, the same for all classes of a sample;  ∂e_c/∂x_c = (1 − t_c) + (σ(x_c) − 1):
               ∂L/∂x_c = s ω_c (σ(x_c) − t_c) / C,   ∂L/∂t_c = −s ω_c x_c / C,   ∂L/∂ω_c = s e_c / C
    Shapes     x, t, ω: the same, the classes along ``dim`` (ω may be None);   ℓ: without ``dim``
    Saves      x, t, ω
    Source     Nam et al. 2014, arXiv:1312.5419 (cross entropy per label)
    """

    @staticmethod
    def forward(x: Tensor, target: Tensor, weight: Tensor | None, dim: int, classes: int, reduction: str):
        error = (1 - wide(target)) * wide(x) + softplus_of_minus(wide(x))
        error = error if weight is None else error * wide(weight)
        loss = error.sum(dim) / classes
        kinds = (x, target) if weight is None else (x, target, weight)
        return reduce(loss, reduction).to(floating_dtype(*kinds))

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, target, weight, ctx.dim, ctx.classes, ctx.reduction = inputs
        ctx.save_for_backward(x, target, weight)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, target, weight = ctx.saved_tensors
        samples = x.numel() // max(x.shape[ctx.dim], 1)
        s = share(grad, ctx.reduction, samples) / ctx.classes
        s = s.unsqueeze(ctx.dim) if ctx.reduction == "none" else s
        grad_x = grad_target = grad_weight = None
        weighted = s if weight is None else s * wide(weight)
        if ctx.needs_input_grad[0]:
            grad_x = (weighted * (torch.sigmoid(wide(x)) - wide(target))).to(x.dtype)
        if ctx.needs_input_grad[1]:
            grad_target = (-weighted * wide(x)).to(target.dtype)
        if weight is not None and ctx.needs_input_grad[2]:
            error = (1 - wide(target)) * wide(x) + softplus_of_minus(wide(x))
            grad_weight = (s * error).to(weight.dtype)
        return grad_x, grad_target, grad_weight, None, None, None


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average=None,
    reduce=None,
    reduction: str = "mean",
) -> Tensor:
    """Mean logistic loss over classes, as :func:`torch.nn.functional.multilabel_soft_margin_loss`.

    Args:
        input: logits, shape (*, C).
        target: 0 or 1 for each class, or between; broadcast with the input.
        weight: of each class or element, broadcast with both.
        size_average, reduce: deprecated, as in torch; ``reduction`` takes their place.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``"none"`` gives shape (*).

    Raises:
        ValueError: if ``reduction`` is no reduction.
        RuntimeError: if shapes do not broadcast, or the input is not floating point.
        IndexError: if the input has no class axis.
    """
    check_tensors("multilabel_soft_margin_loss", input=input, target=target)
    check_optional("multilabel_soft_margin_loss", weight=weight)
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_reduction("multilabel_soft_margin_loss", reduction)
    check_floating("multilabel_soft_margin_loss", input=input)
    if input.dim() == 0:
        raise IndexError("multilabel_soft_margin_loss: expected an input with a class axis, but got a number")
    given = {"input": input, "target": target} | ({} if weight is None else {"weight": weight})
    x, t, *w = broadcast("multilabel_soft_margin_loss", **given)
    # Counted from the front, as torch counts: after broadcasting it need not be the last.
    dim, classes = input.dim() - 1, input.shape[-1]
    options = (w[0] if w else None, dim, classes, reduction)
    return apply(MultiLabelSoftMarginLossFunction, x, t, *options, autocast=FLOAT32_ON_ACCELERATOR)


class MultiLabelSoftMarginLoss(nn.MultiLabelSoftMarginLoss):
    """:class:`torch.nn.MultiLabelSoftMarginLoss` with a hand-written backward."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return multilabel_soft_margin_loss(input, target, weight=self.weight, reduction=self.reduction)


class MultiMarginLossFunction(Function):
    """The true class is to score higher than every other, by a margin: the multi-class hinge.

    Forward    z_ic = m − x_{i, t_i} + x_ic,   ℓ_i = (ω_{t_i} / C) Σ_{c ≠ t_i} max(0, z_ic)^p   with margin m,
               and t_i the true class
    Backward   s_i = ∂L/∂ℓ_i;  a rival c that comes too near is pushed down by
               h_ic = s_i (ω_{t_i} / C) p max(0, z_ic)^(p−1) [z_ic > 0] [c ≠ t_i]
               and the true class, which is in every z_ic with a minus, is pushed up by their sum:
               ∂L/∂x_ic = h_ic − δ_{c, t_i} Σ_k h_ik
    Shapes     x: (N, C);   t: (N), integers in [0, C);   ω: (C) or None;   p: 1 or 2
    Saves      x, t, ω
    Source     Crammer, Singer 2001, https://jmlr.org/papers/v2/crammer01a.html; the sum over rivals: Weston,
               Watkins 1999, "Support vector machines for multi-class pattern recognition"
    """

    @staticmethod
    def missed(x: Tensor, target: Tensor, margin: float) -> Tensor:
        """max(0, z), and 0 for the true class."""
        true_class = target.unsqueeze(1)
        z = margin - x.gather(1, true_class) + x
        rival = torch.arange(x.shape[1], device=x.device) != true_class
        return torch.where(rival, z.clamp(min=0), 0)

    @staticmethod
    def forward(x: Tensor, target: Tensor, p: int, margin: float, weight: Tensor | None, reduction: str):
        check_weight_dtype("multi_margin_loss", x, weight)
        missed = MultiMarginLossFunction.missed(wide(x), target, margin)
        loss = (missed if p == 1 else missed.square()).sum(1) / x.shape[1]
        loss = loss if weight is None else loss * wide(weight)[target]
        return reduce(loss, reduction).to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, target, ctx.p, ctx.margin, weight, ctx.reduction = inputs
        ctx.save_for_backward(x, target, weight)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, target, weight = ctx.saved_tensors
        s = share(grad, ctx.reduction, x.shape[0]) / x.shape[1]
        s = s if weight is None else s * wide(weight)[target]
        s = s.unsqueeze(1) if s.dim() else s
        missed = MultiMarginLossFunction.missed(wide(x), target, ctx.margin)
        h = s * (missed > 0) if ctx.p == 1 else s * 2 * missed
        grad_x = h.scatter_add(1, target.unsqueeze(1), -h.sum(1, keepdim=True))
        return grad_x.to(x.dtype), None, None, None, None, None


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average=None,
    reduce=None,
    reduction: str = "mean",
) -> Tensor:
    """Multi-class hinge, as :func:`torch.nn.functional.multi_margin_loss`.

    Args:
        input: scores, shape (N, C) or (C).
        target: classes, shape (N), or () for one sample.
        p: 1, or 2 for a squared hinge.
        margin: by how much the true class should lead.
        weight: of each class, shape (C).
        size_average, reduce, reduction: as in :func:`multilabel_soft_margin_loss`; "none" gives shape (N).

    Raises:
        ValueError: if ``p`` is neither 1 nor 2, ``weight`` has not one axis, or ``reduction`` is none.
        RuntimeError: if shapes or dtypes do not fit, a target is no class, or ``weight`` requires a gradient,
            which torch does not have either.
    """
    check_tensors("multi_margin_loss", input=input, target=target)
    check_optional("multi_margin_loss", weight=weight)
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_reduction("multi_margin_loss", reduction)
    check_number("multi_margin_loss", margin=margin)
    if p not in (1, 2):
        raise ValueError(f"multi_margin_loss: p must be 1 or 2, but got {p}")
    if weight is not None and weight.dim() != 1:
        raise ValueError(f"multi_margin_loss: weight must have shape (C), but has {list(weight.shape)}")
    check_constant("multi_margin_loss", "weight", weight)
    x = _scores("multi_margin_loss", input)
    if target.dim() > 1 or target.numel() != x.shape[0]:
        raise RuntimeError(
            f"multi_margin_loss: the target must have shape [{x.shape[0]}], a class for each sample of the "
            f"input {list(input.shape)}, but has {list(target.shape)}"
        )
    if weight is not None and weight.shape[0] != x.shape[1]:
        raise RuntimeError(
            f"multi_margin_loss: weight must have an element for each of the {x.shape[1]} classes, but has "
            f"{weight.shape[0]}"
        )
    _check_classes("multi_margin_loss", target, 0, x.shape[1])
    t = target.reshape(x.shape[0])
    options = (t, int(p), float(margin), weight, reduction)
    loss = apply(MultiMarginLossFunction, x, *options, autocast=FLOAT32)
    return loss.squeeze(0) if reduction == "none" and target.dim() == 0 else loss


class MultiMarginLoss(nn.MultiMarginLoss):
    """:class:`torch.nn.MultiMarginLoss` with a hand-written backward."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return multi_margin_loss(
            input, target, p=self.p, margin=self.margin, weight=self.weight, reduction=self.reduction
        )


class MultiLabelMarginLossFunction(Function):
    """Every class a sample belongs to is to score higher, by 1, than every class it does not belong to.

    Forward    t_i lists the classes of sample i, up to the first −1;  j runs over that list, k over classes
               z_ijk = 1 − x_{i, t_ij} + x_ik,   ℓ_i = (1/C) Σ_j Σ_{k not in the list} max(0, z_ijk)
    Backward   a_ijk = [z_ijk > 0], 0 where j is beyond the list or k in it;  s_i = ∂L/∂ℓ_i
               k is in all z_ijk with a plus, t_ij in all with a minus:
               ∂L/∂x_ik = (s_i / C) (Σ_j a_ijk − Σ_{j: t_ij = k} Σ_c a_ijc)
               (in code the sums over j and over c are ``above`` and ``below``)
    Shapes     x: (N, C);   t: (N, C), integers in [−1, C)
    Saves      x, t
    Source     Elisseeff, Weston 2001, "A Kernel Method for Multi-Labelled Classification"
    """

    @staticmethod
    def pairs(x: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The listed classes (0 beyond the list), z, and a; these two of shape (N, C, C)."""
        listed = (target >= 0).long().cumprod(1)
        labels = target * listed
        belongs = torch.zeros_like(target).scatter_add(1, labels, listed) > 0
        z = 1 - x.gather(1, labels).unsqueeze(2) + x.unsqueeze(1)
        active = (listed > 0).unsqueeze(2) & ~belongs.unsqueeze(1) & (z > 0)
        return labels, z, active

    @staticmethod
    def by_parts(x: Tensor, target: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """:meth:`pairs` of a few samples at a time: of all, they would take C times the memory of x."""
        samples = max(1, 2**22 // max(1, x.shape[1] ** 2))
        for part in zip(x.split(samples), target.split(samples)):
            yield MultiLabelMarginLossFunction.pairs(*part)

    @staticmethod
    def forward(x: Tensor, target: Tensor, reduction: str):
        parts = MultiLabelMarginLossFunction.by_parts(wide(x), target)
        loss = torch.cat([torch.where(active, z, 0).sum((1, 2)) for _, z, active in parts]) / x.shape[1]
        return reduce(loss, reduction).to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, target, ctx.reduction = inputs
        ctx.save_for_backward(x, target)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, target = ctx.saved_tensors
        s = share(grad, ctx.reduction, x.shape[0]) / x.shape[1]
        s = s.unsqueeze(1) if s.dim() else s
        counts = [
            (labels, active.sum(1), active.sum(2))
            for labels, _, active in MultiLabelMarginLossFunction.by_parts(wide(x), target)
        ]
        labels, above, below = (torch.cat(column) for column in zip(*counts))
        grad_x = (s * above).scatter_add(1, labels, -s * below)
        return grad_x.to(x.dtype), None, None


def multilabel_margin_loss(
    input: Tensor, target: Tensor, size_average=None, reduce=None, reduction: str = "mean"
) -> Tensor:
    """Hinge of many labels, as :func:`torch.nn.functional.multilabel_margin_loss`.

    Args:
        input: scores, shape (N, C) or (C).
        target: the classes of each sample, then −1; what follows does not count. Shape of the input.
        size_average, reduce, reduction: as in :func:`multilabel_soft_margin_loss`; "none" gives shape (N).

    Raises:
        ValueError: if ``reduction`` is no reduction.
        RuntimeError: if shapes or dtypes do not fit, or a target is neither a class nor −1.
    """
    check_tensors("multilabel_margin_loss", input=input, target=target)
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_reduction("multilabel_margin_loss", reduction)
    x = _scores("multilabel_margin_loss", input)
    wanted = x.shape if input.dim() == 2 else x.shape[1:]
    if target.shape != wanted and not (input.dim() == 0 and target.dim() == 0):
        raise RuntimeError(
            f"multilabel_margin_loss: inconsistent target size {list(target.shape)} for an input of shape "
            f"{list(input.shape)}: the target lists the classes of each sample, filled with -1 to "
            f"{list(wanted)}"
        )
    _check_classes("multilabel_margin_loss", target, -1, x.shape[1])
    loss = apply(MultiLabelMarginLossFunction, x, target.reshape(x.shape), reduction, autocast=FLOAT32)
    return loss.squeeze(0) if reduction == "none" and target.dim() <= 1 else loss


class MultiLabelMarginLoss(nn.MultiLabelMarginLoss):
    """:class:`torch.nn.MultiLabelMarginLoss` with a hand-written backward."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return multilabel_margin_loss(input, target, reduction=self.reduction)


def _scores(name: str, input: Tensor) -> Tensor:
    # The input of a loss of classes, checked, as (N, C).
    check_floating(name, input=input)
    if input.dim() > 2 or (input.dim() and input.shape[-1] == 0):
        raise RuntimeError(
            f"{name}: expected a non-empty input of shape (N, C) or (C), where N may be 0, but got "
            f"{list(input.shape)}"
        )
    return input if input.dim() == 2 else input.reshape(1, input.numel())


def _check_classes(name: str, target: Tensor, lowest: int, classes: int) -> None:
    if target.dtype != torch.int64:
        raise RuntimeError(f"{name}: the target must be int64 (torch.long), but has {target.dtype}; cast it")
    if not transforming() and values_known(target):
        wrong = (target < lowest) | (target >= classes)
        if wrong.any():
            raise RuntimeError(
                f"{name}: target {target[wrong][0].item()} is out of range: it must be from {lowest} to "
                f"{classes - 1}"
            )
