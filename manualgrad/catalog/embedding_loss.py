"""The rows of ``layers/embedding_loss.py``."""

from __future__ import annotations

import torch

from ..layers import distance, embedding_loss
from .margin_loss import sign
from .row import Layer
from .samples import INF, REDUCTIONS, VECTORS, case, constant, given, real, row_of

__all__ = ["ROWS"]

SIGNS = given(1, -1, -1, 1, 0)
COSINE = (real(5, 3), real(5, 3), SIGNS)
TRIPLET = (real(4, 3), real(4, 3), real(4, 3))
# Of the first the margin is just kept; of the second the two negatives tie.
KINKS = (
    constant(torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])),
    constant(torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 4.0]])),
    constant(torch.tensor([[0.0, 2.0], [1.0, 0.0], [0.0, 1.0]])),
)


def city_block(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """A distance of a user's."""
    return distance.pairwise_distance(u, v, p=1.0)


ROWS: tuple[Layer, ...] = (
    Layer(
        embedding_loss.CosineEmbeddingLoss,
        (embedding_loss.CosineEmbeddingLossFunction,),
        embedding_loss.cosine_embedding_loss,
        (
            *(case(reduction=reduction, inputs=COSINE) for reduction in REDUCTIONS),
            case(-0.5, inputs=COSINE),
            case(reduction="none", inputs=(real(3, 2), real(1, 2), given(1, -1, 1))),
            case(inputs=(real(3), real(3), constant(torch.tensor(1)))),
            case(reduction="sum", inputs=(real(0, 3), real(0, 3), constant(torch.ones(0)))),
        ),
        edges=(
            case(inputs=(row_of(0.0, 0.0), row_of(1.0, 2.0), given(1))),
            case(inputs=(row_of(1.0, 0.0), row_of(0.0, 1.0), given(-1))),
            case(inputs=(row_of(INF, 0.0), row_of(0.0, 1.0), given(1))),
        ),
        sizes=tuple(case(inputs=(real(*shape), real(*shape), sign(shape[0]))) for shape in VECTORS),
    ),
    Layer(
        embedding_loss.TripletMarginLoss,
        (embedding_loss.TripletMarginLossFunction, distance.PairwiseDistanceFunction),
        embedding_loss.triplet_margin_loss,
        (
            *(case(reduction=reduction, inputs=TRIPLET) for reduction in REDUCTIONS),
            case(0.5, p=1, eps=0.1, swap=True, reduction="none", inputs=TRIPLET),
            case(2.0, p=3, swap=True, inputs=(real(2, 3, 2), real(1, 3, 2), real(2, 1, 2))),
            case(inputs=(real(3), real(3), real(3))),
            case(swap=True, reduction="sum", inputs=(real(0, 3), real(0, 3), real(0, 3))),
        ),
        edges=(
            case(eps=0.0, reduction="none", inputs=KINKS),
            case(eps=0.0, swap=True, reduction="none", inputs=KINKS),
        ),
        sizes=tuple(case(inputs=(real(*shape),) * 3) for shape in VECTORS),
    ),
    Layer(
        embedding_loss.TripletMarginWithDistanceLoss,
        (embedding_loss.TripletMarginLossFunction, distance.PairwiseDistanceFunction),
        embedding_loss.triplet_margin_with_distance_loss,
        (
            *(case(reduction=reduction, inputs=TRIPLET) for reduction in REDUCTIONS),
            case(distance_function=city_block, margin=2.0, swap=True, reduction="none", inputs=TRIPLET),
            case(swap=True, inputs=(real(3), real(3), real(3))),
            case(swap=True, reduction="sum", inputs=(real(0, 3), real(0, 3), real(0, 3))),
        ),
        edges=(case(distance_function=city_block, swap=True, reduction="none", inputs=KINKS),),
        sizes=tuple(case(inputs=(real(*shape),) * 3) for shape in VECTORS),
        note="a user's distance_function has the gradient that it has; the margin's is hand-written",
    ),
)
