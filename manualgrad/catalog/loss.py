"""The rows of ``layers/loss.py``."""

from __future__ import annotations

from ..layers import loss
from .row import Layer
from .samples import CHANCES, IMAGES, INF, LOGITS, REDUCTIONS, WEIGHTS, case, given, probability, real

__all__ = ["ROWS"]

PAIR = (real(4, 3), real(4, 3))


def difference(module, function, functional, parameter: str | None = None, *values: float) -> Layer:
    """The row of a loss of x − t."""
    cases = [case(reduction=reduction, inputs=PAIR) for reduction in REDUCTIONS]
    cases += [
        case(inputs=(real(5), real(5))),
        case(inputs=(real(), real())),
        case(inputs=(real(2, 3, 2),) * 2),
    ]
    cases += [case(**{parameter: value}, inputs=PAIR) for value in values if parameter]
    cases += [case(reduction="sum", inputs=(real(0, 3), real(0, 3)))]
    edges = (case(reduction="none", inputs=(given(0.0, 1.0, 2.0, -INF), given(0.0, 0.0, 0.0, 0.0))),)
    sizes = tuple(case(inputs=(real(*shape), real(*shape))) for shape in IMAGES)
    return Layer(module, (function,), functional, tuple(cases), edges, sizes=sizes)


ROWS: tuple[Layer, ...] = (
    difference(loss.MSELoss, loss.MSELossFunction, loss.mse_loss),
    difference(loss.L1Loss, loss.L1LossFunction, loss.l1_loss),
    difference(loss.SmoothL1Loss, loss.SmoothL1LossFunction, loss.smooth_l1_loss, "beta", 0.3, 0.0),
    difference(loss.HuberLoss, loss.HuberLossFunction, loss.huber_loss, "delta", 0.3),
    Layer(
        loss.BCELoss,
        (loss.BCELossFunction,),
        loss.binary_cross_entropy,
        (
            *(case(reduction=reduction, inputs=(CHANCES, CHANCES)) for reduction in REDUCTIONS),
            case(WEIGHTS, inputs=(CHANCES, CHANCES)),
            case(inputs=(probability(), probability())),
            case(reduction="sum", inputs=(probability(0, 3), probability(0, 3))),
        ),
        edges=(case(reduction="none", inputs=(given(0.0, 0.0, 1.0, 1.0), given(0.0, 1.0, 0.0, 1.0))),),
        sizes=tuple(case(inputs=(probability(*shape), probability(*shape))) for shape in IMAGES),
        note="at 0 and 1 the target's gradient is that of the clamped loss; torch's is infinite",
    ),
    Layer(
        loss.BCEWithLogitsLoss,
        (loss.BCEWithLogitsLossFunction,),
        loss.binary_cross_entropy_with_logits,
        (
            *(case(reduction=reduction, inputs=(LOGITS, CHANCES)) for reduction in REDUCTIONS),
            case(WEIGHTS, inputs=(LOGITS, CHANCES)),
            case(pos_weight=WEIGHTS, inputs=(LOGITS, CHANCES)),
            case(WEIGHTS, pos_weight=WEIGHTS.flip(0), reduction="none", inputs=(LOGITS, CHANCES)),
            case(inputs=(real(), probability())),
            case(reduction="sum", inputs=(real(0, 3), probability(0, 3))),
        ),
        edges=(case(reduction="none", inputs=(given(-1e4, -0.0, 0.0, 1e4), given(0.0, 1.0, 0.0, 1.0))),),
        sizes=tuple(case(inputs=(real(*shape), probability(*shape))) for shape in IMAGES),
    ),
)
