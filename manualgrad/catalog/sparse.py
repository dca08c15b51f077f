"""The rows of ``layers/sparse.py``."""

from __future__ import annotations

import torch

from ..layers import sparse
from .row import Layer
from .samples import INF, case, constant, given, index, real

__all__ = ["ROWS"]

PADDING_ROW, BY_FREQUENCY = "the padding row gets no gradient", "divided by frequency"
REWRITES = "forward rewrites the weight"
REWRITING = {
    "no_derivative": REWRITES,
    "cannot": {"test_vmap_of_grad": REWRITES},
}
SPARSE = "a sparse gradient, which gradcheck cannot compare"
NO_RULES = dict.fromkeys(
    ("test_vmap_of_grad", "test_compile_fullgraph"), "sparse gradients have no rules there"
)


def bags_and_factors(input, per_sample_weights) -> tuple:
    """The arguments of bags without offsets."""
    return input, None, per_sample_weights


BAGS = index(3, 2, high=5)
FLAT, OFFSETS = given(4, 0, 4, 2, 1), given(0, 2, 2, 5)  # the second bag is empty, and the last


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
            case(5, 3, max_norm=0.5, inputs=index(4, high=5), **REWRITING),
            case(5, 3, max_norm=1.0, norm_type=1.0, inputs=index(4, high=5), **REWRITING),
            case(
                5,
                3,
                sparse=True,
                padding_idx=1,
                inputs=given(0, 1, 0, 3),
                no_derivative=PADDING_ROW,
                cannot=NO_RULES,
            ),
        ),
        sizes=(
            case(1000, 64, inputs=index(128, 49, high=1000)),
            case(10000, 256, inputs=index(32, 128, high=10000)),
            case(30000, 768, inputs=index(8, 1024, high=30000)),
        ),
    ),
    Layer(
        sparse.EmbeddingBag,
        (sparse.EmbeddingBagFunction, sparse.EmbeddingBagMaxFunction),
        sparse.embedding_bag,
        (
            *(case(5, 3, mode=mode, inputs=BAGS) for mode in ("mean", "max")),
            *(
                case(5, 3, mode=mode, padding_idx=2, inputs=(FLAT, OFFSETS))
                for mode in ("sum", "mean", "max")
            ),
            case(5, 3, mode="sum", inputs=(BAGS, real(3, 2)), arrange=bags_and_factors),
            case(5, 3, mode="sum", padding_idx=-5, include_last_offset=True, inputs=(FLAT, OFFSETS, real(5))),
            *(
                case(5, 3, mode=mode, inputs=(index(0, high=5), given(0, 0)), include_last_offset=last)
                for mode, last in (("sum", False), ("mean", True), ("max", False))
            ),
            case(5, 3, mode="max", inputs=index(0, 2, high=5)),
            case(5, 3, scale_grad_by_freq=True, inputs=(FLAT, OFFSETS), no_derivative=BY_FREQUENCY),
            case(5, 3, max_norm=0.5, inputs=BAGS, **REWRITING),
            case(5, 3, max_norm=1.0, norm_type=1.0, mode="max", inputs=BAGS, **REWRITING),
            case(
                5,
                3,
                sparse=True,
                padding_idx=4,
                inputs=(FLAT, OFFSETS),
                no_derivative=SPARSE,
                cannot=NO_RULES,
            ),
            case(
                5,
                3,
                sparse=True,
                mode="sum",
                inputs=(FLAT, OFFSETS, real(5)),
                no_derivative=SPARSE,
                cannot=NO_RULES,
            ),
        ),
        edges=(
            case(
                3,
                2,
                _weight=torch.tensor([[1.0, 2.0], [1.0, 3.0], [1.0, -INF]]),
                mode="max",
                inputs=constant(torch.tensor([[0, 1, 2], [2, 1, 0], [2, 2, 2]])),
            ),
        ),
        note="per_sample_weights need the table for their gradient, and the table needs them",
        sizes=(
            case(1000, 64, mode="sum", inputs=index(128, 20, high=1000)),
            case(10000, 128, inputs=index(512, 50, high=10000)),
            case(10000, 128, mode="max", inputs=index(512, 50, high=10000)),
            case(
                *(10000, 128),
                mode="sum",
                inputs=(index(512, 50, high=10000), real(512, 50)),
                arrange=bags_and_factors,
            ),
        ),
    ),
)
