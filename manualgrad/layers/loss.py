"""Losses of one element at a time: how wrong an output is, as one number. (Of classes: cross_entropy.py.)

With ℓ_i the loss of element (or sample) i, one of N, the output is with reduction "none" y = ℓ, with "sum"
y = Σ ℓ_i, with "mean" y = Σ ℓ_i / N. (L stays what all gradients are of, and may be this y.) A backward first
finds what each ℓ_i is responsible for, ``share``, and then asks what made ℓ_i: x, compared with the target t.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.nn import _reduction

from ..function import (
    FLOAT32,
    FLOAT32_ON_ACCELERATOR,
    Function,
    apply,
    autocasting,
    check_floating,
    check_optional,
    check_tensors,
    transforming,
    values_known,
    wide,
)

__all__ = [
    "BCELoss",
    "BCELossFunction",
    "BCEWithLogitsLoss",
    "BCEWithLogitsLossFunction",
    "HuberLoss",
    "HuberLossFunction",
    "L1Loss",
    "L1LossFunction",
    "MSELoss",
    "MSELossFunction",
    "SmoothL1Loss",
    "SmoothL1LossFunction",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "huber_loss",
    "l1_loss",
    "mse_loss",
    "smooth_l1_loss",
]


def reduce(loss: Tensor, reduction: str, total: Tensor | float | None = None) -> Tensor:
    """ℓ, Σ ℓ or Σ ℓ / total, where ``total`` is the number of elements unless it is given."""
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    return loss.mean() if total is None else loss.sum() / total


def share(grad: Tensor, reduction: str, total: Tensor | float) -> Tensor:
    """∂L/∂ℓ_i from g = ∂L/∂y: g_i, g or g / total."""
    return wide(grad) / total if reduction == "mean" else wide(grad)


class DifferenceLossFunction(Function):
    """What the losses of a difference δ = x − t have in common.

    Forward    ℓ_i = ω_i φ(δ_i),   y = ℓ, Σ ℓ or Σ ℓ / Σ ω   with weights ω, or without: ω = 1, Σ ω = N
               Huber's mean is Σ ℓ / N with weights too
    Backward   g = ∂L/∂y,  s = ∂L/∂ℓ  (g, or g / Σ ω for the mean)
               ∂L/∂x = s ω φ′(δ),   ∂L/∂t = −∂L/∂x
               ∂L/∂ω = s φ(δ), and for the mean, which ω also divides, by the quotient rule
               g (φ(δ) Σ ω − Σ ℓ) / (Σ ω)² = s (φ(δ) − Σ ℓ / Σ ω)
    Shapes     x, t, ω: the same, any (or ω None);   ``shape`` is the one parameter of φ and φ′
    Saves      x, t, ω
    """

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, target, weight, ctx.reduction, ctx.shape = inputs
        ctx.save_for_backward(x, target, weight)


def difference(x: Tensor, target: Tensor) -> Tensor:
    """δ = x − t, in the precision of sums."""
    return wide(x) - wide(target)


def weighted_total(loss: Tensor, weight: Tensor | None, reduction: str, by_weight: bool = True) -> Tensor:
    """y from φ(δ): weighted and reduced; a mean is divided by the weights, or else by their number."""
    if weight is None:
        return reduce(loss, reduction)
    return reduce(loss * weight, reduction, wide(weight).sum() if by_weight else None)


def difference_gradients(
    ctx, saved: tuple, grad: Tensor, loss: Tensor | None, slope: Tensor, by_weight: bool = True
) -> tuple:
    """The gradients of DifferenceLossFunction from its saved tensors, φ(δ) (for ω alone) and φ′(δ)."""
    x, target, weight = saved
    by_weight = by_weight and weight is not None
    total = wide(weight).sum() if weight is not None and by_weight else slope.numel()
    s = share(grad, ctx.reduction, total)
    grad_x = grad_target = grad_weight = None
    if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
        grad_delta = s * slope if weight is None else s * weight * slope
        grad_x = grad_delta.to(x.dtype)
        grad_target = (-grad_delta).to(target.dtype) if ctx.needs_input_grad[1] else None
    if weight is not None and loss is not None and ctx.needs_input_grad[2]:
        mean = (loss * weight).sum() / total if by_weight and ctx.reduction == "mean" else 0
        grad_weight = (s * (loss - mean)).to(weight.dtype)
    return grad_x, grad_target, grad_weight, None, None


class MSELossFunction(DifferenceLossFunction):
    """Squared error.

    Forward    φ(δ) = δ²
    Backward   φ′(δ) = 2 δ
    Source     Legendre 1805; Gauss 1809. The rest: DifferenceLossFunction
    """

    @staticmethod
    def forward(x: Tensor, target: Tensor, weight: Tensor | None, reduction: str, shape: None):
        delta = difference(x, target)
        return weighted_total(delta.square(), weight, reduction).to(
            torch.promote_types(x.dtype, target.dtype)
        )

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, target, weight = ctx.saved_tensors
        delta = difference(x, target)
        return difference_gradients(ctx, (x, target, weight), grad, delta.square(), 2 * delta)


class L1LossFunction(DifferenceLossFunction):
    """Absolute error: every error pulls with the same force.

    Forward    φ(δ) = |δ|
    Backward   φ′(δ) = sign δ   (0 at the kink)
    Source     Boscovich 1757. The rest: DifferenceLossFunction
    """

    @staticmethod
    def forward(x: Tensor, target: Tensor, weight: Tensor | None, reduction: str, shape: None):
        delta = difference(x, target)
        return weighted_total(delta.abs(), weight, reduction).to(torch.promote_types(x.dtype, target.dtype))

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, target, weight = ctx.saved_tensors
        delta = difference(x, target)
        return difference_gradients(ctx, (x, target, weight), grad, delta.abs(), delta.sign())


class SmoothL1LossFunction(DifferenceLossFunction):
    """Absolute error, rounded off below β: the Huber loss divided by its threshold.

    Forward    φ(δ) = δ² / 2β where |δ| < β, else |δ| − β/2   (β > 0);  with c = min(|δ|, β) both are
               c (|δ| − c/2) / β
    Backward   φ′(δ) = δ / β, kept within [−1, 1]
    Source     Girshick 2015, arXiv:1504.08083. The rest: DifferenceLossFunction
    """

    @staticmethod
    def loss(delta: Tensor, beta: float) -> Tensor:
        """φ(δ)"""
        size = delta.abs()
        c = size.clamp(max=beta)
        return c / beta * (size - 0.5 * c)

    @staticmethod
    def forward(x: Tensor, target: Tensor, weight: Tensor | None, reduction: str, shape: float):
        loss = SmoothL1LossFunction.loss(difference(x, target), shape)
        return weighted_total(loss, weight, reduction).to(torch.promote_types(x.dtype, target.dtype))

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, target, weight = ctx.saved_tensors
        delta = difference(x, target)
        loss = None if weight is None else SmoothL1LossFunction.loss(delta, ctx.shape)
        return difference_gradients(ctx, (x, target, weight), grad, loss, (delta / ctx.shape).clamp(-1, 1))


class HuberLossFunction(DifferenceLossFunction):
    """Squared error near zero, absolute error beyond a threshold d: outliers pull, but not harder and harder.

    Forward    φ(δ) = δ² / 2 where |δ| ≤ d, else d (|δ| − d/2);  with c = min(|δ|, d) both are c (|δ| − c/2)
    Backward   φ′(δ) = δ, kept within [−d, d]
    Source     Huber 1964, doi:10.1214/aoms/1177703732. The rest: DifferenceLossFunction
    """

    @staticmethod
    def loss(delta: Tensor, threshold: float) -> Tensor:
        """φ(δ)"""
        size = delta.abs()
        c = size.clamp(max=threshold)
        return c * (size - 0.5 * c)

    @staticmethod
    def forward(x: Tensor, target: Tensor, weight: Tensor | None, reduction: str, shape: float):
        loss = HuberLossFunction.loss(difference(x, target), shape)
        # As torch's: the target has no say.
        dtype = x.dtype if weight is None else torch.promote_types(x.dtype, weight.dtype)
        return weighted_total(loss, weight, reduction, by_weight=False).to(dtype)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, target, weight = ctx.saved_tensors
        delta = difference(x, target)
        loss = None if weight is None else HuberLossFunction.loss(delta, ctx.shape)
        slope = delta.clamp(-ctx.shape, ctx.shape)
        return difference_gradients(ctx, (x, target, weight), grad, loss, slope, by_weight=False)


def _difference_loss(
    function: type[Function],
    name: str,
    input: Tensor,
    target: Tensor,
    reduction: str,
    weight: Tensor | None = None,
    shape: float | None = None,
) -> Tensor:
    check_tensors(name, input=input, target=target)
    check_reduction(name, reduction)
    if target.shape != input.shape:
        warnings.warn(
            f"{name}: the target has shape {list(target.shape)} and the input {list(input.shape)}; they are "
            "broadcast, "
            "which is seldom meant. Give both the same shape",
            stacklevel=3,
        )
    check_optional(name, weight=weight)
    if weight is not None and weight.shape != input.shape:
        raise ValueError(
            f"{name}: weight must have the input's shape {list(input.shape)}, but has {list(weight.shape)}"
        )
    x, t = torch.broadcast_tensors(input, target)
    dtype = torch.promote_types(x.dtype, t.dtype)
    # Of the weighted losses torch's autocast knows Huber's alone.
    composite = weight is not None and name != "huber_loss"
    if (composite or name == "l1_loss") and torch.bool in (x.dtype, t.dtype):
        raise RuntimeError(f"{name}: not implemented for torch.bool; cast it to a floating dtype")
    if not dtype.is_floating_point:
        raise NotImplementedError(
            f"{name}: not implemented for {dtype}; cast input or target to a floating dtype"
        )
    x, t = (u.to(dtype) if u.dtype == torch.bool else u for u in (x, t))
    autocast = FLOAT32_ON_ACCELERATOR if composite else FLOAT32
    return apply(function, x, t, weight, reduction, shape, autocast=autocast)


def mse_loss(
    input: Tensor, target: Tensor, size_average=None, reduce=None, reduction: str = "mean", weight=None
) -> Tensor:
    """Squared error, as :func:`torch.nn.functional.mse_loss`.

    Args:
        input, target: any shape, the same.
        size_average, reduce: deprecated, as in torch; ``reduction`` takes their place.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        weight: of each element, the same shape; the mean is then divided by its sum.

    Raises:
        ValueError: if ``reduction`` is no reduction, or ``weight`` has another shape.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    return _difference_loss(MSELossFunction, "mse_loss", input, target, reduction, weight)


def l1_loss(
    input: Tensor, target: Tensor, size_average=None, reduce=None, reduction: str = "mean", weight=None
) -> Tensor:
    """Absolute error, as :func:`torch.nn.functional.l1_loss`. Arguments and errors: :func:`mse_loss`."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    return _difference_loss(L1LossFunction, "l1_loss", input, target, reduction, weight)


def smooth_l1_loss(
    input: Tensor, target: Tensor, size_average=None, reduce=None, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """Rounded absolute error, as :func:`torch.nn.functional.smooth_l1_loss`.

    Args:
        beta: where the square ends, at least 0 (then it is :func:`l1_loss`). The rest: :func:`mse_loss`.

    Raises:
        RuntimeError: if ``beta`` is negative.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    if not beta >= 0:
        raise RuntimeError(f"smooth_l1_loss: beta must be at least 0, but got {beta}")
    if beta == 0:
        return _difference_loss(L1LossFunction, "smooth_l1_loss", input, target, reduction)
    return _difference_loss(SmoothL1LossFunction, "smooth_l1_loss", input, target, reduction, shape=beta)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """Huber's loss, as :func:`torch.nn.functional.huber_loss`.

    Args:
        delta: where the square ends, positive. The rest: :func:`mse_loss`.

    Raises:
        RuntimeError: if ``delta`` is not positive.
    """
    if not delta > 0:
        raise RuntimeError(f"huber_loss: delta must be greater than 0, but got {delta}")
    check_tensors("huber_loss", input=input, target=target)
    if target.is_floating_point():
        check_floating("huber_loss", RuntimeError, input=input)
    return _difference_loss(HuberLossFunction, "huber_loss", input, target, reduction, weight, delta)


class MSELoss(nn.MSELoss):
    """:class:`torch.nn.MSELoss` with a hand-written backward."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return mse_loss(input, target, reduction=self.reduction)


class L1Loss(nn.L1Loss):
    """:class:`torch.nn.L1Loss` with a hand-written backward."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(nn.SmoothL1Loss):
    """:class:`torch.nn.SmoothL1Loss` with a hand-written backward."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(nn.HuberLoss):
    """:class:`torch.nn.HuberLoss` with a hand-written backward."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class BCELossFunction(Function):
    """Binary cross entropy of probabilities.

    Forward    ℓ = −ω (t log x + (1 − t) log(1 − x)),   logarithms not below −100, so that ℓ stays finite
    Backward   s = ∂L/∂ℓ:   ∂ℓ/∂x = −ω (t / x − (1 − t) / (1 − x)), over one denominator
               ∂L/∂x = s ω (x − t) / (x (1 − x)),   the denominator not below 10⁻¹²
               ∂L/∂t = s ω (log(1 − x) − log x)
    Shapes     x, t: the same, any;   ω: of x, or None
    Saves      x, t, ω
    Source     Good 1952, doi:10.1111/j.2517-6161.1952.tb00104.x
    """

    @staticmethod
    def forward(x: Tensor, target: Tensor, weight: Tensor | None, reduction: str):
        if target.dtype != x.dtype:
            raise RuntimeError(
                f"binary_cross_entropy: found target dtype {target.dtype}, but expected {x.dtype}"
            )
        check_probabilities(x, target)
        log_x, log_not_x = torch.log(wide(x)).clamp(min=-100), torch.log1p(-wide(x)).clamp(min=-100)
        loss = (target - 1) * log_not_x - target * log_x
        loss = loss if weight is None else loss * weight
        return reduce(loss, reduction).to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, target, weight, ctx.reduction = inputs
        ctx.save_for_backward(x, target, weight)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, target, weight = ctx.saved_tensors
        s = share(grad, ctx.reduction, x.numel())
        s = s if weight is None else s * weight
        grad_x = grad_target = None
        if ctx.needs_input_grad[0]:
            grad_x = (s * (wide(x) - target) / (wide(x) * (1 - wide(x))).clamp(min=1e-12)).to(x.dtype)
        if ctx.needs_input_grad[1]:
            log_x, log_not_x = torch.log(wide(x)).clamp(min=-100), torch.log1p(-wide(x)).clamp(min=-100)
            grad_target = (s * (log_not_x - log_x)).to(target.dtype)
        return grad_x, grad_target, None, None


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average=None,
    reduce=None,
    reduction: str = "mean",
) -> Tensor:
    """Cross entropy of probabilities, as :func:`torch.nn.functional.binary_cross_entropy`.

    Args:
        input: probabilities in [0, 1], any shape.
        target: the same shape.
        weight: of each element, broadcast to the input; the mean still divides by the number of elements.

    Raises:
        ValueError: if shapes differ, or ``reduction`` is no reduction.
        RuntimeError: if a value of ``input`` is outside [0, 1], if ``weight`` requires a gradient, or under
            autocast on an accelerator, as torch: a sigmoid in half precision loses the gradient.
    """
    check_tensors("binary_cross_entropy", input=input, target=target)
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_reduction("binary_cross_entropy", reduction)
    if target.shape != input.shape:
        raise ValueError(
            f"binary_cross_entropy: the target must have the input's shape {list(input.shape)}, but has "
            f"{list(target.shape)}"
        )
    if target.dtype == input.dtype:
        check_floating("binary_cross_entropy", input=input)
    if input.device.type != "cpu" and autocasting(input):
        raise RuntimeError(
            "binary_cross_entropy: unsafe under autocast on this device; use "
            "binary_cross_entropy_with_logits, on the "
            "input of the sigmoid, or leave the autocast region"
        )
    weight = check_constant("binary_cross_entropy", "weight", weight, input.shape)
    return apply(BCELossFunction, input, target, weight, reduction, autocast=FLOAT32)


def check_probabilities(x: Tensor, target: Tensor) -> None:
    """Raise RuntimeError unless all elements are between 0 and 1."""
    if transforming():
        return
    for argument, u, mend in (
        ("input", x, "; apply a sigmoid first, or use binary_cross_entropy_with_logits"),
        ("target", target, ""),
    ):
        if values_known(u) and not ((u >= 0) & (u <= 1)).all():
            raise RuntimeError(
                f"binary_cross_entropy: all elements of the {argument} must be probabilities, between 0 and "
                f"1, but they run from {u.min().item():.6g} to {u.max().item():.6g}{mend}"
            )


class BCELoss(nn.BCELoss):
    """:class:`torch.nn.BCELoss` with a hand-written backward."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return binary_cross_entropy(input, target, weight=self.weight, reduction=self.reduction)


def softplus_of_minus(x: Tensor) -> Tensor:
    """log(1 + e^−x), without overflow."""
    return torch.log1p(torch.exp(-x.abs())) + (-x).clamp(min=0)


class BCEWithLogitsLossFunction(Function):
    """Binary cross entropy of logits: the sigmoid and the logarithm cancel, on paper and in the code.

    Forward    with p = σ(x) = 1 / (1 + e^−x):
               −log p = log(1 + e^−x) = softplus(−x),   −log(1 − p) = −log(p e^−x) = x + softplus(−x)
               ℓ = ω (ρ t (−log p) − (1 − t) log(1 − p)),   ω the weight, ρ that of positives
                 = ω ((1 − t) x + λ softplus(−x)),   λ = 1 + (ρ − 1) t
               softplus(−x) = log(1 + e^−|x|) + max(−x, 0), so that no exponential overflows
    Backward   s = ∂L/∂ℓ.  softplus(−x) changes with x by −e^−x / (1 + e^−x) = p − 1:
               ∂L/∂x = s ω ((1 − t) + λ (p − 1))   (for ρ = 1: s ω (p − t))
               ∂L/∂t = s ω ((ρ − 1) softplus(−x) − x)
    Shapes     x, t: the same, any;   ω, ρ: broadcast to it, or None
    Saves      x, t, ω, ρ
    Source     Good 1952, doi:10.1111/j.2517-6161.1952.tb00104.x
    """

    @staticmethod
    def forward(x: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, reduction: str):
        positive = softplus_of_minus(wide(x))
        positive = positive if pos_weight is None else (1 + (pos_weight - 1) * target) * positive
        loss = (1 - target) * wide(x) + positive
        loss = loss if weight is None else loss * weight
        return reduce(loss, reduction).to(target.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, target, weight, pos_weight, ctx.reduction = inputs
        ctx.save_for_backward(x, target, weight, pos_weight)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, target, weight, pos_weight = ctx.saved_tensors
        s = share(grad, ctx.reduction, x.numel())
        s = s if weight is None else s * weight
        grad_x = grad_target = None
        if ctx.needs_input_grad[0]:
            p = torch.sigmoid(wide(x))
            slope = (
                p - target if pos_weight is None else 1 - target + (1 + (pos_weight - 1) * target) * (p - 1)
            )
            grad_x = (s * slope).to(x.dtype)
        if ctx.needs_input_grad[1]:
            slope = -wide(x)
            if pos_weight is not None:
                slope = slope + (pos_weight - 1) * softplus_of_minus(wide(x))
            grad_target = (s * slope).to(target.dtype)
        return grad_x, grad_target, None, None, None


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average=None,
    reduce=None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Cross entropy of logits, as :func:`torch.nn.functional.binary_cross_entropy_with_logits`.

    Args:
        input: logits, any shape.
        target: the same shape.
        weight: of each element, broadcast to the input; the mean still divides by the number of elements.
        pos_weight: of positive examples, broadcast to the input.

    Raises:
        ValueError: if shapes differ, or ``reduction`` is no reduction.
        RuntimeError: if ``weight`` or ``pos_weight`` requires a gradient, which torch does not have either.
    """
    check_floating("binary_cross_entropy_with_logits", input=input)
    check_tensors("binary_cross_entropy_with_logits", target=target)
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_reduction("binary_cross_entropy_with_logits", reduction)
    if target.shape != input.shape:
        raise ValueError(
            f"binary_cross_entropy_with_logits: the target must have the input's shape {list(input.shape)}, "
            "but has "
            f"{list(target.shape)}"
        )
    if not target.is_floating_point():
        raise RuntimeError(
            "binary_cross_entropy_with_logits: the target must be floating point, but got "
            f"{target.dtype}; cast it"
        )
    weight = check_constant("binary_cross_entropy_with_logits", "weight", weight, input.shape)
    pos_weight = check_constant("binary_cross_entropy_with_logits", "pos_weight", pos_weight, input.shape)
    return apply(BCEWithLogitsLossFunction, input, target, weight, pos_weight, reduction, autocast=FLOAT32)


class BCEWithLogitsLoss(nn.BCEWithLogitsLoss):
    """:class:`torch.nn.BCEWithLogitsLoss` with a hand-written backward."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(
            input, target, self.weight, pos_weight=self.pos_weight, reduction=self.reduction
        )


def legacy_reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction that torch's deprecated arguments ask for, or else ``reduction``."""
    if size_average is None and reduce is None:
        return reduction
    return _reduction.legacy_get_string(size_average, reduce)


def check_reduction(name: str, reduction: str) -> None:
    """Raise ValueError unless ``reduction`` is one."""
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{name}: reduction must be 'none', 'mean' or 'sum', but got {reduction!r}")


def check_constant(
    name: str, argument: str, weight: Tensor | None, shape: torch.Size | None = None
) -> Tensor | None:
    """Raise RuntimeError if ``weight`` wants a gradient, which these losses do not have by their weights, or
    does not broadcast to ``shape``."""
    if weight is None:
        return None
    check_tensors(name, **{argument: weight})
    if weight.requires_grad and torch.is_grad_enabled():
        raise RuntimeError(
            f"{name}: the derivative for {argument!r} is not implemented, as in torch; detach it"
        )
    if shape is not None and torch.broadcast_shapes(weight.shape, shape) != shape:
        raise RuntimeError(
            f"{name}: {argument} must broadcast to the input's shape {list(shape)}, "
            f"but has {list(weight.shape)}"
        )
    return weight
