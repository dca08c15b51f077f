"""The rows of ``layers/softmax.py``."""

from __future__ import annotations

from ..layers import softmax
from .row import Layer
from .samples import INF, call, case, given, real

__all__ = ["ROWS"]

STRAIGHT_THROUGH = "a hard draw is given the gradient of the soft one"


def axis_softmax(module, function, functional) -> Layer:
    """The row of a softmax: over each axis, and over infinities."""
    cases = [case(dim, inputs=real(2, 3, 4)) for dim in (1, 0, -1)]
    cases += [case(0, inputs=real(5)), case(1, inputs=real(0, 5)), case(0, inputs=real())]
    return Layer(
        module,
        (function,),
        functional,
        tuple(cases),
        (case(0, inputs=given(-INF, 0.0, 1e4)), case(0, inputs=given(1.0, 1.0))),
        sizes=(
            case(-1, inputs=real(128, 10)),
            case(-1, inputs=real(8, 12, 256, 256)),
            case(1, inputs=real(4, 21, 256, 256)),
        ),
    )


ROWS: tuple[Layer, ...] = (
    axis_softmax(softmax.Softmax, softmax.SoftmaxFunction, softmax.softmax),
    axis_softmax(softmax.LogSoftmax, softmax.LogSoftmaxFunction, softmax.log_softmax),
    axis_softmax(softmax.Softmin, softmax.SoftminFunction, softmax.softmin),
    Layer(
        softmax.Softmax2d,
        (softmax.SoftmaxFunction,),
        softmax.softmax,
        (case(inputs=real(2, 3, 2, 2)), case(inputs=real(3, 2, 2)), case(inputs=real(0, 3, 1, 2))),
        sizes=(
            case(inputs=real(32, 10, 28, 28)),
            case(inputs=real(16, 64, 56, 56)),
            case(inputs=real(4, 21, 256, 256)),
        ),
    ),
    Layer(
        None,
        (softmax.GumbelSoftmaxFunction,),
        softmax.gumbel_softmax,
        (
            call(real(2, 3, 4)),
            call(real(2, 3, 4), tau=0.7, dim=1),
            call(real(5), tau=2),
            call(real(0, 5), dim=1),
            call(real()),
            call(real(4, 3), hard=True, no_derivative=STRAIGHT_THROUGH),
            call(real(5), hard=True, tau=0.5, no_derivative=STRAIGHT_THROUGH),
            call(real(2, 0, 3), hard=True, no_derivative=STRAIGHT_THROUGH),
        ),
        edges=(
            call(given(-INF, 0.0, 1e4)),
            call(given(-INF, 0.0, 1e4), hard=True),
            call(given(0.0, 1.0), tau=0),
        ),
        random=True,
        sizes=(
            call(real(128, 512)),
            call(real(128, 49, 64), tau=0.7),
            call(real(16, 1024, 512), hard=True),
        ),
    ),
)
