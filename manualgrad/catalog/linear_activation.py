"""The row of ``layers/linear_activation.py``."""

from __future__ import annotations

from functools import partial

from torch import nn

from ..layers import linear_activation
from .row import Layer
from .samples import case, given, real

__all__ = ["ROWS"]


def linear(*args, **options) -> partial:
    return partial(nn.Linear, *args, **options)


ROWS: tuple[Layer, ...] = (
    Layer(
        linear_activation.LinearActivation,
        (linear_activation.LinearActivationFunction,),
        linear_activation.linear_activation,
        (
            case(linear(5, 3), partial(nn.ReLU), inputs=real(4, 5)),
            case(linear(5, 3, bias=False), partial(nn.LeakyReLU, 0.2), inputs=real(2, 3, 5)),
            case(linear(5, 3), partial(nn.Tanh), inputs=real(5)),
            case(linear(5, 3), partial(nn.Sigmoid), inputs=real(4, 5)),
            case(linear(5, 3), partial(nn.SiLU), inputs=real(4, 5)),
            case(linear(5, 3), partial(nn.GELU), inputs=real(2, 3, 5)),
            case(linear(5, 3, bias=False), partial(nn.GELU, approximate="tanh"), inputs=real(4, 5)),
            case(linear(5, 3), partial(nn.ReLU), inputs=real(0, 5)),
            case(linear(5, 3), partial(nn.GELU), inputs=real(0, 5)),
        ),
        edges=(case(linear(3, 2, bias=False), partial(nn.ReLU), inputs=given(0.0, 0.0, 0.0)),),
        saves_no_input=True,
        counterpart=nn.Sequential,
        sizes=(
            case(linear(784, 512), partial(nn.ReLU), inputs=real(128, 784)),
            case(linear(64, 128), partial(nn.GELU), inputs=real(128, 16, 64)),
            case(linear(384, 1536), partial(nn.GELU), inputs=real(8, 196, 384)),
        ),
    ),
)
