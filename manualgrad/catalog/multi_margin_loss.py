"""The rows of ``layers/multi_margin_loss.py``."""

from __future__ import annotations

import torch

from ..layers import multi_margin_loss
from .row import Layer, Sample
from .samples import LOGITS, REDUCTIONS, WEIGHTS, case, constant, given, index, probability, real

__all__ = ["ROWS"]

# Lists of classes, that end at -1: one label, all, none, and one named twice.
LABELS = constant(torch.tensor([[2, -1, 0], [1, 0, 2], [-1, 0, 1], [1, 1, -1]]))

CLASSES = ((128, 10), (256, 1000), (256, 32000))  # to be timed


def lists(samples: int, classes: int, labels: int) -> Sample:
    """Lists of as many classes."""

    def draw(dtype: torch.dtype) -> torch.Tensor:
        target = torch.full((samples, classes), -1)
        target[:, :labels] = torch.rand(samples, classes).argsort(1)[:, :labels]
        return target

    return Sample((samples, classes), draw)


ROWS: tuple[Layer, ...] = (
    Layer(
        multi_margin_loss.MultiLabelMarginLoss,
        (multi_margin_loss.MultiLabelMarginLossFunction,),
        multi_margin_loss.multilabel_margin_loss,
        (
            *(case(reduction=reduction, inputs=(LOGITS, LABELS)) for reduction in REDUCTIONS),
            case(inputs=(real(3), given(0, 2, -1))),
            case(reduction="none", inputs=(real(3), given(1, -1, 0))),
            case(reduction="none", inputs=(real(0, 3), index(0, 3, high=3))),
        ),
        edges=(case(inputs=(given(0.0, 1.0, 0.0, 3.0), given(1, -1, 0, 0))),),
        sizes=tuple(
            case(inputs=(real(*shape), lists(*shape, 3))) for shape in ((128, 10), (256, 80), (256, 1000))
        ),
    ),
    Layer(
        multi_margin_loss.MultiLabelSoftMarginLoss,
        (multi_margin_loss.MultiLabelSoftMarginLossFunction,),
        multi_margin_loss.multilabel_soft_margin_loss,
        (
            *(case(reduction=reduction, inputs=(LOGITS, probability(4, 3))) for reduction in REDUCTIONS),
            case(WEIGHTS, inputs=(LOGITS, index(4, 3, high=2))),
            case(WEIGHTS, reduction="none", inputs=(real(2, 2, 3), probability(2, 3))),
            case(inputs=(real(3), probability(3))),
            case(reduction="none", inputs=(real(3), probability(2, 3))),
            case(reduction="sum", inputs=(real(0, 3), probability(0, 3))),
        ),
        edges=(case(inputs=(given(-1e4, -0.0, 0.0, 1e4), given(0, 1, 0, 1))),),
        sizes=tuple(case(inputs=(real(*shape), index(*shape, high=2))) for shape in CLASSES),
    ),
    Layer(
        multi_margin_loss.MultiMarginLoss,
        (multi_margin_loss.MultiMarginLossFunction,),
        multi_margin_loss.multi_margin_loss,
        (
            *(case(reduction=reduction, inputs=(LOGITS, index(4, high=3))) for reduction in REDUCTIONS),
            *(
                case(2, 0.7, WEIGHTS, reduction=reduction, inputs=(LOGITS, index(4, high=3)))
                for reduction in REDUCTIONS
            ),
            case(inputs=(real(3), index(high=3))),
            case(2, reduction="none", inputs=(real(3), index(high=3))),
            case(reduction="none", inputs=(real(3), index(1, high=3))),
            case(reduction="none", inputs=(real(0, 3), index(0, high=3))),
        ),
        edges=(
            case(inputs=(given(0.0, 1.0, 0.0, -1.0, 3.0), constant(torch.tensor(1)))),
            case(2, inputs=(given(0.0, 1.0, 0.0, -1.0, 3.0), constant(torch.tensor(1)))),
        ),
        sizes=tuple(case(inputs=(real(*shape), index(shape[0], high=shape[1]))) for shape in CLASSES),
    ),
)
