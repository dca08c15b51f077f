"""The rows of ``layers/activation.py``."""

from __future__ import annotations

from ..layers import activation
from .row import Layer
from .samples import INF, NAN, case, given, real

__all__ = ["ROWS"]

LANDMARKS = given(-INF, -200.0, -20.0, -1.0, -0.0, 0.0, 1.0, 20.0, 200.0, INF, NAN)  # of an activation
SHAPES = (real(4, 5), real(2, 3, 2, 2), real(5), real(0, 5), real())


def elementwise(module, function, functional, *options: dict) -> Layer:
    """The row of an activation: every option on a matrix, the default on every shape."""
    cases = [case(inputs=shape) for shape in SHAPES]
    cases += [case(inputs=real(4, 5), **option) for option in options]
    edges = tuple(case(inputs=LANDMARKS, **option) for option in ({}, *options))
    return Layer(module, (function,), functional, tuple(cases), edges)


ROWS: tuple[Layer, ...] = (
    elementwise(activation.ReLU, activation.ReLUFunction, activation.relu),
    elementwise(
        activation.LeakyReLU, activation.LeakyReLUFunction, activation.leaky_relu, {"negative_slope": 0.3}
    ),
    elementwise(activation.Sigmoid, activation.SigmoidFunction, activation.sigmoid),
    elementwise(activation.Tanh, activation.TanhFunction, activation.tanh),
    elementwise(activation.GELU, activation.GELUFunction, activation.gelu, {"approximate": "tanh"}),
    elementwise(activation.SiLU, activation.SiLUFunction, activation.silu),
    elementwise(
        activation.Softplus, activation.SoftplusFunction, activation.softplus, {"beta": 3, "threshold": 1.5}
    ),
    elementwise(activation.ELU, activation.ELUFunction, activation.elu, {"alpha": 0.7}),
)
