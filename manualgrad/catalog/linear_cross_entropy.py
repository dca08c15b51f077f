"""The rows of ``layers/linear_cross_entropy.py``."""

from __future__ import annotations

from torch.nn import LinearCrossEntropyOptions as Options

from ..layers import linear_cross_entropy
from .row import Layer
from .samples import REDUCTIONS, WEIGHTS, case, constant, distribution, given, index, real

__all__ = ["ROWS"]

FEATURES, CLASSES = real(4, 2), index(4, high=3)
# As many samples as it takes for the slope to be kept.
MANY = (real(8, 3), index(8, high=3))
SAVES_BIAS = {"test_saves_no_more_than_torch": "its bias, a parameter, for second derivatives"}
SOME_IGNORED = (FEATURES, given(0, -100, 2, 1))
SOFT = (FEATURES, distribution(4, 3))
PLACES = {"out_features": (2, 1), "bias": True}

ROWS: tuple[Layer, ...] = (
    Layer(
        linear_cross_entropy.LinearCrossEntropyLoss,
        (
            linear_cross_entropy.LinearCrossEntropyLossFunction,
            linear_cross_entropy.SoftLinearCrossEntropyLossFunction,
        ),
        linear_cross_entropy.linear_cross_entropy,
        (
            *(
                case(2, 3, bias=True, reduction=reduction, inputs=(FEATURES, CLASSES))
                for reduction in REDUCTIONS
            ),
            *(
                case(2, 3, weight=WEIGHTS, label_smoothing=0.2, reduction=reduction, inputs=SOME_IGNORED)
                for reduction in ("none", "mean")
            ),
            case(3, 3, inputs=MANY),
            *(
                case(3, 3, bias=True, reduction=reduction, inputs=MANY, cannot=SAVES_BIAS)
                for reduction in REDUCTIONS
            ),
            case(3, 3, weight=WEIGHTS, label_smoothing=0.2, inputs=MANY),
            case(2, 3, ignore_index=1, label_smoothing=0.1, inputs=(FEATURES, CLASSES)),
            case(2, 3, **PLACES, weight=WEIGHTS, inputs=(FEATURES, index(4, 2, 1, high=3))),
            case(2, 3, **PLACES, reduction="none", inputs=(FEATURES, index(4, 2, 1, high=3))),
            case(2, 3, bias=True, reduction="none", inputs=(real(2), index(high=3))),
            case(2, 3, reduction="sum", inputs=(real(0, 2), index(0, high=3))),
            *(case(2, 3, bias=True, reduction=reduction, inputs=SOFT) for reduction in REDUCTIONS[:2]),
            case(
                2,
                3,
                **PLACES,
                weight=WEIGHTS,
                label_smoothing=0.2,
                inputs=(FEATURES, distribution(4, 3, 2, 1)),
            ),
            case(2, 3, reduction="none", inputs=(real(2), distribution(3))),
            *(
                case(2, 3, bias=True, reduction="none", options=chunking, inputs=SOME_IGNORED)
                for chunking in (Options(batch_chunk_size=3), Options(chunking_method="aspect_ratio:2"))
            ),
        ),
        edges=(
            case(2, 3, inputs=(FEATURES, given(-100, -100, -100, -100))),
            case(2, 3, reduction="none", inputs=(constant(1e4 * WEIGHTS[:2].reshape(1, 2)), given(1))),
        ),
        sizes=tuple(
            case(features, classes, bias=True, inputs=(real(n, features), index(n, high=classes)))
            for n, features, classes in ((128, 64, 10), (256, 512, 1000), (256, 512, 8000))
        ),
    ),
)
