"""Embedding: a linear map of one-hot vectors, written as the selection of rows that it is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..function import Function, apply, wide

__all__ = ["Embedding", "EmbeddingFunction", "embedding"]


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
        if (
            ctx.sparse
        ):  # only the rows in use are stored; an optimizer must not see the padding row among them
            used = slice(None) if ctx.padding_idx is None else index != ctx.padding_idx
            grad_weight = torch.sparse_coo_tensor(
                index[used].unsqueeze(0), g[used], ctx.size, check_invariants=False
            )
            return grad_weight, None, None, None, None
        if ctx.padding_idx is not None:
            g = g.masked_fill((index == ctx.padding_idx).unsqueeze(1), 0)
        if ctx.scale_grad_by_freq:
            count = index.new_zeros(ctx.size[0]).index_add(0, index, torch.ones_like(index))
            g = wide(g) / count[index].unsqueeze(1)
        grad_weight = wide(g).new_zeros(ctx.size).index_add(0, index, wide(g)).to(ctx.dtype)
        return grad_weight, None, None, None, None


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
    rows = weight.shape[0]
    if padding_idx is not None:
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
    if max_norm is not None:
        with torch.no_grad():
            torch.embedding_renorm_(weight, input.contiguous(), max_norm, norm_type)
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
