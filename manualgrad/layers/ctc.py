"""CTCLoss: the probability of a label sequence, summed over all its alignments with a longer input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..function import (
    FLOAT32_ON_CPU,
    Function,
    apply,
    check_floating,
    check_index,
    check_tensors,
    transforming,
    values_known,
    wide,
)
from .loss import share

__all__ = ["CTCLoss", "CTCLossFunction", "ctc_loss"]

Lengths = Tensor | Sequence[int]

# The logarithm of 0. It is finite because log-sum-exp has no derivative where all terms are −∞, and so far
# down that no log-probability reaches it.
ZERO = -1e30


def as_tensor(lengths: Tensor | tuple[int, ...], device: torch.device) -> Tensor:
    """Lengths as int64, whether they came as numbers or as a tensor."""
    if isinstance(lengths, Tensor):
        return lengths.to(device, torch.int64)
    return torch.tensor(lengths, dtype=torch.int64, device=device)


def extend(targets: Tensor, lengths: Tensor, blank: int, longest: int) -> Tensor:
    """l′: the labels with a blank before, between and behind them. Shape (N, 2 S + 1), S = ``longest``."""
    batch = lengths.shape[0]
    step = torch.arange(longest, device=lengths.device)
    if targets.dim() == 1:  # one label sequence behind the other
        first = lengths.cumsum(0) - lengths
        place = (first.unsqueeze(1) + step).clamp(max=max(targets.shape[0] - 1, 0))
        targets = targets.index_select(0, place.reshape(batch * longest)).reshape(batch, longest)
    labels = targets.narrow(1, 0, longest).long()
    blanks = torch.full_like(labels, blank)
    labels = torch.where(step < lengths.unsqueeze(1), labels, blanks)
    pairs = torch.stack([blanks, labels], 2).reshape(batch, 2 * longest)
    return torch.cat([pairs, torch.full_like(lengths, blank).unsqueeze(1)], 1)


def may_skip(extended: Tensor) -> Tensor:
    """skip_u, whether an alignment may come to u from u − 2: a blank between different labels is optional."""
    count = extended.shape[1] - 2
    later, earlier = extended.narrow(1, 2, count), extended.narrow(1, 0, count)
    return torch.cat([torch.zeros_like(extended.narrow(1, 0, 2), dtype=torch.bool), later != earlier], 1)


def emissions(log_probs: Tensor, extended: Tensor) -> Tensor:
    """e_tnu = log_probs[t, n, l′_nu], at least ZERO. Shape (T, N, U)."""
    index = extended.unsqueeze(0).expand(log_probs.shape[0], *extended.shape)
    return wide(log_probs).gather(2, index).clamp(min=ZERO)


def log_sum(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """log(e^a + e^b + e^c)"""
    return torch.logsumexp(torch.stack([a, b, c], 2), 2)


def prefixes(e: Tensor, skip: Tensor) -> Tensor:
    """α, one step of time after the other. Shape (T, N, U)."""
    size = e.shape[2]
    nothing = torch.full_like(e[0].narrow(1, 0, 1), ZERO)
    start = torch.arange(size, device=e.device) < 2
    alpha = [torch.where(start, e[0], ZERO)]
    for t in range(1, e.shape[0]):
        stay = alpha[-1]
        shifted = torch.cat([nothing, nothing, stay], 1)
        step, leap = shifted.narrow(1, 1, size), torch.where(skip, shifted.narrow(1, 0, size), ZERO)
        alpha.append(e[t] + log_sum(stay, step, leap))
    return torch.stack(alpha)


def suffixes(e: Tensor, skip: Tensor, last: Tensor, input_lengths: Tensor) -> Tensor:
    """β, from the end of each input backwards. Shape (T, N, U)."""
    steps, _, size = e.shape
    nothing = torch.full_like(e[0].narrow(1, 0, 1), ZERO)
    never = torch.zeros_like(skip.narrow(1, 0, 1))
    skip = torch.cat([skip, never, never], 1).narrow(1, 2, size)  # skip_{u+2} at u
    end = torch.where(last, 0.0, ZERO).to(e.dtype)
    beta = [end]
    for t in range(steps - 2, -1, -1):
        stay = e[t + 1] + beta[-1]
        shifted = torch.cat([stay, nothing, nothing], 1)
        step, leap = shifted.narrow(1, 1, size), torch.where(skip, shifted.narrow(1, 2, size), ZERO)
        at_end = (input_lengths == t + 1).unsqueeze(1)
        beta.append(torch.where(at_end, end, log_sum(stay, step, leap)))
    return torch.stack(beta[::-1])


def log_likelihood(alpha: Tensor, last: Tensor, input_lengths: Tensor, target_lengths: Tensor) -> Tensor:
    """log p(l), from α at the last step of each input. Shape (N)."""
    place = (input_lengths - 1).clamp(min=0).reshape(1, -1, 1).expand(1, *alpha.shape[1:])
    end = torch.where(last, alpha.gather(0, place).squeeze(0), ZERO)
    nothing_read = torch.where(target_lengths == 0, 0.0, ZERO).to(alpha.dtype)
    return torch.where(input_lengths == 0, nothing_read, torch.logsumexp(end, 1))


class CTCLossFunction(Function):
    """Connectionist temporal classification: how probable is a label sequence, whenever its labels were read.

    Forward    At each of the T_n steps of time the network gives a probability to each class, one of which is
               the blank, "nothing new". Of one sample, T = T_n, S = S_n: an alignment, a class for each step,
               reads as the labels l_1 … l_S if these remain once repetitions are merged and blanks removed,
               so it walks along the extended labels
                   l′ = (blank, l_1, blank, l_2, …, l_S, blank),   U = 2S + 1,
               starting at l′_0 or l′_1, staying or moving on by one at each step, or by two, over a blank, if
               the labels at its sides differ (else they would be merged; skip_u says that u may be reached
               so), and ending at one of the last two.
               p(l) = Σ over such walks u of Π_t e^{e_t,u_t},   e_tu = x_{t, l′_u},   x = log_probs
               The sum over exponentially many walks is one over where they stand at time t = 0 … T − 1:
                   α_tu = log of the sum over all ways to reach u at t, e_tu included
                        = e_tu + log(e^{α_{t−1,u}} + e^{α_{t−1,u−1}} + [skip_u] e^{α_{t−1,u−2}}),
                   α_0u = e_0u at the first two places, −∞ elsewhere,
                   log p = log(e^{α_{T−1,U−1}} + e^{α_{T−1,U−2}}),   ℓ = −log p
               ℓ = ∞ if no walk gets to the end in T steps, or 0 with zero_infinity.
               The mean is Σ_n ℓ_n / max(S_n, 1) / N.
    Backward   With the ways to finish from u after t,
                   β_tu = log(Σ_v e^{e_{t+1,v} + β_{t+1,v}}),   v = u, u + 1, and u + 2 if skip_{u+2},
                   β_{T−1,u} = 0 at the last two places, −∞ elsewhere,
               every walk that stands at u at time t is counted once in e^{α_tu + β_tu}; hence
               p = Σ_u e^{α_tu + β_tu} for every t. Each such walk has the factor e^{e_tu} once, so
                   ∂p/∂e_tu = e^{α_tu + β_tu},   ∂ℓ/∂e_tu = −γ_tu,   γ_tu = e^{α_tu + β_tu − log p},
               the probability that, given the labels, the walk stands at u at time t. A class is responsible
               for every place where it stands in l′, and with s_n = ∂L/∂ℓ_n
                   ∂L/∂x_tnc = −s_n Σ_{u: l′_u = c} γ_tnu,   0 for t ≥ T_n
               This is the derivative. torch returns  s_n (e^{x_tnc} − Σ_u γ_tnu)  in its place, which is no
               derivative of ℓ by x, but is that by the logits z if x = log_softmax(z): the Jacobian of
               log_softmax turns our gradient into it, since Σ_c Σ_u γ = 1, and leaves torch's as it is.
               Behind a log_softmax, where CTC belongs, both give the logits the same gradient.
               Where ℓ = ∞, γ is 0/0 = NaN, as in torch; with zero_infinity it is 0.
    Shapes     x: (T, N, C);   targets: (N, S) or, one behind the other, (Σ S_n);   lengths: (N), tensors or
               tuples;   α, β, e: (T, N, U) with S the largest target length, ``longest``;   ℓ: (N)
    Saves      x, targets, lengths, α
    Source     Graves, Fernández, Gomez, Schmidhuber 2006, doi:10.1145/1143844.1143891
    """

    @staticmethod
    def walk(log_probs: Tensor, targets: Tensor, target_lengths: Tensor, blank: int, longest: int):
        """l′, e, skip, and whether u is one of the last two places."""
        extended = extend(targets, target_lengths, blank, longest)
        place = torch.arange(extended.shape[1], device=extended.device)
        end = 2 * target_lengths.unsqueeze(1)
        last = (place == end) | (place == end - 1)
        skip = may_skip(extended) if longest else torch.zeros_like(extended, dtype=torch.bool)
        return extended, emissions(log_probs, extended), skip, last

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
        # T_n and S_n
        steps, labels = (as_tensor(k, log_probs.device) for k in (input_lengths, target_lengths))
        _, e, skip, last = CTCLossFunction.walk(log_probs, targets, labels, blank, longest)
        alpha = prefixes(e, skip)
        log_p = log_likelihood(alpha, last, steps, labels)
        infinity = 0.0 if zero_infinity else float("inf")
        loss = torch.where(log_p < 0.1 * ZERO, infinity, -log_p)
        if reduction == "mean":
            loss = (loss / labels.clamp(min=1)).mean()
        elif reduction == "sum":
            loss = loss.sum()
        return loss.to(log_probs.dtype), alpha

    @staticmethod
    def setup_context(ctx, inputs, output):
        log_probs, targets, *lengths, ctx.blank, ctx.reduction, ctx.zero_infinity, ctx.longest = inputs
        _, alpha = output
        ctx.mark_non_differentiable(alpha)
        ctx.lengths = [None if isinstance(k, Tensor) else k for k in lengths]
        tensors = [k if isinstance(k, Tensor) else None for k in lengths]
        ctx.save_for_backward(log_probs, targets, *tensors, alpha)

    @staticmethod
    def backward(ctx, grad: Tensor, _alpha):
        log_probs, targets, *lengths, alpha = ctx.saved_tensors
        given = [numbers if k is None else k for k, numbers in zip(lengths, ctx.lengths)]
        steps, labels = (as_tensor(k, log_probs.device) for k in given)
        extended, e, skip, last = CTCLossFunction.walk(log_probs, targets, labels, ctx.blank, ctx.longest)
        if torch.is_grad_enabled():  # differentiated again: α is a function of x, not a constant
            alpha = prefixes(e, skip)
        beta = suffixes(e, skip, last, steps)
        log_p = log_likelihood(alpha, last, steps, labels)
        impossible = log_p < 0.1 * ZERO
        gamma = torch.exp(alpha + beta - torch.where(impossible, 0, log_p).unsqueeze(1))
        gamma = torch.where(impossible.unsqueeze(1), 0.0 if ctx.zero_infinity else float("nan"), gamma)
        time = torch.arange(e.shape[0], device=e.device).reshape(-1, 1, 1)
        gamma = torch.where(time < steps.unsqueeze(1), gamma, 0)
        total = labels.clamp(min=1) * labels.shape[0]
        s = share(grad, ctx.reduction, total).unsqueeze(-1)
        index = extended.unsqueeze(0).expand(e.shape)
        grad_x = torch.zeros_like(log_probs, dtype=e.dtype).scatter_add(2, index, -s * gamma)
        return grad_x.to(log_probs.dtype), None, None, None, None, None, None, None


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Connectionist temporal classification, as :func:`torch.nn.functional.ctc_loss`.

    The gradient of ``log_probs`` is the derivative of the loss. That of torch is so only after it has passed
    through the log-softmax in front of the loss; then both are the same (see :class:`CTCLossFunction`).

    Args:
        log_probs: shape (T, N, C), or (T, C) for one sequence; the output of a log-softmax.
        targets: labels without blanks, shape (N, S), or one behind the other, shape (sum of target_lengths).
        input_lengths: how many of the T steps count, shape (N) or (); a tensor, or integers.
        target_lengths: how many labels count, likewise.
        blank: the class that stands for no label.
        reduction: "none", "sum", or "mean": of the losses divided by their target lengths.
        zero_infinity: whether the loss of targets that do not fit into their input is 0, and not infinite.

    Raises:
        RuntimeError: if shapes or lengths do not fit, ``blank`` or a label is no class, or there is no
            element in ``log_probs``.
        TypeError: if one of the lengths is a tensor and the other is not.
        ValueError: if ``reduction`` is no reduction.
    """
    check_tensors("ctc_loss", log_probs=log_probs, targets=targets)
    if reduction not in ("none", "sum", "mean"):
        raise ValueError(f"ctc_loss: reduction={reduction!r} is none of 'none', 'sum', 'mean'")
    if isinstance(input_lengths, Tensor) != isinstance(target_lengths, Tensor):
        raise TypeError(
            "ctc_loss: input_lengths and target_lengths must both be tensors or both be integers, but got "
            f"{type(input_lengths).__name__} and {type(target_lengths).__name__}"
        )
    check_index("ctc_loss", blank=blank)
    for argument, lengths in (("input_lengths", input_lengths), ("target_lengths", target_lengths)):
        if isinstance(lengths, Tensor):
            check_tensors("ctc_loss", **{argument: lengths})
    batched = log_probs.dim() == 3
    if log_probs.dim() not in (2, 3):
        raise RuntimeError(
            f"ctc_loss: log_probs must have shape (T, N, C) or (T, C), but has {list(log_probs.shape)}"
        )
    x = log_probs if batched else log_probs.unsqueeze(1)
    labels = targets if batched or targets.dim() != 1 else targets.unsqueeze(0)
    steps, counts = _lengths(input_lengths), _lengths(target_lengths)
    longest = _check(x, labels, steps, counts, blank)
    arguments = (labels, steps, counts, blank, reduction, zero_infinity, longest)
    check_floating("ctc_loss", log_probs=x)
    loss = apply(CTCLossFunction, x, *arguments, autocast=FLOAT32_ON_CPU)[0]
    return loss if batched or reduction != "none" else loss.squeeze(0)


def _lengths(lengths: Lengths) -> Tensor | tuple[int, ...]:
    if isinstance(lengths, Tensor):
        return lengths.reshape(lengths.numel())
    if any(isinstance(length, float) for length in lengths):
        raise TypeError(f"ctc_loss: lengths must be whole numbers, but got {tuple(lengths)}")
    return tuple(lengths)


def _known(lengths: Tensor | tuple[int, ...]) -> tuple[int, ...] | None:
    # The numbers, if they can be looked at.
    if not isinstance(lengths, Tensor):
        return lengths
    return tuple(lengths.tolist()) if not transforming() and values_known(lengths) else None


def _check(
    x: Tensor,
    targets: Tensor,
    input_lengths: Tensor | tuple[int, ...],
    target_lengths: Tensor | tuple[int, ...],
    blank: int,
) -> int:
    # Raises where torch does; returns the largest target length, or a bound of it under a transform.
    steps, batch, classes = x.shape
    if x.numel() == 0:
        raise RuntimeError(f"ctc_loss: log_probs must not be empty, but has shape {list(x.shape)}")
    if not 0 <= blank < classes:
        raise RuntimeError(f"ctc_loss: blank={blank} is no class; the {classes} classes count from 0")
    for name, lengths in (("input_lengths", input_lengths), ("target_lengths", target_lengths)):
        if isinstance(lengths, Tensor) and (lengths.is_floating_point() or lengths.dtype == torch.bool):
            raise RuntimeError(f"ctc_loss: {name} must be integral, but has dtype {lengths.dtype}")
        count = lengths.shape[0] if isinstance(lengths, Tensor) else len(lengths)
        if count != batch:
            raise RuntimeError(
                f"ctc_loss: {name} must have one element for each of the {batch} sequences, but has {count}"
            )
    if targets.dim() not in (1, 2):
        raise RuntimeError(
            f"ctc_loss: targets must have shape (N, S) or (sum of target_lengths), but has "
            f"{list(targets.shape)}"
        )
    if targets.dim() == 2 and targets.shape[0] != batch:
        raise RuntimeError(
            f"ctc_loss: targets of shape {list(targets.shape)} must have a row for each of the {batch} "
            "sequences of log_probs"
        )
    known = _known(target_lengths)
    for name, lengths, most in (
        ("input_lengths", _known(input_lengths), steps),
        ("target_lengths", known, None),
    ):
        for length in lengths or ():
            if length < 0 or (most is not None and length > most):
                bound = "at least 0" if length < 0 else f"at most {most}, the steps of log_probs"
                raise RuntimeError(f"ctc_loss: {name} must be {bound}, but got {length}")
    return targets.shape[-1] if known is None else _longest(targets, known, classes)


def _longest(targets: Tensor, known: tuple[int, ...], classes: int) -> int:
    longest = max(known)
    if targets.dim() == 1 and sum(known) != targets.shape[0]:
        raise RuntimeError(
            f"ctc_loss: targets must hold the {sum(known)} labels of target_lengths, but holds "
            f"{targets.shape[0]}"
        )
    if targets.dim() == 2 and longest > targets.shape[1]:
        raise RuntimeError(
            f"ctc_loss: a target length is {longest}, but targets has shape {list(targets.shape)}, room for "
            f"{targets.shape[1]} labels each"
        )
    if not transforming() and values_known(targets):
        wrong = (targets < 0) | (targets >= classes)
        if targets.dim() == 2 and wrong.any():  # behind the length anything may stand
            wrong &= torch.arange(targets.shape[1]) < torch.tensor(known).unsqueeze(1)
        if wrong.any():
            raise RuntimeError(
                f"ctc_loss: the label {targets[wrong][0].item()} in targets is no class; the {classes} "
                "classes count from 0"
            )
    return longest


class CTCLoss(nn.CTCLoss):
    """:class:`torch.nn.CTCLoss` with a hand-written backward."""

    def forward(
        self, log_probs: Tensor, targets: Tensor, input_lengths: Lengths, target_lengths: Lengths
    ) -> Tensor:
        return ctc_loss(
            log_probs, targets, input_lengths, target_lengths, self.blank, self.reduction, self.zero_infinity
        )
