"""Attention: every query takes an average of the values, weighted by how well their keys fit it.

Here is the one formula; :mod:`multihead <manualgrad.layers.multihead>` puts learned projections around it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..function import LOW, Function, apply, autocasting, check_floating, check_optional, wide, wide_dtype

__all__ = ["ScaledDotProductAttentionFunction", "scaled_dot_product_attention"]

NOWHERE = float("-inf")
NAME = "scaled_dot_product_attention"


def scores(query: Tensor, key: Tensor, mask: Tensor | None, is_causal: bool, scale: float) -> Tensor:
    """Z = s Q Kᵀ + M, where a boolean mask stands for 0 (True) and −∞ (False), a causal one for j ≤ i."""
    z = wide(query) * scale @ wide(key).transpose(-2, -1)
    if is_causal:
        earlier = torch.ones(z.shape[-2:], dtype=torch.bool, device=z.device).tril()
        z = torch.where(earlier, z, NOWHERE)
    if mask is None:
        return z
    return torch.where(mask, z, NOWHERE) if mask.dtype == torch.bool else z + mask


def distribution(z: Tensor, masked: bool) -> Tensor:
    """P, the softmax of every row; with a mask, zeros for a row of −∞, a query that may look nowhere."""
    if not masked:
        return torch.softmax(z, -1)
    nowhere = (z == NOWHERE).all(-1, keepdim=True)
    return torch.softmax(z.masked_fill(nowhere, 0), -1).masked_fill(nowhere, 0)


class ScaledDotProductAttentionFunction(Function):
    """Attention of L queries to S keys and their values.

    Forward    Z = s Q Kᵀ + M                  scores: s is the scale, M the mask (−∞ forbids a pair)
               P_ij = e^Z_ij / Σ_k e^Z_ik      weights: a softmax of each row
               O = (P ⊙ D) V                   D: dropout of probability p, 0 or 1/(1 − p); else all ones
    Backward   G = ∂L/∂O  (L under a ∂ is the loss, in a shape the number of queries).
               O is bilinear in P ⊙ D and V:
               ∂L/∂V = (P ⊙ D)ᵀ G,   ∂L/∂P = G Vᵀ ⊙ D
               softmax, ∂P_ij/∂Z_ik = P_ij (δ_jk − P_ik), contracted with ∂L/∂P row by row:
               ∂L/∂Z_ik = P_ik (∂L/∂P_ik − Σ_j P_ij ∂L/∂P_ij)
               Z is a product and a sum:   ∂L/∂Q = s ∂L/∂Z K,   ∂L/∂K = s (∂L/∂Z)ᵀ Q,   ∂L/∂M = ∂L/∂Z
               Put in ∂L/∂P_ij = Σ_e G_ie V_je D_ij, and Σ_j P_ij ∂L/∂P_ij is Σ_e G_ie O_ie too: a kernel
               that never holds a whole row of P uses that.
               A row that is −∞ throughout has P = 0: it gives 0, and gets the gradient 0.
    Shapes     Q: (*, L, E);   K: (*, S, E);   V: (*, S, Eᵥ);   O: (*, L, Eᵥ);   Z, P, D: (*, L, S);
               leading axes and M are broadcast; their gradients are summed over what was repeated
    Saves      Q, K, M, D as booleans, and V if more than V needs a gradient. P, with its L·S numbers, is
               computed again
    Source     Vaswani et al. 2017, arXiv:1706.03762;   P computed again: Dao et al. 2022, arXiv:2205.14135
    """

    @staticmethod
    def forward(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None,
        kept: Tensor | None,
        kept_scale: float,
        is_causal: bool,
        scale: float,
    ):
        weights = distribution(scores(query, key, attn_mask, is_causal, scale), attn_mask is not None)
        weights = weights if kept is None else weights * kept * kept_scale
        output = weights @ wide(value)
        return output.to(query.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        query, key, value, attn_mask, kept, ctx.kept_scale, ctx.is_causal, ctx.scale = inputs
        need_query, need_key, _, need_mask, *_ = ctx.needs_input_grad
        ctx.value_shape, ctx.value_dtype = value.shape, value.dtype
        needed = value if need_query or need_key or need_mask else None
        ctx.save_for_backward(query, key, needed, attn_mask, kept)

    @staticmethod
    def backward(ctx, grad_output: Tensor):
        query, key, value, attn_mask, kept = ctx.saved_tensors
        need_query, need_key, need_value, need_mask, *_ = ctx.needs_input_grad
        z = scores(query, key, attn_mask, ctx.is_causal, ctx.scale)
        weights = distribution(z, attn_mask is not None)
        g = wide(grad_output)
        grad_query = grad_key = grad_value = grad_mask = None
        if need_value:
            used = weights if kept is None else weights * kept * ctx.kept_scale
            grad_value = (used.transpose(-2, -1) @ g).sum_to_size(ctx.value_shape).to(ctx.value_dtype)
        if need_query or need_key or need_mask:
            grad_weights = g @ wide(value).transpose(-2, -1)
            grad_weights = grad_weights if kept is None else grad_weights * kept * ctx.kept_scale
            mean = (weights * grad_weights).sum(-1, keepdim=True)
            grad_z = weights * (grad_weights - mean)
            if need_query:
                grad_query = (grad_z @ wide(key) * ctx.scale).sum_to_size(query.shape).to(query.dtype)
            if need_key:
                grad_key = grad_z.transpose(-2, -1) @ wide(query) * ctx.scale
                grad_key = grad_key.sum_to_size(key.shape).to(key.dtype)
            if need_mask:
                grad_mask = grad_z.sum_to_size(attn_mask.shape).to(attn_mask.dtype)
        return grad_query, grad_key, grad_value, grad_mask, None, None, None, None


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(``scale`` Q Kᵀ + mask) V, as :func:`torch.nn.functional.scaled_dot_product_attention`.

    Args:
        query: shape (*, L, E); leading axes of all three are broadcast.
        key: shape (*, S, E).
        value: shape (*, S, Eᵥ).
        attn_mask: shape (*, L, S), or broadcast to it: booleans, True where a query may look at a key, or
            numbers that are added to the scores, and have a gradient.
        dropout_p: each weight is dropped with this probability, in training or not.
        is_causal: query i may look at the keys 0 to i only.
        scale: of the scores; default 1/√E.
        enable_gqa: grouped queries: axis −3 of the query, its heads, is a multiple of that of key and value,
            and each group of successive heads shares one of theirs.

    Raises:
        RuntimeError: if shapes or dtypes do not fit, both ``attn_mask`` and ``is_causal`` are given, or
            ``dropout_p`` is more than 1.
    """
    check_optional("scaled_dot_product_attention", attn_mask=attn_mask)
    check_floating("scaled_dot_product_attention", RuntimeError, query=query, key=key, value=value)
    _check_dtypes(query, key, value, attn_mask)
    leading = query.shape[:-2]
    if enable_gqa:
        query, key, value, attn_mask = _grouped(query, key, value, attn_mask)
    shape = _weights_shape(query, key, value, attn_mask)
    if is_causal and attn_mask is not None:
        raise RuntimeError(
            f"{NAME}: attn_mask and is_causal=True exclude each other; "
            "put the causal mask into attn_mask, or leave one of them out"
        )
    if dropout_p > 1:
        raise RuntimeError(f"{NAME}: dropout_p has to be between 0 and 1, but got dropout_p={dropout_p}")
    scale = _default_scale(query) if scale is None else scale
    kept, kept_scale = None, 1.0
    if dropout_p > 0:
        noise = query.new_empty(shape, dtype=wide_dtype(query.dtype))
        kept_scale = 0.0 if dropout_p == 1 else 1 / (1 - dropout_p)
        kept = noise.bernoulli_(1 - dropout_p).bool()
    output = apply(
        ScaledDotProductAttentionFunction,
        query,
        key,
        value,
        attn_mask,
        kept,
        kept_scale,
        is_causal,
        scale,
        autocast=LOW,
    )
    return output.reshape(*output.shape[:-4], leading[-1], *output.shape[-2:]) if enable_gqa else output


def _default_scale(query: Tensor) -> float:
    return 1 / math.sqrt(query.shape[-1]) if query.shape[-1] else 1.0


def _grouped(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None) -> tuple:
    # Heads as (groups, heads of a group), so that key and value meet a whole group by broadcasting, uncopied.
    if min(query.dim(), key.dim(), value.dim()) < 3:
        raise IndexError(
            f"{NAME}: enable_gqa=True needs an axis of heads, (*, H, L, E), but query, "
            f"key and value have shapes {list(query.shape)}, {list(key.shape)} and {list(value.shape)}"
        )
    heads, groups, of_value = query.shape[-3], key.shape[-3], value.shape[-3]
    if not groups or not of_value or heads % groups or heads % of_value:
        raise RuntimeError(
            f"{NAME}: with enable_gqa=True the heads of key and value must divide those of "
            f"the query, but query, key and value have {heads}, {groups} and {of_value} heads"
        )
    if groups != of_value:
        key, value, groups = _repeated(key, heads), _repeated(value, heads), heads
    query = query.reshape(*query.shape[:-3], groups, heads // groups, *query.shape[-2:])
    if attn_mask is not None and attn_mask.dim() >= 3:
        of_mask = attn_mask.shape[-3]
        if of_mask not in (1, heads):
            raise RuntimeError(
                f"{NAME}: attn_mask must have {heads} heads, as the query, or 1, but has "
                f"shape {list(attn_mask.shape)}"
            )
        split = (1, 1) if of_mask == 1 else (groups, heads // groups)
        attn_mask = attn_mask.reshape(*attn_mask.shape[:-3], *split, *attn_mask.shape[-2:])
    return query, key.unsqueeze(-3), value.unsqueeze(-3), attn_mask


def _repeated(x: Tensor, heads: int) -> Tensor:
    # Every head repeated, so that there are `heads` of them.
    *batch, own, length, features = x.shape
    return (
        x.unsqueeze(-3)
        .expand(*batch, own, heads // own, length, features)
        .reshape(*batch, heads, length, features)
    )


def _check_dtypes(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None) -> None:
    autocast = autocasting(query)
    if not autocast and not query.dtype == key.dtype == value.dtype:
        raise RuntimeError(
            f"{NAME}: query, key and value must have one dtype, but have "
            f"{query.dtype}, {key.dtype} and {value.dtype}; cast them"
        )
    allowed = (torch.bool, torch.float32, query.dtype)
    if attn_mask is None or attn_mask.dtype in allowed or (autocast and attn_mask.is_floating_point()):
        return
    raise RuntimeError(
        f"{NAME}: attn_mask must be boolean, float32 or of the query's dtype "
        f"{query.dtype}, but is {attn_mask.dtype}; cast it"
    )


def _weights_shape(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None) -> tuple[int, ...]:
    # Shape of P; raises where the shapes do not fit.
    shapes = f"query {list(query.shape)}, key {list(key.shape)} and value {list(value.shape)}"
    if min(query.dim(), key.dim(), value.dim()) < 2:
        raise RuntimeError(
            f"{NAME}: query, key and value need at least 2 axes, (*, length, features), "
            f"but have shapes {shapes}"
        )
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise RuntimeError(
            f"{NAME}: query (*, L, E), key (*, S, E) and value (*, S, Eᵥ) must agree in E and "
            f"S, but have shapes {shapes}"
        )
    try:
        batch = torch.broadcast_shapes(query.shape[:-2], key.shape[:-2])
        torch.broadcast_shapes(batch, value.shape[:-2])
    except RuntimeError:
        raise RuntimeError(
            f"{NAME}: the leading axes must be alike or 1, but the shapes are "
            f"{shapes}; for fewer heads of key and value use enable_gqa=True"
        ) from None
    shape = (*batch, query.shape[-2], key.shape[-2])
    if attn_mask is not None:
        fits = attn_mask.dim() <= len(shape)
        if not fits or any(m not in (1, n) for m, n in zip(reversed(attn_mask.shape), reversed(shape))):
            raise RuntimeError(
                f"{NAME}: attn_mask must broadcast to (*, L, S) = {list(shape)}, but has "
                f"shape {list(attn_mask.shape)}"
            )
    return shape
