"""The rows of ``layers/activation.py``."""

from __future__ import annotations

from ..layers import activation
from .row import Layer
from .samples import INF, NAN, case, given, real

__all__ = ["LANDMARKS", "ROWS", "SHAPES", "elementwise"]

# Of an activation: kinks, where it levels off, infinities. NaN is the seventeenth: torch takes sixteen at a
# time where it can, and there gives NaN another gradient than in the rest.
LANDMARKS = given(
    -INF, -200.0, -20.0, -3.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0, 3.0, 6.0, 20.0, 200.0, INF, NAN
)  # fmt: skip
SHAPES = (real(4, 5), real(2, 3, 2, 2), real(5), real(0, 5), real())
SIZES = (real(128, 512), real(128, 32, 28, 28), real(8, 64, 112, 112))


def elementwise(module, function, functional, *options: dict, required: bool = False) -> Layer:
    """The row of an activation: every option on a matrix, the default on every shape.

    If options are ``required``, there is no default, and the first of them stands for it.
    """
    first, *others = options if required else ({}, *options)
    cases = [case(inputs=shape, **first) for shape in SHAPES]
    cases += [case(inputs=real(4, 5), **option) for option in others]
    edges = tuple(case(inputs=LANDMARKS, **option) for option in (first, *others))
    sizes = tuple(case(inputs=shape, **first) for shape in SIZES)
    return Layer(module, (function,), functional, tuple(cases), edges, sizes=sizes)


ROWS: tuple[Layer, ...] = (
    elementwise(activation.Sigmoid, activation.SigmoidFunction, activation.sigmoid),
    elementwise(activation.LogSigmoid, activation.LogSigmoidFunction, activation.logsigmoid),
    elementwise(activation.Tanh, activation.TanhFunction, activation.tanh),
    elementwise(activation.Tanhshrink, activation.TanhshrinkFunction, activation.tanhshrink),
    elementwise(activation.Softsign, activation.SoftsignFunction, activation.softsign),
    elementwise(
        activation.Softplus, activation.SoftplusFunction, activation.softplus, {"beta": 3, "threshold": 1.5}
    ),
)
