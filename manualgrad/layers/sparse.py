"""Embedding and EmbeddingBag: linear maps of one-hot vectors, written as the selection of rows they are."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from ..function import Function, apply, check_index, check_optional, check_tensors, wide
from ._bags import check_bag_options, check_bags

__all__ = [
    "Embedding",
    "EmbeddingBag",
    "EmbeddingBagFunction",
    "EmbeddingBagMaxFunction",
    "EmbeddingFunction",
    "embedding",
    "embedding_bag",
]


def table_gradient(
    index: Tensor,
    g: Tensor,
    like: tuple[torch.Size, torch.dtype],
    padding_idx: int | None,
    scale_grad_by_freq: bool,
    sparse: bool,
) -> Tensor:
    """Σ_{n: i_n = v} g_n / c_v for each row v of a table of this size and dtype;  i: (M), g: (M, D)."""
    size, dtype = like
    if sparse:  # only the rows in use are stored; an optimizer must not see the padding row among them
        used = slice(None) if padding_idx is None else index != padding_idx
        values = g[used].to(dtype)
        return torch.sparse_coo_tensor(index[used].unsqueeze(0), values, size, check_invariants=False)
    if padding_idx is not None:
        g = g.masked_fill((index == padding_idx).unsqueeze(1), 0)
    if scale_grad_by_freq:
        count = index.new_zeros(size[0]).index_add(0, index, torch.ones_like(index))
        g = wide(g) / count[index].unsqueeze(1)
    return wide(g).new_zeros(size).index_add(0, index, wide(g)).to(dtype)


def renormalize(weight: Tensor, index: Tensor, max_norm: float | None, norm_type: float) -> None:
    """Scale the rows in use whose norm exceeds ``max_norm`` down to it, in place."""
    if max_norm is not None:
        with torch.no_grad():
            torch.embedding_renorm_(weight, index.contiguous(), max_norm, norm_type)


class EmbeddingFunction(Function):
    """Row i_n of a table for each index.

    Forward    y_n = W[i_n]
    Backward   g = ∂L/∂y.  A row is responsible for every place where it was used:
               ∂L/∂W[v] = Σ_{n: i_n = v} g_n / c_v
               c_v = 1, or with scale_grad_by_freq how often v occurs in i; row padding_idx gets no gradient
    Shapes     W: (V, D);   i: (*), integers in [0, V);   y: (*, D)
    Saves      i
    Source     Bengio, Ducharme, Vincent, Jauvin 2003, https://jmlr.org/papers/v3/bengio03a.html
    """

    @staticmethod
    def forward(
        weight: Tensor, index: Tensor, padding_idx: int | None, scale_grad_by_freq: bool, sparse: bool
    ):
        return nn.functional.embedding(index, weight)

    @staticmethod
    def setup_context(ctx, inputs, output):
        weight, index, ctx.padding_idx, ctx.scale_grad_by_freq, ctx.sparse = inputs
        ctx.size, ctx.dtype = weight.shape, weight.dtype
        ctx.save_for_backward(index)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        (index,) = ctx.saved_tensors
        index, g = index.reshape(-1), grad_y.reshape(index.numel(), ctx.size[1])
        options = (ctx.padding_idx, ctx.scale_grad_by_freq, ctx.sparse)
        return table_gradient(index, g, (ctx.size, ctx.dtype), *options), None, None, None, None


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of a table, as :func:`torch.nn.functional.embedding`.

    Args:
        input: indices, shape (*), int32 or int64.
        weight: the table, shape (num_embeddings, embedding_dim).
        padding_idx: the row that gets no gradient.
        max_norm: rows in use whose ``norm_type``-norm is larger are scaled down to it, in place.
        scale_grad_by_freq: divide a row's gradient by how often it is used in ``input``.
        sparse: return the gradient of ``weight`` as a sparse tensor.

    Raises:
        IndexError: if an index is not in [0, num_embeddings).
        AssertionError: if ``padding_idx`` is not in [-num_embeddings, num_embeddings).
        RuntimeError: if ``scale_grad_by_freq`` and ``sparse`` are both set.
    """
    check_tensors("embedding", input=input, weight=weight)
    rows = weight.shape[0]
    if padding_idx is not None:
        check_index("embedding", padding_idx=padding_idx)
        if not -rows <= padding_idx < rows:
            raise AssertionError(
                f"embedding: padding_idx must be in [{-rows}, {rows}), the rows of weight, but got "
                f"{padding_idx}"
            )
        padding_idx %= rows
    if sparse and scale_grad_by_freq:
        raise RuntimeError(
            "embedding: scale_grad_by_freq is not supported with sparse gradients; set sparse=False"
        )
    renormalize(weight, input, max_norm, norm_type)
    return apply(EmbeddingFunction, weight, input, padding_idx, scale_grad_by_freq, sparse)


class Embedding(nn.Embedding):
    """:class:`torch.nn.Embedding` with a hand-written backward."""

    def forward(self, input: Tensor) -> Tensor:
        return embedding(
            input,
            self.weight,
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.sparse,
        )


def bag_of(index: Tensor, offsets: Tensor | None, bags: int) -> Tensor:
    """b_n, the bag of each of the M indices, from where the bags start; without offsets they are rows."""
    count = index.numel()
    if offsets is None:
        return torch.arange(count, device=index.device) // max(count // max(bags, 1), 1)
    starts = torch.zeros(count + 1, dtype=torch.int64, device=index.device)
    starts = starts.index_add(0, offsets.narrow(0, 0, bags).long(), starts.new_ones(bags))
    return starts.narrow(0, 0, count).cumsum(0) - 1


def is_kept(index: Tensor, padding_idx: int | None) -> Tensor:
    """Whether an index is not the padding row."""
    return torch.ones_like(index, dtype=torch.bool) if padding_idx is None else index != padding_idx


def bag_sum(values: Tensor, bag: Tensor, bags: int) -> Tensor:
    """Σ_{n in bag b} values_n. Shape (M, *) -> (bags, *)."""
    return values.new_zeros(bags, *values.shape[1:]).index_add(0, bag, values)


class EmbeddingBagFunction(Function):
    """Sum or mean of the rows of a table that a bag of indices selects.

    Forward    y_b = Σ_{n in bag b} c_n W[i_n]
               c_n = p_n (``per_sample_weights``, or 1) for a sum, 1 / (indices in bag b) for a mean;
               the index padding_idx counts as absent: its c_n is 0. An empty bag gives 0.
    Backward   g = ∂L/∂y.  Row v is responsible wherever it was used, p_n at its one place n in bag b(n):
               ∂L/∂W[v] = Σ_{n: i_n = v} c_n g_{b(n)} / f_v
               ∂L/∂p_n = Σ_d g_{b(n),d} W[i_n]_d,   and 0 at padding
               f_v = 1, or with scale_grad_by_freq how often v occurs in i
    Shapes     W: (V, D);   i: (M), integers in [0, V);   offsets: where in i each bag starts, or None if all
               are of the same length;   p: (M) or None;   y: (bags, D)
    Saves      i, offsets, p; W only if p needs a gradient
    Source     Joulin, Grave, Bojanowski, Mikolov 2016, arXiv:1607.01759
    """

    @staticmethod
    def shares(
        index: Tensor,
        bag: Tensor,
        per_sample_weights: Tensor | None,
        bags: int,
        mode: str,
        kept: Tensor,
        dtype,
    ) -> Tensor:
        """c, one for each index."""
        if per_sample_weights is not None:
            return wide(per_sample_weights).masked_fill(~kept, 0)
        share = kept.to(dtype)
        if mode == "sum":
            return share
        return share / bag_sum(share, bag, bags).clamp(min=1).index_select(0, bag)

    @staticmethod
    def forward(
        weight: Tensor,
        index: Tensor,
        offsets: Tensor | None,
        per_sample_weights: Tensor | None,
        bags: int,
        mode: str,
        padding_idx: int | None,
        scale_grad_by_freq: bool,
        sparse: bool,
    ):
        bag, kept = bag_of(index, offsets, bags), is_kept(index, padding_idx)
        rows = wide(weight.index_select(0, index)).masked_fill(~kept.unsqueeze(1), 0)
        c = EmbeddingBagFunction.shares(index, bag, per_sample_weights, bags, mode, kept, rows.dtype)
        return bag_sum(c.unsqueeze(1) * rows, bag, bags).to(weight.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        weight, index, offsets, per_sample_weights, ctx.bags, ctx.mode, *ctx.options = inputs
        ctx.like = weight.shape, weight.dtype
        need_weight, need_per_sample = ctx.needs_input_grad[0], ctx.needs_input_grad[3]
        ctx.save_for_backward(
            weight if need_per_sample else None,
            index,
            offsets,
            per_sample_weights if need_weight or need_per_sample else None,
        )

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        weight, index, offsets, p = ctx.saved_tensors
        bag, kept = bag_of(index, offsets, ctx.bags), is_kept(index, ctx.options[0])
        g = wide(grad_y).index_select(0, bag)
        grad_weight = grad_p = None
        if ctx.needs_input_grad[0]:
            c = EmbeddingBagFunction.shares(index, bag, p, ctx.bags, ctx.mode, kept, g.dtype)
            grad_weight = table_gradient(index, c.unsqueeze(1) * g, ctx.like, *ctx.options)
        if ctx.needs_input_grad[3]:
            grad_p = (g * wide(weight.index_select(0, index))).sum(1).masked_fill(~kept, 0).to(p.dtype)
        return grad_weight, None, None, grad_p, None, None, None, None, None


class EmbeddingBagMaxFunction(Function):
    """The largest entry, column by column, of the rows that a bag of indices selects.

    Forward    y_bd = max_{n in bag b} W[i_n]_d,   n*(b, d) = the first n that attains it
               the index padding_idx counts as absent; an empty bag gives 0
    Backward   g = ∂L/∂y.  Only the entry that was largest is responsible:
               ∂L/∂W[v]_d = Σ_{b: i_{n*(b, d)} = v} g_bd
    Shapes     W: (V, D);   i: (M);   offsets: where in i each bag starts, or None;   y: (bags, D)
    Saves      the row i_{n*} of each y_bd, −1 where the bag is empty
    Source     as EmbeddingBagFunction
    """

    @staticmethod
    def forward(weight: Tensor, index: Tensor, offsets: Tensor | None, bags: int, padding_idx: int | None):
        size, count = weight.shape[1], index.numel()
        bag, kept = bag_of(index, offsets, bags), is_kept(index, padding_idx)
        rows = weight.index_select(0, index).masked_fill(~kept.unsqueeze(1), -float("inf"))
        to_bag = bag.unsqueeze(1).expand(count, size)
        y = weight.new_zeros(bags, size).scatter_reduce(0, to_bag, rows, "amax", include_self=False)
        y = torch.where(bag_sum(kept.long(), bag, bags).unsqueeze(1) > 0, y, 0)
        attained = (rows == y.index_select(0, bag)) & kept.unsqueeze(1)
        place = torch.where(attained, torch.arange(count, device=index.device).unsqueeze(1), count)
        first = torch.full_like(y, count, dtype=torch.int64).scatter_reduce(0, to_bag, place, "amin")
        row = torch.cat([index.long(), torch.full((1,), -1, device=index.device)])
        return y, row.index_select(0, first.reshape(bags * size)).reshape(bags, size)

    @staticmethod
    def setup_context(ctx, inputs, output):
        weight = inputs[0]
        _, row = output
        ctx.size, ctx.dtype = weight.shape, weight.dtype
        ctx.mark_non_differentiable(row)
        ctx.save_for_backward(row)

    @staticmethod
    def backward(ctx, grad_y: Tensor, _row):
        (row,) = ctx.saved_tensors
        g = wide(grad_y).masked_fill(row < 0, 0)
        grad_weight = g.new_zeros(ctx.size).scatter_add(0, row.clamp(min=0), g).to(ctx.dtype)
        return grad_weight, None, None, None, None


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sums, means or maxima over bags of rows of a table, as :func:`torch.nn.functional.embedding_bag`.

    Args:
        input: indices, int32 or int64: shape (bags, n), or (M) with ``offsets``.
        weight: the table, shape (num_embeddings, embedding_dim).
        offsets: where in a one-axis ``input`` each bag starts, shape (bags), or (bags + 1) with
            ``include_last_offset``; the last bag ends where the input does.
        max_norm: rows in use whose ``norm_type``-norm is larger are scaled down to it, in place.
        scale_grad_by_freq: divide a row's gradient by how often it is used in ``input``; not for "max".
            (torch 2.13 divides it, on the CPU, by the count of another row if a smaller index is repeated.)
        mode: "sum", "mean" or "max".
        sparse: return the gradient of ``weight`` as a sparse tensor; not for "max".
        per_sample_weights: a factor for each index, of the shape of ``input``; for "sum" alone.
        include_last_offset: whether ``offsets`` ends with the end of the last bag.
        padding_idx: the row that counts as absent.

    Raises:
        ValueError, RuntimeError, NotImplementedError: if shapes, dtypes or options do not fit, or an index is
            not in [0, num_embeddings).
        IndexError: if an offset is outside of the input.
    """
    check_tensors("embedding_bag", input=input, weight=weight)
    check_optional("embedding_bag", offsets=offsets, per_sample_weights=per_sample_weights)
    if weight.dtype == torch.int64 and input.is_floating_point():
        warnings.warn(
            "embedding_bag: the indices come first and the table second; the other order is deprecated",
            stacklevel=2,
        )
        weight, input = input, weight
    check_bag_options(input, weight, mode, scale_grad_by_freq, sparse, per_sample_weights)
    if input.dim() == 2 and input.is_nested:
        include_last_offset = True
        nested: Any = input
        offsets, input = nested.offsets(), nested.values()
        if per_sample_weights is not None:
            if not per_sample_weights.is_nested:
                raise ValueError("embedding_bag: input is nested, so per_sample_weights must be nested too")
            per_sample_weights = per_sample_weights.values()
    elif input.dim() == 2 and offsets is not None:
        raise ValueError(
            f"embedding_bag: the rows of an input of shape {list(input.shape)} are its bags, so offsets must "
            "be None"
        )
    if padding_idx is not None:
        rows = weight.shape[0]
        if not -rows <= padding_idx < rows:
            raise RuntimeError(
                f"embedding_bag: padding_idx must be in [{-rows}, {rows}), the rows of weight, but got "
                f"{padding_idx}"
            )
        padding_idx %= rows
    index = input.reshape(input.numel())
    bags = check_bags(input, weight, offsets, include_last_offset)
    renormalize(weight, index, max_norm, norm_type)
    index = index if index.dtype in (torch.int32, torch.int64) else index.long()
    if mode == "max":
        return apply(EmbeddingBagMaxFunction, weight, index, offsets, bags, padding_idx)[0]
    factors = None if per_sample_weights is None else per_sample_weights.reshape(input.numel())
    options = (bags, mode, padding_idx, scale_grad_by_freq, sparse)
    return apply(EmbeddingBagFunction, weight, index, offsets, factors, *options)


class EmbeddingBag(nn.EmbeddingBag):
    """:class:`torch.nn.EmbeddingBag` with a hand-written backward."""

    def forward(
        self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None
    ) -> Tensor:
        return embedding_bag(
            input,
            self.weight,
            offsets,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.mode,
            self.sparse,
            per_sample_weights,
            self.include_last_offset,
            self.padding_idx,
        )
