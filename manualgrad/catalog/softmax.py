"""The rows of ``layers/softmax.py``."""

from __future__ import annotations

from ..layers import softmax
from .row import Layer
from .samples import INF, case, given, real

__all__ = ["ROWS"]


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
    )


ROWS: tuple[Layer, ...] = (
    axis_softmax(softmax.Softmax, softmax.SoftmaxFunction, softmax.softmax),
    axis_softmax(softmax.LogSoftmax, softmax.LogSoftmaxFunction, softmax.log_softmax),
    axis_softmax(softmax.Softmin, softmax.SoftminFunction, softmax.softmin),
)
