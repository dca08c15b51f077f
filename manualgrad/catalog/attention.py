"""The rows of ``layers/attention.py``."""

from __future__ import annotations

import torch

from ..layers import attention
from .row import Layer
from .samples import INF, call, constant, real

__all__ = ["ROWS"]

LOOKS = constant(torch.tensor([[True, False, True], [False, False, False]]))  # the second query: nowhere
BIAS = constant(torch.tensor([[0.5, -INF, 1.0], [-INF, -INF, -INF]]))


ROWS: tuple[Layer, ...] = (
    Layer(
        None,
        (attention.ScaledDotProductAttentionFunction,),
        attention.scaled_dot_product_attention,
        (
            call(real(2, 1, 2, 3), real(2, 1, 4, 3), real(2, 1, 4, 2)),
            call(real(2, 3), real(3, 3), real(3, 2), LOOKS),
            call(real(2, 1, 2, 2), real(1, 2, 3, 2), real(2, 2, 3, 2), real(2, 1, 1, 3), scale=0.3),
            call(real(3, 2), real(3, 2), real(3, 2), is_causal=True, scale=-1.2),
            call(real(1, 4, 2, 2), real(1, 2, 3, 2), real(1, 2, 3, 2), real(1, 4, 2, 3), enable_gqa=True),
            call(real(2, 2, 3), real(2, 3, 3), real(2, 3, 2), dropout_p=0.4),
            call(real(0, 2, 3), real(0, 3, 3), real(0, 3, 2)),
        ),
        edges=(
            call(real(2, 3), real(3, 3), real(3, 2), BIAS),
            call(real(1, 1, 2, 3), real(1, 1, 3, 3), real(1, 1, 3, 2), LOOKS),
            call(real(1, 1, 2, 3), real(1, 1, 0, 3), real(1, 1, 0, 2)),
            call(real(1, 2, 3), real(1, 3, 3), real(1, 3, 2), dropout_p=1.0),
        ),
        random=True,
        sizes=(
            call(real(128, 4, 17, 16), real(128, 4, 17, 16), real(128, 4, 17, 16)),
            call(real(128, 4, 50, 32), real(128, 4, 50, 32), real(128, 4, 50, 32)),
            call(real(8, 6, 196, 64), real(8, 6, 196, 64), real(8, 6, 196, 64)),
        ),
        note="a query that may look nowhere gets zeros, as in torch",
    ),
)
