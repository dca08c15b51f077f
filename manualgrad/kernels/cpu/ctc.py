"""Kernels of ``layers/ctc.py``: a sequence is one task, and only its own steps and labels are computed.

A step makes a row of α, or of β, from the row before: blanks and labels side by side, so that a whole row is
one loop. Of the three exponentials in a sum the largest is 1, and not computed. Saved is what the formula
saves, for which α is filled up with ZERO. Of β only the row at work exists: γ is made from it at once, and
goes to its classes in a row of the gradient that has just been filled with 0.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from ...layers.ctc import ZERO, CTCLossFunction, as_tensor
from .. import Twin, plain
from ._jit import compiled, inlined
from ._math import exp, log

__all__ = ["TWINS"]

# Elements of α from which a team is faster than one thread: each costs several exponentials.
CELLS = 4096


@inlined
def first_labels(target_lengths, width):
    """Where the labels of each sequence begin: in a row of their own, or behind those before (width < 0)."""
    first = np.zeros(target_lengths.size, np.int64)
    for n in range(1, first.size):
        first[n] = first[n - 1] + (target_lengths[n - 1] if width < 0 else width)
    return first


@inlined
def find_skips(labels, skip):
    """skip_u: to a label, but not to a blank, an alignment may come from two places before."""
    skip[:] = 0
    for k in range(1, labels.size):
        skip[2 * k + 1] = labels[k] != labels[k - 1]


@inlined
def emit(log_p, labels, blank, e):
    """e_u = log_p[l′_u], at least ZERO"""
    nothing = e.dtype.type(ZERO)
    b = log_p[blank]
    b = nothing if b < nothing else b
    e[0] = b
    for k in range(labels.size):
        a = log_p[labels[k]]
        e[2 * k + 1] = nothing if a < nothing else a
        e[2 * k + 2] = b


@inlined
def log_sums(stay, step, leap, skip, out):
    """log(e^stay + e^step + [skip] e^leap)"""
    T = out.dtype.type
    for u in range(out.size):
        a, b, c = stay[u], step[u], leap[u] if skip[u] else T(ZERO)
        more, less = (a, b) if a > b else (b, a)
        most, least = (more, c) if more > c else (c, more)
        finite = most if most < T(np.inf) else T(0)
        out[u] = most + log(T(1) + exp(less - finite) + exp(least - finite))


@inlined
def log_likelihood(alpha, steps, labels):
    """log p(l), of one sequence, from all of its α"""
    T = alpha.dtype.type
    if steps == 0:
        return T(0) if labels == 0 else T(ZERO)
    a = alpha[steps - 1, 2 * labels]
    b = alpha[steps - 1, 2 * labels - 1] if labels > 0 else T(ZERO)
    most, least = (a, b) if a > b else (b, a)
    return most + log(T(1) + exp(least - (most if most < T(np.inf) else T(0))))


@compiled(
    grain=CELLS, alpha="steps, batch, places", x="steps * batch * classes", targets="int64: count",
    input_lengths="int64: batch", target_lengths="int64: batch", loss="every",
)  # fmt: skip
def ctc_forward(
    alpha, x, targets, input_lengths, target_lengths, loss, steps, batch, places, classes, count, every,
    step_stride, batch_stride, width, blank, mean, zero_infinity,
):  # fmt: skip
    T = alpha.dtype.type
    first = first_labels(target_lengths, width)
    losses = np.empty(batch)
    for n in prange(batch):
        labels = targets[first[n] : first[n] + target_lengths[n]]
        size = 2 * labels.size + 1
        # In front of a row are two places where nothing comes from.
        before, e, row = np.full(size + 2, T(ZERO)), np.empty(size, x.dtype), np.empty(size, x.dtype)
        skip = np.empty(size, np.bool_)
        find_skips(labels, skip)
        for t in range(input_lengths[n]):
            start = t * step_stride + n * batch_stride
            emit(x[start : start + classes], labels, blank, e)
            if t == 0:
                before[2:4] = e[:2]
            else:
                log_sums(before[2:], before[1:-1], before[:-2], skip, row)
                for u in range(size):
                    before[u + 2] = e[u] + row[u]
            alpha[t, n, :size] = before[2:]
            alpha[t, n, size:] = T(ZERO)
        alpha[input_lengths[n] :, n] = T(ZERO)
        log_p = log_likelihood(alpha[:, n], input_lengths[n], labels.size)
        value = -log_p
        if log_p < T(0.1 * ZERO):
            value = T(0) if zero_infinity else T(np.inf)
        losses[n] = value / (max(labels.size, 1) * batch) if mean else value
        if every > 1:
            loss[n] = T(losses[n])
    if every == 1:
        loss[0] = T(losses.sum())


@compiled(
    grain=CELLS, alpha="steps, batch, places", x="steps * batch * classes", targets="int64: count",
    input_lengths="int64: batch", target_lengths="int64: batch", g="every",
    grad_x="steps * batch * classes",
)  # fmt: skip
def ctc_backward(
    alpha, x, targets, input_lengths, target_lengths, g, grad_x, steps, batch, places, classes, count, every,
    step_stride, batch_stride, width, blank, mean, zero_infinity,
):  # fmt: skip
    T = alpha.dtype.type
    first = first_labels(target_lengths, width)
    for n in prange(batch):
        labels = targets[first[n] : first[n] + target_lengths[n]]
        size = 2 * labels.size + 1
        # Behind a row are two places from where nothing goes on.
        after, e, beta = np.full(size + 2, T(ZERO)), np.empty(size, x.dtype), np.full(size, T(ZERO))
        gamma, skip = np.empty(size, x.dtype), np.empty(size + 2, np.bool_)
        find_skips(labels, skip)
        log_p = log_likelihood(alpha[:, n], input_lengths[n], labels.size)
        impossible = log_p < T(0.1 * ZERO)
        s = g[n % every] / T(max(labels.size, 1) * batch) if mean else g[n % every]
        beta[max(size - 2, 0) :] = T(0)
        for t in range(steps - 1, -1, -1):
            start = t * step_stride + n * batch_stride
            grad = grad_x[start : start + classes]
            grad[:] = T(0)
            if t >= input_lengths[n]:
                continue
            if impossible:
                gamma[:] = T(0) if zero_infinity else T(np.nan)
            else:
                a = alpha[t, n]
                for u in range(size):
                    gamma[u] = exp(a[u] + beta[u] - log_p)
                emit(x[start : start + classes], labels, blank, e)
                for u in range(size):
                    after[u] = e[u] + beta[u]
                log_sums(after[:-2], after[1:-1], after[2:], skip[2:], beta)
            blanks = T(0)
            for k in range(labels.size + 1):
                blanks += gamma[2 * k]
            grad[blank] = -s * blanks
            for k in range(labels.size):
                grad[labels[k]] -= s * gamma[2 * k + 1]


class CTCLossCPU(CTCLossFunction):
    @staticmethod
    def forward(
        log_probs: Tensor,
        targets: Tensor,
        input_lengths: Tensor | tuple[int, ...],
        target_lengths: Tensor | tuple[int, ...],
        blank: int,
        reduction: str,
        zero_infinity: bool,
        longest: int,
    ):
        x = rows_of_classes(log_probs)
        steps, batch, classes = x.shape
        alpha = x.new_empty(steps, batch, 2 * longest + 1)
        loss = x.new_empty(batch if reduction == "none" else ())
        ctc_forward(
            alpha, x, *as_arrays(targets, input_lengths, target_lengths), loss, *alpha.shape, classes,
            targets.numel(), loss.numel(), *x.stride()[:2], width_of(targets), blank, reduction == "mean",
            zero_infinity,
        )  # fmt: skip
        return loss, alpha

    @staticmethod
    def backward(ctx, grad: Tensor, _alpha):
        if not plain(grad):
            return CTCLossFunction.backward(ctx, grad, _alpha)
        log_probs, targets, *lengths, alpha = ctx.saved_tensors
        given = [numbers if k is None else k for k, numbers in zip(lengths, ctx.lengths)]
        x, g = rows_of_classes(log_probs), grad.contiguous()
        grad_x = torch.empty_like(x)
        ctc_backward(
            alpha, x, *as_arrays(targets, *given), g, grad_x, *alpha.shape, x.shape[2],
            targets.numel(), g.numel(), *x.stride()[:2], width_of(targets), ctx.blank,
            ctx.reduction == "mean", ctx.zero_infinity,
        )  # fmt: skip
        return grad_x, None, None, None, None, None, None, None


def rows_of_classes(x: Tensor) -> Tensor:
    """Dense, with the classes side by side; steps and sequences may be in either order."""
    return x if x.is_contiguous() or x.transpose(0, 1).is_contiguous() else x.contiguous()


def as_arrays(targets: Tensor, *lengths: Tensor | tuple[int, ...]) -> tuple[Tensor, ...]:
    """Whole numbers of 64 bits, one behind the other."""
    return tuple(k.contiguous() for k in (targets.long(), *(as_tensor(k, targets.device) for k in lengths)))


def width_of(targets: Tensor) -> int:
    """Labels in a row of ``targets``; −1 if these are one behind the other."""
    return targets.shape[1] if targets.dim() == 2 else -1


def whole(log_probs: Tensor, targets: Tensor, *options) -> bool:
    return not targets.is_floating_point()


TWINS = {CTCLossFunction: Twin(CTCLossCPU, takes=whole, asks="integral labels")}
