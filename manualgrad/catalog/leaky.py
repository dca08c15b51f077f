"""The rows of ``layers/leaky.py``."""

from __future__ import annotations

from ..layers import leaky
from .activation import LANDMARKS, SHAPES, SIZES, elementwise
from .row import Layer
from .samples import case, real

__all__ = ["ROWS"]

ROWS: tuple[Layer, ...] = (
    elementwise(leaky.LeakyReLU, leaky.LeakyReLUFunction, leaky.leaky_relu, {"negative_slope": 0.3}),
    Layer(
        leaky.PReLU,
        (leaky.PReLUFunction,),
        leaky.prelu,
        (
            *(case(inputs=shape) for shape in SHAPES),
            case(5, inputs=real(4, 5)),
            case(3, 0.1, inputs=real(2, 3, 2, 2)),
            case(num_parameters=5, init=0.5, inputs=real(0, 5)),
        ),
        edges=(case(inputs=LANDMARKS),),
        sizes=(case(512, inputs=SIZES[0]), case(inputs=SIZES[1]), case(64, inputs=SIZES[2])),
    ),
    Layer(
        leaky.RReLU,
        (leaky.RReLUFunction, leaky.LeakyReLUFunction),
        leaky.rrelu,
        (
            *(case(inputs=shape) for shape in SHAPES),
            case(0.3, 0.3, inputs=real(4, 5)),
            case(lower=-0.5, upper=2, inputs=real(4, 5)),
            case(lower=-0.5, upper=2, inputs=real(4, 5), training=False),
        ),
        edges=(case(inputs=LANDMARKS), case(inputs=LANDMARKS, training=False)),
        random=True,
        sizes=tuple(case(inputs=shape) for shape in SIZES),
    ),
)
