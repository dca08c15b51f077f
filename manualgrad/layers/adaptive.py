"""AdaptiveLogSoftmaxWithLoss: a softmax over very many classes, the rare ones of which take two steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.adaptive import _ASMoutput

from ..function import (
    LOW,
    Function,
    apply,
    check_tensors,
    own,
    transforming,
    values_known,
    wants_gradient,
    wide,
)
from ._blocks import observed
from .arithmetic import add, concatenate, index_select
from .cross_entropy import KEPT_FROM, nll_loss
from .linear import Linear, linear
from .softmax import log_softmax

__all__ = [
    "AdaptiveLogSoftmaxWithLoss",
    "AdaptiveLogSoftmaxWithLossFunction",
    "adaptive_log_prob",
    "adaptive_log_softmax_with_loss",
]


def head_column(target: Tensor, cutoffs: Sequence[int]) -> Tensor:
    """The column of the head that stands for a class: its own, or that of its cluster."""
    column = target
    for k, (low, high) in enumerate(pairwise(cutoffs)):
        column = torch.where((target >= low) & (target < high), cutoffs[0] + k, column)
    return column


def score(logits: Tensor, column: Tensor) -> Tensor:
    """log softmax(logits)_{n, column_n}. Shapes (M, C), (M) -> (M)."""
    return torch.log_softmax(wide(logits), 1).gather(1, column.unsqueeze(1)).squeeze(1)


def slope(logits: Tensor, column: Tensor) -> Tensor:
    """D_nc = softmax(logits)_nc − δ_{c, column_n}: how −:func:`score` changes with the logits."""
    p, column = torch.softmax(wide(logits), 1), column.unsqueeze(1)
    return p.scatter_add(1, column, p.new_full(column.shape, -1)).to(logits.dtype)


def score_and_slope(logits: Tensor, column: Tensor, keep: bool) -> tuple[Tensor, Tensor | None]:
    """Both, or the score alone. A kernel has its own."""
    return score(logits, column), slope(logits, column) if keep else None


def members(
    x: Tensor, target: Tensor, rows: Tensor | None, low: int, high: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Of a cluster: the inputs, the classes counted from its first one, and which of these are in it."""
    if rows is not None:
        x, target = x.index_select(0, rows), target.index_select(0, rows)
    return x, (target - low).clamp(0, high - low - 1), (target >= low) & (target < high)


def scores_and_slopes(
    score_and_slope: Callable[[Tensor, Tensor, bool], tuple[Tensor, Tensor | None]],
    x: Tensor,
    head_weight: Tensor,
    head_bias: Tensor | None,
    target: Tensor,
    cutoffs: tuple[int, ...],
    keep: bool,
    clusters: Sequence[Any],
) -> tuple[Tensor, list[Tensor]]:
    """y, and with ``keep`` D and the D_k of the clusters in use."""
    h = nn.functional.linear(x, head_weight, head_bias)
    y, d = score_and_slope(h, head_column(target, cutoffs), keep)
    slopes = [d]
    for (low, high), (p, q, rows) in zip(pairwise(cutoffs), triples(clusters)):
        if rows is not None and not rows.numel():
            continue
        part, column, inside = members(x, target, rows, low, high)
        more, d = score_and_slope(part @ p.T @ q.T, column, keep)
        more = torch.where(inside, more, 0)
        y = y + more if rows is None else y.index_add(0, rows, more)
        slopes.append(d)
    return y, [d for d in slopes if d is not None]


class AdaptiveLogSoftmaxWithLossFunction(Function):
    """The log-probability of the true class, by way of its cluster, and the mean loss.

    Forward    Classes are sorted by frequency. The head has a column for each of the S most frequent ones,
               and one for each of K clusters, cluster k holding the classes in [c_k, c_{k+1}), c_1 = S:
                   h = x Hᵀ + b,    u_k = v_k Q_kᵀ with v_k = x P_kᵀ
               where P_k maps to fewer features the rarer the classes are. With t_n, the true class of sample
               n, in the head or in cluster k,
                   y_n = log softmax(h_n)_{t_n},    or
                   y_n = log softmax(h_n)_{S + k − 1} + log softmax(u_kn)_{t_n − c_k}
               L_mean = −Σ_n y_n / N.   Only the samples of a cluster need its u_k.
    Backward   −y_n reaches L by L_mean, with 1/N, and directly:   g_n = ∂L/∂L_mean / N − ∂L/∂y_n.
               −log softmax(z)_j changes with z_c by softmax(z)_c − δ_cj, so
                   ∂L/∂h_nc = g_n D_nc      D_nc = softmax(h_n)_c − δ_{c, j_n},  j_n = t_n or S + k − 1
                   ∂L/∂u_knc = g_n D_knc    D_knc = softmax(u_kn)_c − δ_{c, t_n − c_k},  n in cluster k
               and by the affine maps (linear.py), where g x is x with its row n times g_n, and g stands where
               the fewest numbers are to be multiplied,
                   ∂L/∂H = Dᵀ (g x)          ∂L/∂b = Dᵀ g              ∂L/∂Q_k = D_kᵀ (g v_k)
                   ∂L/∂v_k = g (D_k Q_k)     ∂L/∂P_k = (∂L/∂v_k)ᵀ x
                   ∂L/∂x = g (D H) + Σ_k ∂L/∂v_k P_k
    Shapes     x: (N, I);   t: (N), integers in [0, c_{K+1});   H: (S + K, I);   b: (S + K) or None;
               P_k: (I_k, I);   Q_k: (c_{k+1} − c_k, I_k);   rows_k: which n are in cluster k, or None where
               values cannot be looked at: then all are computed, and masked;   y: (N)
    Saves      x, t, rows_k and the weights of the clusters in use;  with ``keep``, which is for 8 samples or
               more, also D and their D_k
    Source     Grave, Joulin, Cissé, Grangier, Jégou 2016, arXiv:1609.04309
    """

    @staticmethod
    def forward(
        x: Tensor,
        head_weight: Tensor,
        head_bias: Tensor | None,
        target: Tensor,
        cutoffs: tuple[int, ...],
        keep: bool,
        dtype: torch.dtype,
        *clusters: Tensor | None,
    ):
        y, slopes = scores_and_slopes(
            score_and_slope, x, head_weight, head_bias, target, cutoffs, keep, clusters
        )
        return own(y.to(dtype)), -y.mean().to(dtype), *slopes

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, head_weight, head_bias, target, ctx.cutoffs, _, _, *clusters = inputs
        _, _, *slopes = output
        ctx.mark_non_differentiable(*slopes)
        unused = [rows is not None and not rows.numel() for _, _, rows in triples(clusters)]
        ctx.bias_dtype = None if head_bias is None else head_bias.dtype
        kept = [None if unused[k // 3] else c for k, c in enumerate(clusters)]
        ctx.unused = unused
        ctx.save_for_backward(x, head_weight, head_bias, target, *kept, *slopes)

    @staticmethod
    def backward(ctx, grad_y: Tensor, grad_mean: Tensor, *_slopes):
        x, head_weight, head_bias, target, *rest = ctx.saved_tensors
        clusters, slopes = rest[: 3 * len(ctx.unused)], rest[3 * len(ctx.unused) :]
        # Differentiated again, a slope is a function of the inputs, not a constant.
        kept = iter(() if torch.is_grad_enabled() else slopes)
        g = (wide(grad_mean) / x.shape[0] - wide(grad_y)).unsqueeze(1)
        d = next(kept, None)
        if d is None:
            h = nn.functional.linear(x, head_weight, head_bias)
            d = slope(h, head_column(target, ctx.cutoffs))
        grad_x = g * wide(d @ head_weight)
        grad_head = (d.T @ (g * wide(x)).to(x.dtype)).to(head_weight.dtype)
        grad_bias = None if ctx.bias_dtype is None else (wide(d).T @ g).squeeze(1).to(ctx.bias_dtype)
        grads: list[Tensor | None] = []
        for k, ((low, high), (p, q, rows)) in enumerate(zip(pairwise(ctx.cutoffs), triples(clusters))):
            if ctx.unused[k]:
                # None and not zeros, so that an optimizer leaves these weights alone, decay included.
                grads += [None, None, None]
                continue
            part, column, inside = members(x, target, rows, low, high)
            v = part @ p.T
            d = next(kept, None)
            if d is None:
                d = slope(v @ q.T, column)
            of_members = torch.where(inside.unsqueeze(1), g if rows is None else g.index_select(0, rows), 0)
            grad_v = (of_members * wide(d @ q)).to(x.dtype)
            more = wide(grad_v @ p)
            grad_x = grad_x + more if rows is None else grad_x.index_add(0, rows, more)
            grads += [grad_v.T @ part, d.T @ (of_members * wide(v)).to(x.dtype), None]
        return grad_x.to(x.dtype), grad_head, grad_bias, None, None, None, None, *grads


def triples(clusters: Sequence[Any]) -> list[tuple[Any, Any, Any]]:
    """(P_k, Q_k, rows_k) for each cluster, out of one after the other."""
    return [(clusters[k], clusters[k + 1], clusters[k + 2]) for k in range(0, len(clusters), 3)]


def checked(input: Tensor, target: Tensor, cutoffs: Sequence[int], features: int) -> tuple[Tensor, Tensor]:
    """Input and target of :func:`adaptive_log_softmax_with_loss`, as (N, I) and (N), or an error."""
    name = "adaptive_log_softmax_with_loss"
    axes = target.dim()
    if axes > 1:
        raise RuntimeError(f"{name}: target must have shape () or (N), but has {list(target.shape)}")
    if axes == 1 and input.shape[:1] != target.shape:
        raise RuntimeError(
            f"{name}: input and target must have the same batch size, but have the shapes "
            f"{list(input.shape)} and {list(target.shape)}"
        )
    if input.dim() != axes + 1:
        raise RuntimeError(
            f"{name}: a target of shape {list(target.shape)} needs an input with {axes + 1} axes, but it has "
            f"shape {list(input.shape)}"
        )
    if input.shape[-1] != features:
        raise RuntimeError(
            f"{name}: input must end with in_features={features}, but has shape {list(input.shape)}"
        )
    if target.dtype not in (torch.int32, torch.int64):
        raise RuntimeError(f"{name}: target must be int32 or int64, but has dtype {target.dtype}")
    x, t = (input, target) if axes else (input.unsqueeze(0), target.unsqueeze(0))
    t = t.long()
    if not transforming() and values_known(t) and ((t < 0) | (t >= cutoffs[-1])).any():
        raise RuntimeError(
            f"{name}: targets must be in [0, {cutoffs[-1] - 1}], but are in "
            f"[{t.min().item()}, {t.max().item()}]"
        )
    return x, t


def check_rows(cutoffs: Sequence[int], head_weight: Tensor, tails: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Raise RuntimeError unless head and clusters have a row for each of their classes."""
    name, counts = "adaptive_log_softmax_with_loss", [high - low for low, high in pairwise(cutoffs)]
    if len(tails) != len(counts):
        raise RuntimeError(
            f"{name}: cutoffs={list(cutoffs)} make {len(counts)} clusters, but there are {len(tails)} tails"
        )
    given = {"head_weight": (head_weight, cutoffs[0] + len(counts))}
    given |= {f"tails[{k}][1]": (q, count) for k, ((_, q), count) in enumerate(zip(tails, counts))}
    for argument, (rows, count) in given.items():
        if rows.shape[0] < count:
            raise RuntimeError(
                f"{name}: {argument} must have {count} rows for cutoffs={list(cutoffs)}, but has shape "
                f"{list(rows.shape)}"
            )


def rows_of_clusters(target: Tensor, cutoffs: Sequence[int]) -> list[Tensor | None]:
    """Which samples are in each cluster, or None where values cannot be looked at."""
    if transforming() or not (values_known(target) or target.is_cuda):
        return [None] * (len(cutoffs) - 1)
    inside = ((target >= low) & (target < high) for low, high in pairwise(cutoffs))
    return [rows.nonzero().squeeze(1) for rows in inside]


def adaptive_log_softmax_with_loss(
    input: Tensor,
    target: Tensor,
    cutoffs: Sequence[int],
    head_weight: Tensor,
    tails: Sequence[tuple[Tensor, Tensor]],
    head_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The log-probabilities of the targets, and the mean of their negatives.

    Args:
        input: shape (N, I) or (I).
        target: class indices, shape (N) or ().
        cutoffs: the first class of each cluster, and the number of classes.
        head_weight: shape (shortlist + clusters, I).
        tails: for each cluster the two maps that make its logits, shapes (I_k, I) and (size of k, I_k).
        head_bias: shape (shortlist + clusters).

    Raises:
        RuntimeError: if shapes or dtypes do not fit, or a target is no class.
    """
    check_tensors("adaptive_log_softmax_with_loss", input=input, target=target, head_weight=head_weight)
    x, t = checked(input, target, cutoffs, head_weight.shape[1])
    check_rows(cutoffs, head_weight, tails)
    clusters: list[Tensor | None] = []
    for rows, (p, q) in zip(rows_of_clusters(t, cutoffs), tails):
        clusters += [p, q, rows]
    keep = x.shape[0] >= KEPT_FROM and wants_gradient(x, head_weight, head_bias, *clusters)
    arguments = (head_weight, head_bias, t, tuple(cutoffs), keep, input.dtype, *clusters)
    y, loss, *_ = apply(AdaptiveLogSoftmaxWithLossFunction, x, *arguments, autocast=LOW)
    return (y if target.dim() else y.squeeze(0)), loss


def adaptive_log_prob(
    input: Tensor,
    cutoffs: Sequence[int],
    head_weight: Tensor,
    tails: Sequence[tuple[Tensor, Tensor]],
    head_bias: Tensor | None = None,
) -> Tensor:
    """The log-probabilities of all classes, shape (N, classes). Args: adaptive_log_softmax_with_loss."""
    clusters = [linear(linear(input, p), q) for p, q in tails]
    return joined(linear(input, head_weight, head_bias), clusters, cutoffs)


def joined(head: Tensor, clusters: Sequence[Tensor], cutoffs: Sequence[int]) -> Tensor:
    """The log-probabilities of all classes from h and all u_k."""
    head = log_softmax(head, dim=1)
    parts = [head[:, : cutoffs[0]]]
    for k, u in enumerate(clusters):
        parts.append(add(log_softmax(u, dim=1), head[:, cutoffs[0] + k].unsqueeze(1)))
    return concatenate(parts, dim=1)


def plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether ``module`` is of this class itself, or of ours, and computes what that says: no hooks."""
    ours = Linear if kind is nn.Linear else kind
    return type(module) in (kind, ours) and not observed(module)


def of_weights_alone(module: Any) -> bool:
    """Whether the head is one linear map, and each cluster two without a bias, as torch makes them."""
    for tail in module.tail:
        pair = plain(tail, nn.Sequential) and len(tail) == 2
        if not (pair and all(plain(part, nn.Linear) and part.bias is None for part in tail)):
            return False
    return plain(module.head, nn.Linear)


def run(module: nn.Module, x: Tensor) -> Tensor:
    """``module(x)``, with hand-written backwards for linear maps."""
    if plain(module, nn.Sequential):
        for part in cast(nn.Sequential, module):
            x = run(part, x)
        return x
    return linear(x, module.weight, module.bias) if plain(module, nn.Linear) else module(x)  # pyright: ignore


def log_likelihood(logits: Tensor, column: Tensor) -> Tensor:
    """:func:`score`, as a layer: the negative of a negative log-likelihood."""
    minus = logits.new_full((logits.shape[1],), -1.0)
    return nll_loss(log_softmax(logits, dim=1), column, weight=minus, reduction="none")


def step_by_step(module: Any, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`adaptive_log_softmax_with_loss` of a head and clusters that are any modules."""
    cutoffs = module.cutoffs
    x, t = checked(input, target, cutoffs, module.in_features)
    y = log_likelihood(run(module.head, x), head_column(t, cutoffs))
    for k, ((low, high), rows) in enumerate(zip(pairwise(cutoffs), rows_of_clusters(t, cutoffs))):
        if rows is not None and not rows.numel():
            continue
        rows = torch.arange(t.shape[0], device=t.device) if rows is None else rows
        _, column, _ = members(x, t, rows, low, high)
        more = log_likelihood(run(module.tail[k], index_select(x, 0, rows)), column)
        # All others take one further entry, a zero.
        entry = torch.full_like(t, rows.shape[0]).scatter(
            0, rows, torch.arange(rows.shape[0], device=t.device)
        )
        entry = torch.where((t >= low) & (t < high), entry, rows.shape[0])
        y = add(y, index_select(concatenate([more, more.new_zeros(1)], 0), 0, entry))
    y = y if y.dtype == input.dtype else y.to(input.dtype)
    loss = nll_loss(y.unsqueeze(1), torch.zeros_like(t))
    return (y if target.dim() else y.squeeze(0)), loss


def weights(module: Any) -> tuple[Tensor, list[tuple[Tensor, Tensor]], Tensor | None]:
    """Of the head, of the clusters, and the bias of the head."""
    tails = [(down.weight, up.weight) for down, up in module.tail]
    return module.head.weight, tails, module.head.bias


class AdaptiveLogSoftmaxWithLoss(nn.AdaptiveLogSoftmaxWithLoss):
    """:class:`torch.nn.AdaptiveLogSoftmaxWithLoss` with a hand-written backward.

    Where ``head`` and ``tail`` are the linear maps that torch makes, one Function takes their weights. Where
    they are not, or have hooks, they are called, and layers of other pages do the rest.
    """

    def forward(self, input_: Tensor, target_: Tensor) -> _ASMoutput:
        if not of_weights_alone(self):
            return _ASMoutput(*step_by_step(self, input_, target_))
        return _ASMoutput(*adaptive_log_softmax_with_loss(input_, target_, self.cutoffs, *weights(self)))

    def log_prob(self, input: Tensor) -> Tensor:
        clusters = [run(cluster, input) for cluster in self.tail]
        return joined(run(self.head, input), clusters, self.cutoffs)

    def predict(self, input: Tensor) -> Tensor:
        return self.log_prob(input).argmax(1)
