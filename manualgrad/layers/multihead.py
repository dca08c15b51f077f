"""Multi-head attention: several attentions side by side, each in its own learned projection of the features.

It is put together from layers of other pages and four small Functions. For each head h, with the scale
s = 1/√D, the mask M, and h's D features of the projected queries, keys and values, which are linear maps
of the three inputs:

    Z_h = s Q_h K_hᵀ + M,   P_h = the softmax of each row of Z_h, with dropout,   O_h = P_h V_h

and the output is a linear map of all O_h side by side. Where nobody asks for the weights P, the fused formula
of :mod:`attention <manualgrad.layers.attention>` is used; else these steps, one by one, so that the
weights are a result with a gradient of their own.

B is the number of samples, H of heads, L of queries, S of keys. (L under a ∂ is the loss.)
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.modules import linear as torch_linear

from ..function import LOW, Function, apply, check_tensors, wide
from ._masks import additive, check_axes, heads_of_mask, require
from .arithmetic import add, concatenate
from .attention import scaled_dot_product_attention, scores
from .dropout import dropout
from .linear import linear
from .padding import pad
from .softmax import softmax

__all__ = [
    "AttentionScoresFunction",
    "HeadMeanFunction",
    "MultiheadAttention",
    "NonDynamicallyQuantizableLinear",
    "PackedHeadsFunction",
    "WeightedValuesFunction",
    "multi_head_attention_forward",
]


class PackedHeadsFunction(Function):
    """Query, key and value of every head, out of one product that holds them side by side.

    Forward    Q_bhle = X_bl0he,   K_bhle = X_bl1he,   V_bhle = X_bl2he   for sample b, place l, head h and
               feature e, where the last axis of X is seen as three: (3, H, D)
    Backward   numbers change their places and nothing else, so gradients go back where the numbers were:
               ∂L/∂X_bl0he = ∂L/∂Q_bhle,   ∂L/∂X_bl1he = ∂L/∂K_bhle,   ∂L/∂X_bl2he = ∂L/∂V_bhle
    Shapes     X: (B, L, 3·H·D);   Q, K, V: (B, H, L, D), copies, so that each head is a matrix in one piece
    Saves      nothing
    Source     Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2
    """

    @staticmethod
    def forward(packed: Tensor, heads: int):
        batch, length, features = packed.shape
        parts = packed.reshape(batch, length, 3, heads, features // heads // 3).unbind(2)
        return tuple(part.transpose(1, 2).clone(memory_format=torch.contiguous_format) for part in parts)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, *grads: Tensor):
        batch, heads, length, width = grads[0].shape
        back = torch.stack([g.transpose(1, 2) for g in grads], 2)
        return back.reshape(batch, length, 3 * heads * width), None


class AttentionScoresFunction(Function):
    """How well each key fits each query.

    Forward    Z = s Q Kᵀ + M,   Z_ij = s Σ_e Q_ie K_je + M_ij   (s: the scale; M: the mask, or none)
    Backward   G = ∂L/∂Z.  Q_ie reaches Z_ij for every j, with s K_je; K_je for every i, with s Q_ie:
               ∂L/∂Q = s G K,   ∂L/∂K = s Gᵀ Q,   ∂L/∂M = G summed over what was repeated
    Shapes     Q: (B, H, L, D);   K: (B, H, S, D);   Z: (B, H, L, S);   M: broadcast to Z
    Saves      Q only if K needs a gradient, K only if Q does
    Source     Vaswani et al. 2017, arXiv:1706.03762
    """

    @staticmethod
    def forward(query: Tensor, key: Tensor, mask: Tensor | None, scale: float):
        return scores(query, key, mask, False, scale).to(query.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        query, key, mask, ctx.scale = inputs
        need_query, need_key, *_ = ctx.needs_input_grad
        ctx.mask_shape, ctx.mask_dtype = (None, None) if mask is None else (mask.shape, mask.dtype)
        ctx.save_for_backward(query if need_key else None, key if need_query else None)

    @staticmethod
    def backward(ctx, grad_scores: Tensor):
        query, key = ctx.saved_tensors
        need_query, need_key, need_mask, _ = ctx.needs_input_grad
        g = wide(grad_scores)
        grad_query = (g @ wide(key) * ctx.scale).to(key.dtype) if need_query else None
        grad_key = (g.transpose(-2, -1) @ wide(query) * ctx.scale).to(query.dtype) if need_key else None
        grad_mask = g.sum_to_size(ctx.mask_shape).to(ctx.mask_dtype) if need_mask else None
        return grad_query, grad_key, grad_mask, None


class WeightedValuesFunction(Function):
    """Each query's average of the values.

    Forward    O = P V,   O_ie = Σ_j P_ij V_je
    Backward   G = ∂L/∂O.  P_ij reaches O_ie for every e, with V_je; V_je reaches it for every i, with P_ij:
               ∂L/∂P = G Vᵀ,   ∂L/∂V = Pᵀ G
    Shapes     P: (B, H, L, S);   V: (B, H, S, D);   O: (B, H, L, D)
    Saves      P only if V needs a gradient, V only if P does
    Source     Vaswani et al. 2017, arXiv:1706.03762
    """

    @staticmethod
    def forward(weights: Tensor, value: Tensor):
        return weights @ value

    @staticmethod
    def setup_context(ctx, inputs, output):
        weights, value = inputs
        need_weights, need_value = ctx.needs_input_grad
        ctx.save_for_backward(weights if need_value else None, value if need_weights else None)

    @staticmethod
    def backward(ctx, grad_output: Tensor):
        weights, value = ctx.saved_tensors
        grad_weights = grad_value = None
        if ctx.needs_input_grad[0]:
            grad_weights = grad_output @ value.transpose(-2, -1)
        if ctx.needs_input_grad[1]:
            grad_value = weights.transpose(-2, -1) @ grad_output
        return grad_weights, grad_value


class HeadMeanFunction(Function):
    """The weights that are shown to the user: the mean over the heads.

    Forward    y = (1/H) Σ_h P_h
    Backward   every head is responsible for its H-th part:   ∂L/∂P_h = g / H  with  g = ∂L/∂y
    Shapes     P: (B, H, L, S);   y: (B, L, S)
    Saves      nothing
    """

    @staticmethod
    def forward(weights: Tensor):
        return weights.mean(1)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.shape = tuple(inputs[0].shape)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        return (grad_y / ctx.shape[1]).unsqueeze(1).expand(ctx.shape)


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Multi-head attention, as :func:`torch.nn.functional.multi_head_attention_forward`.

    L is the number of queries, S of keys, B of samples, H of heads, E of features. The axis B may be missing.

    Args:
        query: shape (L, B, E).
        key, value: shape (S, B, E), or with features of their own if ``use_separate_proj_weight``.
        embed_dim_to_check: E.
        num_heads: H, a divisor of E.
        in_proj_weight, in_proj_bias: shapes (3E, E) and (3E), of query, key and value in this order.
        bias_k, bias_v: shape (1, 1, E): a learned key, and its value, behind the others.
        add_zero_attn: puts a key and a value of zeros behind all others.
        dropout_p: each weight is dropped with this probability, if ``training``.
        out_proj_weight, out_proj_bias: shapes (E, E) and (E).
        key_padding_mask: shape (B, S): True for a key that nobody may look at, or numbers to add to scores.
        need_weights: whether the weights are returned too.
        attn_mask: shape (L, S) or (B·H, L, S): True where a query may not look, or numbers to add.
        use_separate_proj_weight: takes ``q_proj_weight`` (E, E), ``k_proj_weight`` (E, features of key) and
            ``v_proj_weight`` (E, features of value) instead of ``in_proj_weight``.
        static_k, static_v: shape (B·H, S, E/H), used in place of the projected key and value.
        average_attn_weights: whether the weights are averaged over the heads.
        is_causal: a hint that ``attn_mask`` is the causal one; it then need not be read.

    Returns:
        The output (L, B, E), and the weights (B, L, S), or (B, H, L, S) if not averaged, or None.

    Raises:
        AssertionError: if shapes do not fit, or arguments exclude each other, as in torch.
        RuntimeError: if ``attn_mask`` has another shape, or ``is_causal`` stands without it.
    """
    batched = check_axes(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        query, key, value = _each(lambda x: x.unsqueeze(1), query, key, value)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    length, batch, features = query.shape
    # A query that lies sample by sample in memory is left so, unless a dropout behind draws in torch's order.
    batch_first = not query.is_contiguous() and query.transpose(0, 1).is_contiguous()
    batch_first = batch_first and not (training and dropout_p > 0)
    key_padding_mask = additive("key_padding_mask", key_padding_mask, query.dtype, attn_mask)
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "multi_head_attention: is_causal=True is a hint about attn_mask, but attn_mask is None; give the "
            "mask, for instance torch.nn.Transformer.generate_square_subsequent_mask"
        )
    attn_mask = additive("attn_mask", attn_mask, query.dtype)
    if is_causal and key_padding_mask is None and not need_weights:
        attn_mask = None
    else:
        is_causal = False
    require(
        features == embed_dim_to_check,
        f"the query must have embed_dim={embed_dim_to_check} features, but has shape {list(query.shape)}",
    )
    require(
        features % num_heads == 0,
        f"num_heads={num_heads} must divide embed_dim, but embed_dim={features} is not divisible by it",
    )
    alike = key.shape[:2] == value.shape[:2] if use_separate_proj_weight else key.shape == value.shape
    require(alike, f"key {list(key.shape)} does not match value {list(value.shape)}")
    # All three out of one product, and no key to put behind them: the heads are taken out of it at once.
    together = query is key and key is value and bias_k is None and in_proj_weight is not None
    together = together and not use_separate_proj_weight
    if together:
        packed = _linear(query, cast(Tensor, in_proj_weight), in_proj_bias)
        q, k, v = apply(PackedHeadsFunction, packed.transpose(0, 1), num_heads)
    elif use_separate_proj_weight:
        weights = (q_proj_weight, k_proj_weight, v_proj_weight)
        q, k, v = _project_apart(query, key, value, weights, in_proj_bias)
    else:
        q, k, v = _project(query, key, value, in_proj_weight, in_proj_bias)
    attn_mask = heads_of_mask(attn_mask, batch, num_heads, length, key.shape[0])

    columns = 0
    if bias_k is not None and bias_v is not None:
        require(static_k is None and static_v is None, "bias_k and bias_v go with no static_k and static_v")
        k = concatenate([k, bias_k.expand(1, batch, features)], 0)
        v = concatenate([v, bias_v.expand(1, batch, features)], 0)
        columns += 1
    require((bias_k is None) == (bias_v is None), "bias_k and bias_v are given together, or not at all")
    if not together:
        q, k, v = (_split_heads(x, num_heads) for x in (q, k, v))
    k = _static("static_k", static_k, k)
    v = _static("static_v", static_v, v)
    if add_zero_attn:
        k, v = pad(k, (0, 0, 0, 1)), pad(v, (0, 0, 0, 1))
        columns += 1
    if columns and attn_mask is not None:
        attn_mask = pad(attn_mask, (0, columns))
    if key_padding_mask is not None:
        expected = [batch, k.shape[2] - columns]
        require(
            list(key_padding_mask.shape) == expected,
            f"key_padding_mask must have shape (B, S) = {expected}, but has {list(key_padding_mask.shape)}",
        )
        key_padding_mask = pad(key_padding_mask, (0, columns)) if columns else key_padding_mask
        key_padding_mask = key_padding_mask.reshape(batch, 1, 1, k.shape[2])
        attn_mask = key_padding_mask if attn_mask is None else add(attn_mask, key_padding_mask)

    dropout_p = dropout_p if training else 0.0
    attn_weights = None
    if need_weights:
        scale = math.sqrt(1.0 / q.shape[-1])
        attn_scores = apply(AttentionScoresFunction, q, k, attn_mask, scale, autocast=LOW)
        attn_weights = dropout(softmax(attn_scores, -1), dropout_p)
        output = apply(WeightedValuesFunction, attn_weights, v, autocast=LOW)
        if average_attn_weights:
            attn_weights = apply(HeadMeanFunction, attn_weights)
    else:
        output = scaled_dot_product_attention(q, k, v, attn_mask, dropout_p, is_causal)
    if batch_first:
        joined = output.transpose(1, 2).reshape(batch, length, features)
        output = linear(joined, out_proj_weight, out_proj_bias).transpose(0, 1)
    else:
        joined = output.permute(2, 0, 1, 3).reshape(length, batch, features)
        output = linear(joined, out_proj_weight, out_proj_bias)
    if not batched:
        output = output.squeeze(1)
        attn_weights = None if attn_weights is None else attn_weights.squeeze(0)
    return output, attn_weights


def _each(
    change: Callable[[Tensor], Tensor], query: Tensor, key: Tensor, value: Tensor
) -> tuple[Tensor, ...]:
    # All three changed; what was the same tensor stays the same, so that one product projects it.
    new_query = change(query)
    new_key = new_query if key is query else change(key)
    return new_query, new_key, new_key if value is key else change(value)


def _project(query, key, value, weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor, ...]:
    # One product for as many of query, key and value as are the same tensor.
    if weight is None:
        raise AssertionError("multi_head_attention: use_separate_proj_weight=False needs in_proj_weight")
    features = query.shape[-1]
    if query is key and key is value:
        return _linear(query, weight, bias).split(features, -1)
    if key is value:
        sizes = [features, 2 * features]
        w_query, w_both = weight.split(sizes)
        b_query, b_both = (None, None) if bias is None else bias.split(sizes)
        return _linear(query, w_query, b_query), *_linear(key, w_both, b_both).split(features, -1)
    return _linears((query, key, value), weight.split(features), bias)


def _project_apart(query, key, value, weights: tuple, bias: Tensor | None) -> tuple[Tensor, ...]:
    features = query.shape[-1]
    for name, x, weight in zip("qkv", (query, key, value), weights):
        require(weight is not None, f"use_separate_proj_weight=True needs {name}_proj_weight")
        expected = [features, x.shape[-1]]
        require(
            list(weight.shape) == expected,
            f"{name}_proj_weight must have shape {expected}, but has {list(weight.shape)}",
        )
    require(
        bias is None or bias.shape[0] == 3 * features,
        f"in_proj_bias must have {3 * features} elements, but has {None if bias is None else bias.shape[0]}",
    )
    return _linears((query, key, value), weights, bias)


def _linears(inputs: tuple, weights: tuple, bias: Tensor | None) -> tuple[Tensor, ...]:
    biases = (None,) * 3 if bias is None else bias.split(bias.shape[0] // 3)
    return tuple(_linear(x, w, b) for x, w, b in zip(inputs, weights, biases))


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    # Of (L, B, E), or of (B, L, E) seen so: memory is read in its own order.
    if x.is_contiguous() or not x.transpose(0, 1).is_contiguous():
        return linear(x, weight, bias)
    return linear(x.transpose(0, 1), weight, bias).transpose(0, 1)


def _split_heads(x: Tensor, heads: int) -> Tensor:
    # (L, B, E) -> (B, H, L, E/H), a view
    length, batch, features = x.shape
    return x.reshape(length, batch, heads, features // heads).permute(1, 2, 0, 3)


def _static(name: str, static: Tensor | None, projected: Tensor) -> Tensor:
    # (B·H, S, E/H) -> (B, H, S, E/H), if given
    if static is None:
        return projected
    batch, heads, _, width = projected.shape
    require(
        static.shape[0] == batch * heads and static.shape[2] == width,
        f"{name} must have shape (B·H, S, E/H) = ({batch * heads}, S, {width}), but has {list(static.shape)}",
    )
    return static.reshape(batch, heads, static.shape[1], width)


class NonDynamicallyQuantizableLinear(torch_linear.NonDynamicallyQuantizableLinear):
    """The linear layer that a MultiheadAttention keeps its output projection in; torch's has this name too.

    MultiheadAttention reads its weight and bias, and never calls it.
    """

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


Constructor = TypeVar("Constructor", bound=Callable)


def followed_by(constructor: Constructor, finish: Callable[[Any, tuple], None]) -> Constructor:
    """A constructor of torch's and then ``finish``, which gets the module and the arguments."""

    @functools.wraps(constructor)
    def construct(self, *args, **kwargs):
        constructor(self, *args, **kwargs)
        finish(self, (*args, *kwargs.values()))

    return cast(Constructor, construct)


def _project_by_hand(module: nn.MultiheadAttention, _given: tuple) -> None:
    module.out_proj.__class__ = NonDynamicallyQuantizableLinear


class MultiheadAttention(nn.MultiheadAttention):
    """:class:`torch.nn.MultiheadAttention` with a hand-written backward."""

    __init__ = followed_by(nn.MultiheadAttention.__init__, _project_by_hand)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        check_tensors("MultiheadAttention", query=query, key=key, value=value)
        if (
            query.is_nested or key.is_nested or value.is_nested
        ):  # inference only: torch's has no backward either
            return super().forward(
                query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal
            )
        turned = self.batch_first and query.dim() == 3
        if turned:
            query, key, value = _each(lambda x: x.transpose(0, 1), query, key, value)
        output, weights = multi_head_attention_forward(
            query,
            key,
            value,
            self.embed_dim,
            self.num_heads,
            self.in_proj_weight,
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.dropout,
            self.out_proj.weight,
            self.out_proj.bias,
            self.training,
            key_padding_mask,
            need_weights,
            attn_mask,
            not self._qkv_same_embed_dim,
            self.q_proj_weight,
            self.k_proj_weight,
            self.v_proj_weight,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )
        return output.transpose(0, 1) if turned else output, weights
