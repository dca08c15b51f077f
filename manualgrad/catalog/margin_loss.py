"""The rows of ``layers/margin_loss.py``."""

from __future__ import annotations

import torch

from ..layers import margin_loss
from .row import Layer, Sample
from .samples import IMAGES, INF, LOGITS, REDUCTIONS, case, constant, given, positive, real

__all__ = ["ROWS"]


def sign(*shape: int) -> Sample:
    """−1 or 1, as an integer: torch refuses some targets that could have a gradient."""
    return Sample(shape, lambda dtype: 2 * torch.randint(2, shape) - 1)


SIGNS = constant(torch.tensor([[1, -1, 1], [-1, -1, 1], [1, 1, -1], [-1, 1, -1]]))
KINK = (given(0.0, 1.0, 1.0, 2.0, -INF, INF), given(-1, -1, 1, -1, -1, -1))


ROWS: tuple[Layer, ...] = (
    Layer(
        margin_loss.HingeEmbeddingLoss,
        (margin_loss.HingeEmbeddingLossFunction,),
        margin_loss.hinge_embedding_loss,
        (
            *(case(reduction=reduction, inputs=(positive(4, 3), SIGNS)) for reduction in REDUCTIONS),
            case(margin=0.3, inputs=(real(2, 3, 2), sign(3, 1))),
            case(reduction="none", inputs=(real(4), constant(torch.tensor([1, -1, 0, 2])))),
            case(inputs=(real(), sign())),
            case(reduction="sum", inputs=(real(0, 3), sign(0, 3))),
        ),
        edges=(case(reduction="none", inputs=KINK),),
        sizes=tuple(case(inputs=(positive(*shape), sign(*shape))) for shape in IMAGES),
    ),
    Layer(
        margin_loss.MarginRankingLoss,
        (margin_loss.MarginRankingLossFunction,),
        margin_loss.margin_ranking_loss,
        (
            *(case(0.2, reduction=reduction, inputs=(LOGITS, LOGITS, SIGNS)) for reduction in REDUCTIONS),
            case(inputs=(real(2, 3, 1), real(1, 3, 2), real(2, 1, 2))),
            case(inputs=(real(), real(), sign())),
            case(reduction="sum", inputs=(real(0, 3), real(0, 3), sign(0, 3))),
        ),
        edges=(
            case(1.0, reduction="none", inputs=(given(0.0, 1.0, 2.0), given(0.0, 0.0, 3.0), given(1, 1, -1))),
        ),
        sizes=tuple(case(0.2, inputs=(real(*shape), real(*shape), sign(*shape))) for shape in IMAGES),
    ),
    Layer(
        margin_loss.SoftMarginLoss,
        (margin_loss.SoftMarginLossFunction,),
        margin_loss.soft_margin_loss,
        (
            *(case(reduction=reduction, inputs=(LOGITS, SIGNS)) for reduction in REDUCTIONS),
            case(inputs=(real(3), sign(3))),
            case(inputs=(real(2, 3, 2), sign(2, 3, 2))),
            case(inputs=(real(), sign())),
            case(reduction="sum", inputs=(real(0, 3), sign(0, 3))),
        ),
        edges=(case(reduction="none", inputs=(given(-700.0, -0.0, 0.0, 700.0), given(1, 1, -1, 1))),),
        sizes=tuple(case(inputs=(real(*shape), sign(*shape))) for shape in IMAGES),
        note="finite where torch's exponential overflows",
    ),
)
