"""The rows of ``layers/linear.py``."""

from __future__ import annotations

from ..layers import linear
from .row import Layer
from .samples import case, real

__all__ = ["ROWS"]


ROWS: tuple[Layer, ...] = (
    Layer(
        linear.Linear,
        (linear.LinearFunction,),
        linear.linear,
        (
            case(5, 3, inputs=real(4, 5)),
            case(5, 3, bias=False, inputs=real(2, 3, 5)),
            case(5, 3, inputs=real(5)),
            case(5, 3, inputs=real(0, 5)),
        ),
        saves_no_input=True,
    ),
    Layer(
        linear.Bilinear,
        (linear.BilinearFunction,),
        linear.bilinear,
        (
            case(5, 4, 3, inputs=(real(4, 5), real(4, 4))),
            case(5, 4, 3, bias=False, inputs=(real(2, 3, 5), real(2, 3, 4))),
            case(5, 4, 3, inputs=(real(5), real(4))),
            case(5, 4, 3, inputs=(real(0, 5), real(0, 4))),
        ),
        note="the gradient of one input needs the other",
    ),
)
