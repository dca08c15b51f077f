"""LinearCrossEntropyLoss: the last layer of a classifier and its loss in one: logits are never stored.

With C classes and I features the logits of a sample are C / I times as large as its input, which for a
vocabulary is most of what a language model keeps for backward. Here they are computed for a few samples at a
time, turned into a loss, and forgotten; backward computes them once more. Only where all of them are no
larger than the input or the weight, whose gradients will be as large, is their slope kept instead (of eight
samples or more, one loss each).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..function import (
    Function,
    apply,
    autocasting,
    check_optional,
    check_tensors,
    wants_gradient,
    wide,
    wide_dtype,
)
from .cross_entropy import (
    KEPT_FROM,
    SoftCrossEntropyLossFunction,
    along_classes,
    check_class_weight,
    check_classes,
    check_weight_dtype,
    class_indices,
    pick,
    sample_weights,
)
from .loss import check_constant, check_reduction, reduce, share

__all__ = [
    "LinearCrossEntropyLoss",
    "LinearCrossEntropyLossFunction",
    "SoftLinearCrossEntropyLossFunction",
    "linear_cross_entropy",
]


def chunks(samples: int, rows: int) -> Iterator[tuple[int, int]]:
    """(start, length) of pieces of at most ``rows`` samples; one empty piece if there are none."""
    for start in range(0, max(samples, 1), rows):
        yield start, min(rows, samples - start)


def logits(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """z of a chunk, in the precision of sums. Shapes (n, I), (C, K, I), (C, K) -> (n, C, K)."""
    classes, places, features = weight.shape
    flat = bias if bias is None else bias.reshape(classes * places)
    z = nn.functional.linear(x, weight.reshape(classes * places, features), flat)
    return wide(z.reshape(x.shape[0], classes, places))


def log_softmax(z: Tensor) -> Tensor:
    """log p, along axis 1; as the last axis, because there torch is fastest, and K is 1 nearly always."""
    return torch.log_softmax(z.transpose(1, 2), 2).transpose(1, 2)


def linear_gradients(
    ctx, x: Tensor, weight: Tensor, bias: Tensor | None, slope: Callable[[Tensor, int, int], Tensor]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """∂L/∂x, ∂L/∂W and ∂L/∂b from ``slope``, which makes ∂L/∂z of a chunk from its logits."""
    classes, places, features = weight.shape
    need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
    matrix = weight.reshape(classes * places, features)
    pieces, grad_weight, grad_bias = [], None, None
    for start, length in chunks(x.shape[0], ctx.rows):
        part = x.narrow(0, start, length)
        g = slope(logits(part, weight, bias), start, length).reshape(length, classes * places)
        if need_x:
            pieces.append(g.to(x.dtype) @ matrix)
        if need_weight:
            more = wide(g.to(x.dtype).T @ part)
            grad_weight = more if grad_weight is None else grad_weight + more
        if need_bias:
            more = g.sum(0)
            grad_bias = more if grad_bias is None else grad_bias + more
    return (
        torch.cat(pieces) if need_x else None,
        None if grad_weight is None else grad_weight.reshape(weight.shape).to(weight.dtype),
        None if grad_bias is None or bias is None else grad_bias.reshape(bias.shape).to(bias.dtype),
    )


def kept_gradients(
    ctx, x: Tensor, weight: Tensor, bias: Tensor | None, e: Tensor, s: Tensor
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """∂L/∂x, ∂L/∂W and ∂L/∂b of a single chunk with K = 1 from E, shape (N, C), and s, shape (N, 1)."""
    need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
    return (
        (s * wide(e @ weight.squeeze(1))).to(x.dtype) if need_x else None,
        (e.T @ (s * wide(x)).to(x.dtype)).reshape(weight.shape) if need_weight else None,
        (s.T @ wide(e)).reshape(bias.shape).to(bias.dtype) if need_bias and bias is not None else None,
    )


def excess(p: Tensor, target: Tensor, omega: Tensor, weight: Tensor | None, smoothing: float) -> Tensor:
    """E_nck = p_nck Σ_j q_njk − q_nck. Shapes (n, C, K), (n, K), (n, K), where the target is a class."""
    q_true = (1 - smoothing) * omega.unsqueeze(1)
    e = q_true * p
    if smoothing > 0:
        rest = torch.full_like(p[:1], smoothing / p.shape[1])
        rest = rest if weight is None else rest * along_classes(weight, 3)
        e = e + p * rest.sum(1, keepdim=True) - rest
    return e.scatter_add_(1, target.unsqueeze(1), -q_true)


class LinearCrossEntropyLossFunction(Function):
    """Cross entropy of x Wᵀ + b with class indices, a few samples at a time.

    Forward    of sample n, feature i, classes c and j, and place k, of which there is one mostly:
               z_nck = Σ_i x_ni W_cki + b_ck,   log p_nck = z_nck − log Σ_j e^z_njk
               ℓ_nk = −Σ_c q_nck log p_nck   with q of CrossEntropyLossFunction: (1 − ε) ω_nk at class t_nk,
               ε/C weight_c at every class, 0 if t_nk is ignored;   the mean is Σ ℓ / Σ ω
               ℓ_nk depends on no logits but those of sample n, so z exists for a chunk of samples at a time.
    Backward   s_nk = ∂L/∂ℓ_nk.  CrossEntropyLossFunction derives
                   G_nck = ∂L/∂z_nck = s_nk E_nck   with E_nck = p_nck Σ_j q_njk − q_nck,
               and LinearFunction, with y = z and g = G,
                   ∂L/∂x_ni = Σ_ck G_nck W_cki    ∂L/∂W_cki = Σ_n G_nck x_ni    ∂L/∂b_ck = Σ_n G_nck
               The first is a row for each sample, so the rows of a chunk need G of that chunk only; the other
               two are sums over samples, so the chunks add up. z and p are computed again from x, W and b.
               Or E was kept, which asks for one product less. With K = 1, s_n may then go where fewer
               numbers are:   ∂L/∂x_ni = s_n Σ_c E_nc W_ci    ∂L/∂W_ci = Σ_n E_nc (s_n x_ni)
    Shapes     x: (N, I);   W: (C, K, I), K = 1 unless the loss has further axes;   b: (C, K) or None
               t: (N, K), integers in [0, C);   weight: (C) or None;   ``rows`` samples make a chunk
    Saves      x, W, b, t, weight: nothing that grows with N · C;  with ``keep``, for a single chunk, E too
    Source     Wijmans et al. 2024, arXiv:2411.09009; the derivation: cross_entropy.py and linear.py
    """

    @staticmethod
    def forward(
        x: Tensor,
        linear_weight: Tensor,
        linear_bias: Tensor | None,
        target: Tensor,
        weight: Tensor | None,
        ignore_index: int,
        reduction: str,
        smoothing: float,
        rows: int,
        keep: bool,
        dtype: torch.dtype,
    ):
        omega = sample_weights(target, weight, ignore_index, wide_dtype(x.dtype))
        losses, kept = [], None
        for start, length in chunks(x.shape[0], rows):
            z = logits(x.narrow(0, start, length), linear_weight, linear_bias)
            t = target.narrow(0, start, length)
            log_p = log_softmax(z)
            loss = -(1 - smoothing) * omega.narrow(0, start, length) * pick(log_p, t, ignore_index)
            if smoothing > 0:
                weighted = log_p if weight is None else log_p * along_classes(weight, 3)
                loss = loss - smoothing / z.shape[1] * weighted.sum(1)
            losses.append(torch.where(t == ignore_index, 0, loss))
            if keep:
                true_class = torch.where(t == ignore_index, 0, t)
                kept = excess(log_p.exp_(), true_class, omega, weight, smoothing).squeeze(2).to(x.dtype)
        return reduce(torch.cat(losses), reduction, omega.sum()).to(dtype), kept

    @staticmethod
    def setup_context(ctx, inputs, output):
        *tensors, ctx.ignore_index, ctx.reduction, ctx.smoothing, ctx.rows, _, _ = inputs
        _, kept = output
        if kept is not None:
            ctx.mark_non_differentiable(kept)
        ctx.save_for_backward(*tensors, kept)

    @staticmethod
    def backward(ctx, grad: Tensor, _kept):
        x, linear_weight, linear_bias, target, weight, kept = ctx.saved_tensors
        grad = grad.to(wide_dtype(x.dtype))
        omega = sample_weights(target, weight, ctx.ignore_index, grad.dtype)
        s = share(grad, ctx.reduction, omega.sum())
        s = torch.where(target == ctx.ignore_index, 0, s)
        true_class = torch.where(target == ctx.ignore_index, 0, target)
        if kept is not None and not torch.is_grad_enabled():
            return *kept_gradients(ctx, x, linear_weight, linear_bias, kept, s), *(None,) * 8

        def slope(z: Tensor, start: int, length: int) -> Tensor:
            t, w = true_class.narrow(0, start, length), omega.narrow(0, start, length)
            e = excess(log_softmax(z).exp(), t, w, weight, ctx.smoothing)
            return s.narrow(0, start, length).unsqueeze(1) * e

        return *linear_gradients(ctx, x, linear_weight, linear_bias, slope), *(None,) * 8


class SoftLinearCrossEntropyLossFunction(Function):
    """Cross entropy of x Wᵀ + b with a target that is a distribution over the classes.

    Forward    z and p as in LinearCrossEntropyLossFunction;   q_nck = weight_c ((1 − ε) t_nck + ε/C)
               ℓ_nk = −Σ_c q_nck log p_nck,   the mean divides by N · K
    Backward   s_nk = ∂L/∂ℓ_nk,  G_nck = s_nk (p_nck Σ_j q_njk − q_nck), and x, W, b from G as there
               ∂L/∂t_nck = −s_nk weight_c (1 − ε) log p_nck
    Shapes     t: (N, C, K), which is as large as the logits are; the others as there
    Saves      x, W, b, t, weight
    Source     as LinearCrossEntropyLossFunction
    """

    @staticmethod
    def forward(
        x: Tensor,
        linear_weight: Tensor,
        linear_bias: Tensor | None,
        target: Tensor,
        weight: Tensor | None,
        reduction: str,
        smoothing: float,
        rows: int,
        dtype: torch.dtype,
    ):
        losses = []
        for start, length in chunks(x.shape[0], rows):
            z = logits(x.narrow(0, start, length), linear_weight, linear_bias)
            t = target.narrow(0, start, length)
            q = SoftCrossEntropyLossFunction.targets(t, weight, smoothing)
            losses.append(-(q * torch.log_softmax(z, 1)).sum(1))
        loss = torch.cat(losses)
        return reduce(loss, reduction, loss.numel()).to(dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        *tensors, ctx.reduction, ctx.smoothing, ctx.rows, _ = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, linear_weight, linear_bias, target, weight = ctx.saved_tensors
        samples, _, places = target.shape
        s = share(grad, ctx.reduction, samples * places)
        s = (s if ctx.reduction == "none" else s.expand(samples, places)).unsqueeze(1)

        def slope(z: Tensor, start: int, length: int) -> Tensor:
            t = target.narrow(0, start, length)
            q = SoftCrossEntropyLossFunction.targets(t, weight, ctx.smoothing)
            return s.narrow(0, start, length) * (torch.softmax(z, 1) * q.sum(1, keepdim=True) - q)

        grads = linear_gradients(ctx, x, linear_weight, linear_bias, slope)
        grad_target = None
        if ctx.needs_input_grad[3]:
            pieces = []
            for start, length in chunks(samples, ctx.rows):
                z = logits(x.narrow(0, start, length), linear_weight, linear_bias)
                pieces.append(torch.log_softmax(z, 1))
            log_p = torch.cat(pieces)
            log_p = log_p if weight is None else log_p * along_classes(weight, 3)
            grad_target = (-s * (1 - ctx.smoothing) * log_p).to(target.dtype)
        return *grads, grad_target, *(None,) * 5


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Tensor:
    """Cross entropy of ``linear(input, linear_weight, linear_bias)``, which is never stored whole.

    As :func:`torch.nn.functional.linear_cross_entropy`. All combinations of arguments are computed in chunks,
    and have second derivatives; torch does the one or the other.

    Args:
        input: shape (I) or (N, I).
        linear_weight: shape (C, I), or (C, d1, ..., I) for a loss at several places; that needs a batch.
        target: class indices, shape (), (N) or (N, d1, ...); or class probabilities, shape (C), (N, C) or
            (N, C, d1, ...).
        linear_bias: the shape of ``linear_weight`` without I.
        weight: of each class, shape (C). With class indices the mean is divided by the weights in use.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        ignore_index: the class index that does not count; None stands for −100.
        label_smoothing: ε in [0, 1]: the target is mixed with this much of the uniform distribution.
        options: a :class:`torch.nn.LinearCrossEntropyOptions`. Its ``batch_chunk_size`` or
            ``chunking_method`` says how many samples make a chunk; without options a chunk's logits are about
            as large as the input or the weight. The other fields choose between memory and precision, and
            whether backward may run again, for torch's way of computing: here sums are always taken in
            float32 or better, and backward may run again.

    Raises:
        ValueError, RuntimeError: if shapes, dtypes or options do not fit.
        IndexError: if a target is no class.
    """
    check_tensors("linear_cross_entropy", input=input, linear_weight=linear_weight, target=target)
    check_optional("linear_cross_entropy", linear_bias=linear_bias, weight=weight)
    shape = _shape_of_logits(input, linear_weight, linear_bias)
    soft = target.shape == shape
    if soft and ignore_index is not None:
        raise RuntimeError(
            f"linear_cross_entropy: ignore_index={ignore_index} is not supported for class probabilities; "
            "leave it out"
        )
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(
            f"linear_cross_entropy: label_smoothing must be between 0 and 1, but got {label_smoothing}"
        )
    weight = check_constant("linear_cross_entropy", "weight", weight)
    ignore_index = -100 if ignore_index is None else ignore_index
    stand_in = input.new_empty(()).expand(shape)
    if soft:
        t = _check_probabilities(stand_in, target, weight, reduction)
    else:
        z, t = class_indices("linear_cross_entropy", stand_in, target, weight, reduction)
        check_classes("linear_cross_entropy", t, z.shape[1], ignore_index)
    x = input if input.dim() == 2 else input.unsqueeze(0)
    samples, (classes, *places) = x.shape[0], linear_weight.shape[:-1]
    flat = math.prod(places)
    w = linear_weight.reshape(classes, flat, x.shape[1])
    b = None if linear_bias is None else linear_bias.reshape(classes, flat)
    rows = _rows_of_a_chunk(x, classes * flat, options)
    x, w, b, dtype = _autocast(x, w, b, chunked=options is not None and not soft and not places)
    if soft:
        t = t.reshape(samples, classes, flat)
        dtype = torch.promote_types(dtype, t.dtype)
        arguments = (t, weight, reduction, label_smoothing, rows, dtype)
        loss = apply(SoftLinearCrossEntropyLossFunction, x, w, b, *arguments)
    else:
        if dtype == x.dtype and options is None:
            check_weight_dtype("linear_cross_entropy", x, weight)
        t = t.reshape(samples, flat)
        keep = options is None and flat == 1 and rows >= samples >= KEPT_FROM and wants_gradient(x, w, b)
        arguments = (t, weight, ignore_index, reduction, label_smoothing, rows, keep, dtype)
        loss, _ = apply(LinearCrossEntropyLossFunction, x, w, b, *arguments)
    if reduction != "none":
        return loss
    return loss.reshape((*input.shape[:-1], *places))


def _shape_of_logits(input: Tensor, linear_weight: Tensor, linear_bias: Tensor | None) -> tuple[int, ...]:
    if input.dim() not in (1, 2):
        raise RuntimeError(
            f"linear_cross_entropy: input must have shape (I) or (N, I), but has {list(input.shape)}"
        )
    if linear_weight.dim() < 2:
        raise RuntimeError(
            "linear_cross_entropy: linear_weight must have shape (C, I) or (C, d1, ..., I), but has "
            f"{list(linear_weight.shape)}"
        )
    if input.shape[-1] != linear_weight.shape[-1]:
        raise RuntimeError(
            "linear_cross_entropy: input and linear_weight must end with the same in_features, but have "
            f"the shapes {list(input.shape)} and {list(linear_weight.shape)}"
        )
    if linear_bias is not None and linear_bias.shape != linear_weight.shape[:-1]:
        raise RuntimeError(
            f"linear_cross_entropy: linear_bias must have shape {list(linear_weight.shape[:-1])}, but has "
            f"{list(linear_bias.shape)}"
        )
    if linear_weight.dim() > 2 and input.dim() == 1:
        raise RuntimeError(
            f"linear_cross_entropy: a linear_weight of shape {list(linear_weight.shape)} needs an input with "
            f"a batch axis, but it has shape {list(input.shape)}"
        )
    return (*input.shape[:-1], *linear_weight.shape[:-1])


def _check_probabilities(z: Tensor, target: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    check_reduction("linear_cross_entropy", reduction)
    if not target.is_floating_point():
        raise RuntimeError(
            "linear_cross_entropy: a target of the logits' shape holds class probabilities and must be "
            f"floating point, but got {target.dtype}; for class indices leave out the class axis"
        )
    check_class_weight("linear_cross_entropy", weight, z.shape[min(1, z.dim() - 1)])
    return target if z.dim() > 1 else target.unsqueeze(0)


def _rows_of_a_chunk(x: Tensor, size: int, options: Any) -> int:
    # Unless the options say otherwise, so many that their logits are about as large as the input or the
    # weight, whichever is larger: the gradients are that large too.
    samples, features = x.shape
    if options is not None:
        chosen = options._adjust(samples, max(features, 1), size, x.dtype, x.device)
        return max(chosen.batch_chunk_size, 1)
    as_large_as_input = -(-samples * features // max(size, 1))
    return max(min(max(as_large_as_input, features), samples), 1)


def _autocasts(x: Tensor) -> bool:
    return autocasting(x) and x.dtype != torch.float64


def _autocast(x: Tensor, weight: Tensor, bias: Tensor | None, chunked: bool) -> tuple:
    # The linear map in the autocast dtype and the loss in float32, as torch does but in its chunked form,
    # which takes the input's dtype if that is a half type.
    if chunked and x.dtype in (torch.float16, torch.bfloat16):
        return x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype), x.dtype
    if chunked or not _autocasts(x):
        return x, weight, bias, x.dtype
    low = torch.get_autocast_dtype(x.device.type)
    cast = [t if t is None or t.dtype == torch.float64 else t.to(low) for t in (x, weight, bias)]
    return *cast, torch.float32


class LinearCrossEntropyLoss(nn.LinearCrossEntropyLoss):
    """:class:`torch.nn.LinearCrossEntropyLoss` with a hand-written backward."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        linear, shape = self.linear, (self.num_classes, *self.out_features)
        return linear_cross_entropy(
            input,
            linear.weight.reshape(*shape, linear.in_features),
            target,
            linear_bias=None if linear.bias is None else linear.bias.reshape(shape),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
        )
