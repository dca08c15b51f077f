"""The rows of ``layers/cross_entropy.py``."""

from __future__ import annotations

import torch

from ..layers import cross_entropy
from .row import Layer
from .samples import INF, REDUCTIONS, WEIGHTS, case, constant, distribution, given, index, real, row_of

__all__ = ["ROWS"]

LOGITS, CLASSES = real(4, 3), index(4, high=3)
SPATIAL = (real(2, 3, 2, 2), index(2, 2, 2, high=3))
SOFT = (real(4, 3), distribution(4, 3))

SOME_IGNORED = (LOGITS, given(0, -100, 2, 1))


ROWS: tuple[Layer, ...] = (
    Layer(
        cross_entropy.CrossEntropyLoss,
        (cross_entropy.CrossEntropyLossFunction, cross_entropy.SoftCrossEntropyLossFunction),
        cross_entropy.cross_entropy,
        (
            *(case(reduction=reduction, inputs=(LOGITS, CLASSES)) for reduction in REDUCTIONS),
            *(
                case(WEIGHTS, label_smoothing=0.2, reduction=reduction, inputs=SOME_IGNORED)
                for reduction in REDUCTIONS
            ),
            case(label_smoothing=0.2, ignore_index=1, inputs=(LOGITS, CLASSES)),
            case(WEIGHTS, inputs=SPATIAL),
            case(label_smoothing=0.1, reduction="none", inputs=SPATIAL),
            case(inputs=(real(3), index(high=3))),
            case(reduction="none", inputs=(real(3), index(high=3))),
            case(reduction="sum", inputs=(real(0, 3), index(0, high=3))),
            *(case(reduction=reduction, inputs=SOFT) for reduction in REDUCTIONS),
            case(WEIGHTS, label_smoothing=0.2, inputs=SOFT),
            case(WEIGHTS, inputs=(real(2, 3, 2, 2), distribution(2, 3, 2, 2))),
            case(reduction="none", inputs=(real(3), distribution(3))),
        ),
        edges=(
            case(inputs=(given(1e4, -1e4, 0.0), constant(torch.tensor(1)))),
            case(reduction="none", inputs=(row_of(0.0, -INF, 1.0), given(0))),
            case(inputs=(LOGITS, given(-100, -100, -100, -100))),
        ),
        sizes=(
            case(inputs=(real(128, 10), index(128, high=10))),
            case(label_smoothing=0.1, inputs=(real(256, 1000), index(256, high=1000))),
            case(inputs=(real(256, 32000), index(256, high=32000))),
            case(inputs=(real(4, 21, 256, 256), index(4, 256, 256, high=21))),
        ),
    ),
    Layer(
        cross_entropy.NLLLoss2d,
        (cross_entropy.NLLLossFunction,),
        cross_entropy.nll_loss,
        (case(inputs=SPATIAL), case(reduction="sum", inputs=(real(0, 3, 2, 2), index(0, 2, 2, high=3)))),
        sizes=tuple(
            case(inputs=(real(n, c, *plane), index(n, *plane, high=c)))
            for n, c, *plane in ((8, 10, 28, 28), (4, 21, 128, 128), (4, 21, 256, 256))
        ),
        note="deprecated in torch: the old name of NLLLoss for images",
    ),
    Layer(
        cross_entropy.NLLLoss,
        (cross_entropy.NLLLossFunction,),
        cross_entropy.nll_loss,
        (
            *(case(reduction=reduction, inputs=(LOGITS, CLASSES)) for reduction in REDUCTIONS),
            *(case(WEIGHTS, reduction=reduction, inputs=SOME_IGNORED) for reduction in REDUCTIONS),
            case(ignore_index=1, inputs=(LOGITS, CLASSES)),
            case(WEIGHTS, inputs=SPATIAL),
            case(reduction="none", inputs=SPATIAL),
            case(inputs=(real(3), index(high=3))),
            case(reduction="sum", inputs=(real(0, 3), index(0, high=3))),
        ),
        edges=(
            case(inputs=(LOGITS, given(-100, -100, -100, -100))),
            case(inputs=(row_of(0.0, -INF), given(1))),
            case(reduction="none", inputs=(row_of(-INF, 0.0), given(-100))),
        ),
        sizes=(
            case(inputs=(real(128, 10), index(128, high=10))),
            case(inputs=(real(256, 1000), index(256, high=1000))),
            case(inputs=(real(256, 32000), index(256, high=32000))),
        ),
    ),
)
