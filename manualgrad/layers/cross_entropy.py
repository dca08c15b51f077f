"""Losses of a classification: NLLLoss and CrossEntropyLoss. Reductions are those of loss.py.

Throughout, i is a sample (of images, a pixel of one), c and k are classes, t_i is the true one, and ω_i says
how much the sample counts; p is the softmax of the logits z.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from ..function import (
    FLOAT32,
    Function,
    apply,
    check_floating,
    check_index,
    check_tensors,
    transforming,
    values_known,
    wide,
)
from .loss import check_constant, check_reduction, legacy_reduction, reduce, share

__all__ = [
    "CrossEntropyLoss",
    "CrossEntropyLossFunction",
    "NLLLoss",
    "NLLLoss2d",
    "NLLLossFunction",
    "SoftCrossEntropyLossFunction",
    "cross_entropy",
    "nll_loss",
]

# Samples from which layers that compute their own logits keep how the loss changes with them, where that is
# no larger than what they keep anyway. With fewer samples it would be all that they keep.
KEPT_FROM = 8


def sample_weights(target: Tensor, weight: Tensor | None, ignore_index: int, dtype: torch.dtype) -> Tensor:
    """ω_i = weight[t_i], and 0 where t_i is ignore_index. Shape: of the target."""
    kept = target != ignore_index
    if weight is None:
        return kept.to(dtype)
    return torch.where(kept, weight.to(dtype)[torch.where(kept, target, 0)], 0)


def check_weight_dtype(name: str, x: Tensor, weight: Tensor | None) -> None:
    """Raise RuntimeError unless the weights have the input's dtype; autocast has made them alike by now."""
    if weight is not None and weight.dtype != x.dtype:
        raise RuntimeError(
            f"{name}: weight: expected scalar type {x.dtype} as the input, but found {weight.dtype}"
        )


def pick(x: Tensor, target: Tensor, ignore_index: int) -> Tensor:
    """x_{i, t_i}, with the class on axis 1 of x, and the class 0 where t_i is ignore_index."""
    return x.gather(1, torch.where(target == ignore_index, 0, target).unsqueeze(1)).squeeze(1)


class NLLLossFunction(Function):
    """Negative log-likelihood: minus the log-probability that was given to the true class.

    Forward    ℓ_i = −ω_i x_{i, t_i},   ω_i = weight[t_i], or 0 if t_i is ignored;   the mean is Σ ℓ / Σ ω
    Backward   s_i = ∂L/∂ℓ_i:   ∂L/∂x_ic = −s_i ω_i δ_{c, t_i}: only the true class is responsible
    Shapes     x: (N, C, *);   t: (N, *), integers in [0, C);   weight: (C) or None
    Saves      t and weight, not x
    Source     Goodfellow, Bengio, Courville 2016, "Deep Learning", section 5.5
    """

    @staticmethod
    def forward(x: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str):
        check_weight_dtype("nll_loss", x, weight)
        check_classes("nll_loss", target, x.shape[1], ignore_index)
        omega = sample_weights(target, weight, ignore_index, wide(x).dtype)
        # Multiplying would turn an ignored −∞ into NaN.
        loss = torch.where(target == ignore_index, 0, -omega * pick(wide(x), target, ignore_index))
        return reduce(loss, reduction, omega.sum()).to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, target, weight, ctx.ignore_index, ctx.reduction = inputs
        ctx.size, ctx.dtype = x.shape, x.dtype
        ctx.save_for_backward(target, weight)

    @staticmethod
    def backward(ctx, grad: Tensor):
        target, weight = ctx.saved_tensors
        g = wide(grad)
        omega = sample_weights(target, weight, ctx.ignore_index, g.dtype)
        s = share(g, ctx.reduction, omega.sum())
        true_class = torch.where(target == ctx.ignore_index, 0, target).unsqueeze(1)
        grad_true = torch.where(target == ctx.ignore_index, 0, -s * omega).unsqueeze(1)
        grad_x = g.new_zeros(ctx.size).scatter(1, true_class, grad_true).to(ctx.dtype)
        return grad_x, None, None, None, None


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average=None,
    ignore_index: int = -100,
    reduce=None,
    reduction: str = "mean",
) -> Tensor:
    """Negative log-likelihood, as :func:`torch.nn.functional.nll_loss`.

    Args:
        input: log-probabilities, shape (C), (N, C) or (N, C, d1, ...).
        target: class indices, shape (), (N) or (N, d1, ...).
        weight: of each class, shape (C); the mean is divided by the weights in use.
        ignore_index: the target value that does not count.

    Raises:
        ValueError, RuntimeError: if shapes or dtypes do not fit, or ``reduction`` is no reduction.
        IndexError: if a target is no class.
    """
    check_floating("nll_loss", input=input)
    check_tensors("nll_loss", target=target)
    check_index("nll_loss", ignore_index=ignore_index)
    reduction = legacy_reduction(size_average, reduce, reduction)
    weight = check_constant("nll_loss", "weight", weight)
    x, t = class_indices("nll_loss", input, target, weight, reduction)
    loss = apply(NLLLossFunction, x, t, weight, ignore_index, reduction, autocast=FLOAT32)
    return loss.squeeze(0) if reduction == "none" and input.dim() == 1 else loss


class NLLLoss(nn.NLLLoss):
    """:class:`torch.nn.NLLLoss` with a hand-written backward."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return nll_loss(
            input, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )


with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # torch takes the statement of a subclass for a use

    class NLLLoss2d(NLLLoss, nn.NLLLoss2d):
        """:class:`torch.nn.NLLLoss2d`, the deprecated name of :class:`NLLLoss` for images."""


class CrossEntropyLossFunction(Function):
    """Softmax and negative log-likelihood in one: what their gradients have in common cancels.

    Forward    log p_ic = z_ic − log Σ_k e^z_ik
               q_ic = (1 − ε) ω_i δ_{c, t_i} + ε/C weight_c   (ε smooths the label; q_i = 0 if t_i is ignored)
               ℓ_i = −Σ_c q_ic log p_ic,   the mean is Σ ℓ / Σ ω,   ω_i = weight[t_i], or 0 if t_i is ignored
    Backward   ∂ log p_ik/∂z_ic = δ_kc − p_ic,  so with s_i = ∂L/∂ℓ_i
               ∂L/∂z_ic = −s_i Σ_k q_ik (δ_kc − p_ic) = s_i (p_ic Σ_k q_ik − q_ic)
               which without weights and smoothing is  s_i (p_ic − δ_{c, t_i}).   In code the two terms of q
               come one after the other: ``q_true``, of the true class, and ``rest``
    Shapes     z: (N, C, *);   t: (N, *), integers in [0, C);   weight: (C) or None
    Saves      z, log Σ e^z, t, weight: the probabilities are one exponential away
    Source     Bridle 1990, doi:10.1007/978-3-642-76153-9_28; Szegedy et al. 2015, arXiv:1512.00567
               (smoothing)
    """

    @staticmethod
    def forward(
        z: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str, smoothing: float
    ):
        check_weight_dtype("cross_entropy", z, weight)
        check_classes("cross_entropy", target, z.shape[1], ignore_index)
        logsumexp = torch.logsumexp(wide(z), 1)
        omega = sample_weights(target, weight, ignore_index, logsumexp.dtype)
        loss = (1 - smoothing) * omega * (logsumexp - pick(wide(z), target, ignore_index))
        if smoothing > 0:
            log_p = wide(z) - logsumexp.unsqueeze(1)
            log_p = log_p if weight is None else log_p * along_classes(weight, z.dim())
            loss = loss - smoothing / z.shape[1] * log_p.sum(1)
        loss = torch.where(target == ignore_index, 0, loss)
        return reduce(loss, reduction, omega.sum()).to(z.dtype), logsumexp

    @staticmethod
    def setup_context(ctx, inputs, output):
        z, target, weight, ctx.ignore_index, ctx.reduction, ctx.smoothing = inputs
        _, logsumexp = output
        ctx.mark_non_differentiable(logsumexp)
        ctx.save_for_backward(z, target, weight, logsumexp)

    @staticmethod
    def backward(ctx, grad: Tensor, _logsumexp):
        z, target, weight, logsumexp = ctx.saved_tensors
        if torch.is_grad_enabled():  # differentiated again: it is a function of z, not a constant
            logsumexp = torch.logsumexp(wide(z), 1)
        omega = sample_weights(target, weight, ctx.ignore_index, logsumexp.dtype)
        s = share(grad, ctx.reduction, omega.sum())
        s = torch.where(target == ctx.ignore_index, 0, s).unsqueeze(1)
        true_class = torch.where(target == ctx.ignore_index, 0, target).unsqueeze(1)
        p = torch.exp(wide(z) - logsumexp.unsqueeze(1))
        q_true = (1 - ctx.smoothing) * omega.unsqueeze(1)
        grad_z = s * q_true * p
        if ctx.smoothing > 0:
            rest = ctx.smoothing / z.shape[1]
            rest = torch.full_like(p[:1], rest) if weight is None else rest * along_classes(weight, z.dim())
            grad_z = grad_z + s * (p * rest.sum(1, keepdim=True) - rest)
        grad_z = grad_z.scatter_add(1, true_class, -s * q_true).to(z.dtype)
        return grad_z, None, None, None, None, None


def along_classes(weight: Tensor, ndim: int) -> Tensor:
    """A weight of shape (C), shaped to meet axis 1 of a tensor with ``ndim`` axes."""
    return weight.reshape(1, -1, *(1,) * (ndim - 2))


class SoftCrossEntropyLossFunction(Function):
    """Cross entropy with a target that is a distribution over the classes.

    Forward    q_ic = weight_c ((1 − ε) t_ic + ε/C),   ℓ_i = −Σ_c q_ic log p_ic,   log p = z − log Σ e^z
               the mean divides by the number of samples and positions
    Backward   s_i = ∂L/∂ℓ_i:   ∂L/∂z_ic = s_i (p_ic Σ_k q_ik − q_ic)
               ∂L/∂t_ic = −s_i weight_c (1 − ε) log p_ic
    Shapes     z, t: (N, C, *);   weight: (C) or None
    Saves      z, log Σ e^z, t, weight
    Source     as CrossEntropyLossFunction
    """

    @staticmethod
    def targets(target: Tensor, weight: Tensor | None, smoothing: float) -> Tensor:
        """q"""
        q = wide(target) * (1 - smoothing) + smoothing / target.shape[1]
        return q if weight is None else q * along_classes(weight, target.dim())

    @staticmethod
    def forward(z: Tensor, target: Tensor, weight: Tensor | None, reduction: str, smoothing: float):
        logsumexp = torch.logsumexp(wide(z), 1, keepdim=True)
        q = SoftCrossEntropyLossFunction.targets(target, weight, smoothing)
        loss = -(q * (wide(z) - logsumexp)).sum(1)
        return reduce(loss, reduction, loss.numel()).to(torch.promote_types(z.dtype, target.dtype)), logsumexp

    @staticmethod
    def setup_context(ctx, inputs, output):
        z, target, weight, ctx.reduction, ctx.smoothing = inputs
        _, logsumexp = output
        ctx.mark_non_differentiable(logsumexp)
        ctx.save_for_backward(z, target, weight, logsumexp)

    @staticmethod
    def backward(ctx, grad: Tensor, _logsumexp):
        z, target, weight, logsumexp = ctx.saved_tensors
        if torch.is_grad_enabled():  # differentiated again: it is a function of z, not a constant
            logsumexp = torch.logsumexp(wide(z), 1, keepdim=True)
        log_p = wide(z) - logsumexp
        s = share(grad, ctx.reduction, logsumexp.numel())
        s = s.unsqueeze(1) if ctx.reduction == "none" else s
        grad_z = grad_target = None
        if ctx.needs_input_grad[0]:
            q = SoftCrossEntropyLossFunction.targets(target, weight, ctx.smoothing)
            grad_z = (s * (torch.exp(log_p) * q.sum(1, keepdim=True) - q)).to(z.dtype)
        if ctx.needs_input_grad[1]:
            log_p = log_p if weight is None else log_p * along_classes(weight, z.dim())
            grad_target = (-s * (1 - ctx.smoothing) * log_p).to(target.dtype)
        return grad_z, grad_target, None, None, None


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average=None,
    ignore_index: int = -100,
    reduce=None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross entropy of logits, as :func:`torch.nn.functional.cross_entropy`.

    Args:
        input: logits, shape (C), (N, C) or (N, C, d1, ...).
        target: class indices, shape (), (N) or (N, d1, ...); or class probabilities, of the input's shape.
        weight: of each class, shape (C). With class indices the mean is divided by the weights in use.
        size_average, reduce: deprecated, as in torch; ``reduction`` takes their place.
        ignore_index: the class index that does not count.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        label_smoothing: ε in [0, 1]: the target is mixed with this much of the uniform distribution.

    Raises:
        ValueError, RuntimeError: if shapes, dtypes or options do not fit.
        IndexError: if a target is no class.
    """
    check_floating("cross_entropy", input=input)
    check_tensors("cross_entropy", target=target)
    check_index("cross_entropy", ignore_index=ignore_index)
    reduction = legacy_reduction(size_average, reduce, reduction)
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(
            f"cross_entropy: label_smoothing must be between 0 and 1, but got {label_smoothing}"
        )
    weight = check_constant("cross_entropy", "weight", weight)
    if input.shape == target.shape:
        loss = _soft_cross_entropy(input, target, weight, ignore_index, reduction, label_smoothing)
    else:
        x, t = class_indices("cross_entropy", input, target, weight, reduction)
        options = (weight, ignore_index, reduction, label_smoothing)
        loss = apply(CrossEntropyLossFunction, x, t, *options, autocast=FLOAT32)[0]
    return loss.squeeze(0) if reduction == "none" and input.dim() == 1 else loss


def _soft_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> Tensor:
    check_reduction("cross_entropy", reduction)
    if not target.is_floating_point():
        raise RuntimeError(
            "cross_entropy: a target of the input's shape holds class probabilities and must be floating "
            "point, but "
            f"got {target.dtype}; for class indices leave out the class axis"
        )
    if ignore_index >= 0:
        raise RuntimeError(
            f"cross_entropy: ignore_index={ignore_index} is not supported for class probabilities; leave it "
            "out"
        )
    check_class_weight("cross_entropy", weight, input.shape[min(1, input.dim() - 1)])
    x, t = (input.unsqueeze(0), target.unsqueeze(0)) if input.dim() == 1 else (input, target)
    return apply(SoftCrossEntropyLossFunction, x, t, weight, reduction, label_smoothing, autocast=FLOAT32)[0]


class CrossEntropyLoss(nn.CrossEntropyLoss):
    """:class:`torch.nn.CrossEntropyLoss` with a hand-written backward."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return cross_entropy(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


def check_class_weight(name: str, weight: Tensor | None, classes: int) -> None:
    """Raise RuntimeError unless there is a weight for each class, or none."""
    if weight is not None and tuple(weight.shape) != (classes,):
        raise RuntimeError(
            f"{name}: weight must have one element for each of the {classes} classes, but has shape "
            f"{list(weight.shape)}"
        )


def class_indices(
    name: str, input: Tensor, target: Tensor, weight: Tensor | None, reduction: str
) -> tuple[Tensor, Tensor]:
    """The input and a target of class indices, with a batch axis, their shapes and dtypes checked."""
    check_reduction(name, reduction)
    axes = input.dim()
    if axes == 0:
        raise ValueError(f"{name}: expected an input with a class axis, but got a number")
    x, t = (input.unsqueeze(0), target.unsqueeze(0)) if axes == 1 else (input, target)
    shape, places = x.shape, t.shape
    if places != shape[:1] + shape[2:]:
        if places[:1] != shape[:1]:
            raise ValueError(
                f"{name}: expected input batch_size ({shape[0]}) to match target batch_size, but the input "
                f"has shape {list(input.shape)} and the target {list(target.shape)}"
            )
        raise RuntimeError(
            f"{name}: for an input of shape {list(input.shape)} the target must have that shape without the "
            f"class axis, but has {list(target.shape)}"
        )
    if t.dtype not in (torch.int64, torch.uint8):
        raise RuntimeError(
            f"{name}: class indices must be int64 (torch.long), but the target has {target.dtype}"
        )
    check_class_weight(name, weight, shape[1])
    return x, t.long()


def check_classes(name: str, target: Tensor, classes: int, ignore_index: int) -> None:
    """Raise IndexError unless every element of ``target`` is a class, or ``ignore_index``."""
    if transforming() or not values_known(target):
        return
    wrong = (target != ignore_index) & ((target < 0) | (target >= classes))
    if wrong.any():
        raise IndexError(
            f"{name}: target {target[wrong][0].item()} is out of bounds: class indices run from 0 to "
            f"{classes - 1}, or are ignore_index={ignore_index}"
        )
