"""The rows of ``layers/sparse.py``."""

from __future__ import annotations

from ..layers import sparse
from .row import Layer
from .samples import case, given, index

__all__ = ["ROWS"]

PADDING_ROW, BY_FREQUENCY = "the padding row gets no gradient", "divided by frequency"
REWRITES = "forward rewrites the weight"


ROWS: tuple[Layer, ...] = (
    Layer(
        sparse.Embedding,
        (sparse.EmbeddingFunction,),
        sparse.embedding,
        (
            case(5, 3, inputs=index(4, high=5)),
            case(5, 3, inputs=index(2, 3, high=5)),
            case(5, 3, inputs=index(high=5)),
            case(5, 3, inputs=index(0, high=5)),
            case(5, 3, padding_idx=4, inputs=index(4, high=4)),
            case(5, 3, padding_idx=-5, inputs=given(0, 1, 0, 3), no_derivative=PADDING_ROW),
            case(5, 3, scale_grad_by_freq=True, inputs=given(1, 1, 2, 1), no_derivative=BY_FREQUENCY),
            case(5, 3, max_norm=0.5, inputs=index(4, high=5), no_derivative=REWRITES),
            case(5, 3, max_norm=1.0, norm_type=1.0, inputs=index(4, high=5), no_derivative=REWRITES),
            case(5, 3, sparse=True, padding_idx=1, inputs=given(0, 1, 0, 3), no_derivative=PADDING_ROW),
        ),
    ),
)
