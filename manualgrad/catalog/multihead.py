"""The rows of ``layers/multihead.py``."""

from __future__ import annotations

import torch

from ..layers import attention, linear, multihead
from .row import Layer
from .samples import INF, case, constant, real

__all__ = ["ROWS"]


def itself(x, padding=None, mask=None) -> tuple:
    """Self-attention: one tensor as query, key and value; the masks in their places."""
    return x, x, x, padding, True, mask


def itself_alone(x, padding=None, mask=None) -> tuple:
    """Self-attention that returns no weights."""
    return x, x, x, padding, False, mask


def itself_causal(x, mask) -> tuple:
    """Self-attention that returns no weights, told that the mask is the causal one."""
    return x, x, x, None, False, mask, True, True


def memory_alone(x, memory, mask) -> tuple:
    """Key and value are one tensor; no weights."""
    return x, memory, memory, None, False, mask


def masked(x, key, value, padding, mask) -> tuple:
    """All arguments, and the weights of every head."""
    return x, key, value, padding, True, mask, False


PADDED = constant(torch.tensor([[False, False, True], [False, True, True]]))
EMPTY = constant(torch.tensor([[False, False, True], [True, True, True]]))  # nothing to look at in the second
LATER = constant(torch.ones(3, 3, dtype=torch.bool).triu(1))
CAUSAL = constant(torch.full((2, 2), -INF).triu(1))

ROWS: tuple[Layer, ...] = (
    Layer(
        multihead.MultiheadAttention,
        (
            multihead.PackedHeadsFunction,
            multihead.AttentionScoresFunction,
            multihead.WeightedValuesFunction,
            multihead.HeadMeanFunction,
            attention.ScaledDotProductAttentionFunction,
            linear.LinearFunction,
        ),
        multihead.multi_head_attention_forward,
        (
            case(4, 2, inputs=(real(2, 2, 4), real(3, 2, 4), real(3, 2, 4))),
            case(
                *(4, 2),
                add_bias_kv=True,
                add_zero_attn=True,
                kdim=3,
                vdim=2,
                inputs=(real(2, 1, 4), real(2, 1, 3), real(2, 1, 2), real(1, 2), real(2, 2, 2)),
                arrange=masked,
            ),
            case(
                4,
                2,
                bias=False,
                batch_first=True,
                inputs=(real(2, 3, 4), PADDED, LATER),
                arrange=itself_alone,
            ),
            case(4, 2, dropout=0.3, inputs=(real(3, 4), real(3), real(2, 3, 3)), arrange=itself),
            case(2, 1, dropout=0.2, inputs=(real(2, 2, 2), real(3, 2, 2), real(2, 3)), arrange=memory_alone),
            case(4, 2, dropout=0.2, inputs=(real(2, 1, 4), CAUSAL), arrange=itself_causal, training=False),
            case(2, 2, inputs=real(2, 0, 2), arrange=itself),
        ),
        edges=(
            case(4, 2, batch_first=True, inputs=(real(2, 3, 4), EMPTY), arrange=itself),
            case(4, 2, batch_first=True, inputs=(real(2, 3, 4), EMPTY), arrange=itself_alone),
        ),
        random=True,
        sizes=(
            case(64, 4, batch_first=True, inputs=real(128, 17, 64), arrange=itself_alone),
            case(64, 4, batch_first=True, inputs=real(128, 49, 64), arrange=itself),
            case(384, 6, batch_first=True, inputs=real(4, 196, 384), arrange=itself_alone),
        ),
        note="where it returns its weights, a sample that is padding throughout gets NaN, as in torch",
    ),
)
