"""The rows of ``layers/transformer.py``."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from ..layers import arithmetic, attention, gating, linear, multihead, normalization, transformer
from .row import Layer
from .samples import case, constant, real

__all__ = ["ROWS"]

PARTS = (
    arithmetic.AddFunction,
    linear.LinearFunction,
    normalization.LayerNormFunction,
    attention.ScaledDotProductAttentionFunction,
)
NOTE = "put together from parts that have their derivatives on pages of their own"


def silu(x: Tensor) -> Tensor:
    """An activation that a caller brings along."""
    return gating.silu(x)


def masked(src, mask, padding) -> tuple:
    """Source, its mask, its padding."""
    return src, mask, padding


def padded(src, padding) -> tuple:
    """Source and its padding."""
    return src, None, padding


def all_masked(tgt, memory, mask, memory_mask, padding, memory_padding) -> tuple:
    """Target, memory, their masks, their padding."""
    return tgt, memory, mask, memory_mask, padding, memory_padding


PADDED = constant(torch.tensor([[False, False], [False, True]]))
LATER = constant(torch.ones(2, 2, dtype=torch.bool).triu(1))

# Three features or more: the norm of two is ±1, whatever they are.
ENCODER = partial(nn.TransformerEncoderLayer, 3, 1, 2, 0.0, "gelu", batch_first=True)
DECODER = partial(nn.TransformerDecoderLayer, 3, 1, 1, 0.0, "gelu", bias=False)
LAYER = partial(nn.TransformerEncoderLayer, 64, 4, 128, 0.0, batch_first=True)
WIDE = partial(nn.TransformerEncoderLayer, 192, 3, 768, 0.0, batch_first=True)
READER = partial(nn.TransformerDecoderLayer, 64, 4, 128, 0.0, batch_first=True)
WIDE_READER = partial(nn.TransformerDecoderLayer, 192, 3, 768, 0.0, batch_first=True)
OWN = {"norm_first": True, "bias": False, "training": False}

ROWS: tuple[Layer, ...] = (
    Layer(
        transformer.TransformerEncoderLayer,
        PARTS,
        multihead.multi_head_attention_forward,
        (
            case(4, 2, 2, 0.0, "gelu", 1e-5, True, inputs=(real(2, 2, 4), LATER, PADDED), arrange=masked),
            case(4, 1, 3, 0.3, silu, 0.1, **OWN, inputs=real(2, 4)),
        ),
        sizes=(
            case(64, 4, 128, 0.0, batch_first=True, inputs=real(128, 17, 64)),
            case(64, 4, 128, 0.0, batch_first=True, inputs=real(128, 49, 64)),
            case(192, 3, 768, 0.0, batch_first=True, inputs=real(4, 196, 192)),
        ),
        edges=(
            case(4, 2, 3, 0.0, batch_first=True, inputs=real(2, 3, 4)),
            case(4, 2, 3, 0.0, batch_first=True, inputs=real(0, 3, 4)),
        ),
        note=NOTE,
    ),
    Layer(
        transformer.TransformerEncoder,
        PARTS,
        multihead.multi_head_attention_forward,
        (case(ENCODER, 1, None, False, inputs=(real(2, 2, 3), PADDED), arrange=padded, training=False),),
        (case(ENCODER, 1, None, False, inputs=real(0, 2, 3)),),
        sizes=(
            case(LAYER, 2, None, False, inputs=real(32, 17, 64)),
            case(LAYER, 2, None, False, inputs=real(64, 49, 64)),
            case(WIDE, 1, None, False, inputs=real(2, 196, 192)),
        ),
        note=NOTE,
    ),
    Layer(
        transformer.TransformerDecoderLayer,
        PARTS,
        multihead.multi_head_attention_forward,
        (
            case(
                *(3, 1, 2, 0.0, "gelu"),
                batch_first=True,
                inputs=(real(1, 2, 3), real(1, 2, 3), real(2, 2), real(2, 2), real(1, 2), real(1, 2)),
                arrange=all_masked,
            ),
            case(3, 1, 1, 0.3, silu, 0.1, **OWN, inputs=(real(2, 3), real(1, 3))),
        ),
        (case(3, 1, 2, 0.0, inputs=(real(2, 0, 3), real(1, 0, 3))),),
        sizes=(
            case(64, 4, 128, 0.0, batch_first=True, inputs=(real(32, 17, 64), real(32, 17, 64))),
            case(64, 4, 128, 0.0, batch_first=True, inputs=(real(64, 49, 64), real(64, 49, 64))),
            case(192, 3, 768, 0.0, batch_first=True, inputs=(real(2, 196, 192), real(2, 196, 192))),
        ),
        note=NOTE,
    ),
    Layer(
        transformer.TransformerDecoder,
        PARTS,
        multihead.multi_head_attention_forward,
        (case(DECODER, 1, inputs=(real(2, 1, 3), real(2, 1, 3), LATER)),),
        (case(DECODER, 1, inputs=(real(2, 0, 3), real(1, 0, 3))),),
        sizes=(
            case(READER, 2, inputs=(real(32, 17, 64), real(32, 17, 64))),
            case(READER, 2, inputs=(real(64, 49, 64), real(64, 49, 64))),
            case(WIDE_READER, 1, inputs=(real(2, 196, 192), real(2, 196, 192))),
        ),
        note=NOTE,
    ),
    Layer(
        transformer.Transformer,
        PARTS,
        multihead.multi_head_attention_forward,
        (case(4, 2, 1, 1, 1, 0.0, "gelu", bias=False, inputs=(real(2, 4), real(1, 4))),),
        (case(4, 2, 1, 1, 1, 0.0, inputs=(real(2, 0, 4), real(1, 0, 4))),),
        sizes=(
            case(64, 4, 1, 1, 128, 0.0, batch_first=True, inputs=(real(32, 17, 64), real(32, 17, 64))),
            case(64, 4, 1, 1, 128, 0.0, batch_first=True, inputs=(real(64, 49, 64), real(64, 49, 64))),
            case(192, 3, 1, 1, 768, 0.0, batch_first=True, inputs=(real(2, 196, 192), real(2, 196, 192))),
        ),
        note=NOTE,
    ),
)
