"""Kernels of ``layers/piecewise.py``: one pass over memory each. ATen's forwards are such a pass already,
but for the two in which the formula takes several.
"""

from __future__ import annotations

from ...layers.piecewise import (
    SIXTH,
    HardshrinkFunction,
    HardsigmoidFunction,
    HardswishFunction,
    HardtanhFunction,
    ReLUFunction,
    SoftshrinkFunction,
    ThresholdFunction,
)
from ._elementwise import elementwise
from ._math import inlined

__all__ = ["TWINS"]


def relu_backward(y, g, a, b, T):
    return T(0) if y <= T(0) else g


def hardtanh_backward(x, g, a, b, T):
    return T(0) if x <= a or x >= b else g


@inlined
def gate(x, T):
    """min(max(x + 3, 0), 6)"""
    v = x + T(3)
    v = T(0) if v < T(0) else v
    return T(6) if v > T(6) else v


def hardsigmoid(x, a, b, T):
    return gate(x, T) / T(6)


def hardsigmoid_backward(x, g, a, b, T):
    return g * T(SIXTH) if x > T(-3) and x < T(3) else T(0)


def hardswish(x, a, b, T):
    return x * gate(x, T) / T(6)


def hardswish_backward(x, g, a, b, T):
    between = g * (x / T(3) + T(0.5))
    return T(0) if x <= T(-3) else between if x < T(3) else g


def shrink_backward(x, g, a, b, T):
    return T(0) if x >= -a and x <= a else g


def threshold_backward(x, g, a, b, T):
    return T(0) if x <= a else g


TWINS = {
    ReLUFunction: elementwise(ReLUFunction, backward=relu_backward, smallest=4096),
    HardtanhFunction: elementwise(
        HardtanhFunction, backward=hardtanh_backward, options=("min_val", "max_val")
    ),
    HardsigmoidFunction: elementwise(HardsigmoidFunction, forward=hardsigmoid, backward=hardsigmoid_backward),
    HardswishFunction: elementwise(HardswishFunction, forward=hardswish, backward=hardswish_backward),
    HardshrinkFunction: elementwise(HardshrinkFunction, backward=shrink_backward, options=("lambd",)),
    SoftshrinkFunction: elementwise(SoftshrinkFunction, backward=shrink_backward, options=("lambd",)),
    ThresholdFunction: elementwise(ThresholdFunction, backward=threshold_backward, options=("threshold",)),
}
