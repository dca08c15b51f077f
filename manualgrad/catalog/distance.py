"""The rows of ``layers/distance.py``."""

from __future__ import annotations

import torch

from ..layers import distance
from .row import Layer
from .samples import INF, VECTORS, call, case, constant, real, row_of

__all__ = ["ROWS"]

PAIR = (real(4, 3), real(4, 3))
# Equal vectors, a tie of the largest difference, and a difference of 0.
TIES = constant(torch.tensor([[0.0, 0.0, 0.0], [1.0, -1.0, 0.0], [0.0, 3.0, 4.0]]))
EQUAL_ROWS = constant(torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, -1.0, 0.0], [2.0, 1.0, 0.0]]))
# The smallest difference is the same one in any precision.
APART = constant(torch.tensor([[10.0, -20.0, 40.0], [30.0, -50.0, -10.0]]))
ZERO = constant(torch.zeros(3, 3))
NORMS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, INF)
NO_ROWS = {"test_empty_batch": "torch's backward crashes; tests/test_losses.py says what is right"}


ROWS: tuple[Layer, ...] = (
    Layer(
        distance.CosineSimilarity,
        (distance.CosineSimilarityFunction,),
        distance.cosine_similarity,
        (
            case(inputs=PAIR),
            case(dim=0, inputs=(real(5), real(5))),
            case(dim=-2, inputs=(real(2, 3, 2), real(3, 2))),
            case(dim=0, inputs=(real(), real())),
            case(inputs=(real(0, 3), real(0, 3))),
        ),
        edges=(
            case(inputs=(row_of(0.0, 0.0), row_of(1.0, -2.0))),
            case(eps=3.0, inputs=(row_of(1.0, 2.0), row_of(3.0, -2.0))),
            case(inputs=(row_of(1e3, -1e3), row_of(1e-3, -1e-3))),
            case(inputs=(row_of(INF, 1.0), row_of(1.0, 1.0))),
        ),
        sizes=tuple(case(inputs=(real(*shape), real(*shape))) for shape in VECTORS),
    ),
    Layer(
        distance.PairwiseDistance,
        (distance.PairwiseDistanceFunction,),
        distance.pairwise_distance,
        (
            case(inputs=PAIR),
            case(keepdim=True, eps=0.1, inputs=(real(2, 3, 2), real(3, 2))),
            *(case(p, inputs=(real(2, 3), real(2, 3))) for p in (1.0, 1.5, 3.0, INF, -1.0)),
            case(-INF, inputs=(APART, real(2, 1))),
            case(0.0, inputs=(real(2, 3), real(2, 3))),
            case(inputs=(real(3), real(3))),
            case(inputs=(real(), real())),
            case(inputs=(real(0, 3), real(0, 3))),
        ),
        edges=tuple(case(p, eps=0.0, inputs=(TIES, ZERO)) for p in (*NORMS[1:], -1.0, -INF)),
        sizes=tuple(case(inputs=(real(*shape), real(*shape))) for shape in VECTORS),
    ),
    Layer(
        None,
        (distance.PDistFunction,),
        distance.pdist,
        (
            call(real(4, 3)),
            *(call(real(3, 2), p=p) for p in NORMS if p != 2),
            call(real(1, 3), cannot=NO_ROWS),
        ),
        edges=tuple(call(EQUAL_ROWS, p=p) for p in NORMS),
        sizes=tuple(call(real(*shape)) for shape in ((64, 64), (256, 128), (512, 512))),
        note="twice differentiable; torch's is once",
    ),
)
