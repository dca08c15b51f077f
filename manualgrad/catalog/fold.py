"""The rows of ``layers/fold.py``."""

from __future__ import annotations

from ..layers import fold
from .row import Layer
from .samples import case, real

__all__ = ["ROWS"]

ROWS: tuple[Layer, ...] = (
    Layer(
        fold.Unfold,
        (fold.UnfoldFunction,),
        fold.unfold,
        (
            case(2, inputs=real(2, 2, 3, 4)),
            case((3, 2), dilation=(1, 2), padding=(1, 0), stride=(2, 1), inputs=real(1, 1, 3, 4)),
            case(2, dilation=2, padding=1, stride=2, inputs=real(2, 1, 4, 3)),
            case(1, inputs=real(2, 2, 1)),
            case((1, 2), stride=(3, 2), inputs=real(2, 4, 3)),
            case(2, inputs=real(0, 2, 3, 3)),
        ),
        saves_no_input=True,
        sizes=(
            case(7, stride=7, inputs=real(128, 1, 28, 28)),
            case(3, padding=1, inputs=real(16, 32, 28, 28)),
            case(16, stride=16, inputs=real(32, 3, 224, 224)),
        ),
    ),
    Layer(
        fold.Fold,
        (fold.FoldFunction,),
        fold.fold,
        (
            case((3, 4), 2, inputs=real(2, 8, 6)),
            case((3, 4), (3, 2), dilation=(1, 2), padding=(1, 0), stride=(2, 1), inputs=real(1, 6, 4)),
            case((4, 3), 2, dilation=2, padding=1, stride=2, inputs=real(2, 4, 4)),
            case(2, 1, inputs=real(2, 4)),
            case((4, 3), (1, 2), stride=(3, 2), inputs=real(4, 2)),
            case(3, 2, inputs=real(0, 8, 4)),
        ),
        saves_no_input=True,
        sizes=(
            case(28, 7, stride=7, inputs=real(128, 49, 16)),
            case(28, 3, padding=1, inputs=real(16, 288, 784)),
            case(224, 16, stride=16, inputs=real(32, 768, 196)),
        ),
    ),
)
