"""Kernels of ``layers/exponential.py``: one pass over memory each, e^x computed again in backward."""

from __future__ import annotations

from ...layers.exponential import ALPHA, SCALE, CELUFunction, ELUFunction, SELUFunction
from ._elementwise import elementwise
from ._math import exp, expm1, inlined

__all__ = ["TWINS"]


@inlined
def below(x, T):
    """min(x, 0)"""
    return T(0) if x > T(0) else x


def elu(x, a, b, T):
    bent = a * expm1(below(x, T))
    return bent if x <= T(0) else x


def elu_backward(x, g, a, b, T):
    bent = g * (a * exp(below(x, T)))
    return bent if x <= T(0) else g


def celu(x, a, b, T):
    bent = a * expm1(below(x, T) / a)
    return bent if x <= T(0) else x


def celu_backward(x, g, a, b, T):
    bent = g * exp(below(x, T) / a)
    return bent if x <= T(0) else g


def selu(x, a, b, T):
    bent = T(SCALE * ALPHA) * expm1(below(x, T))
    return bent if x <= T(0) else T(SCALE) * x


def selu_backward(x, g, a, b, T):
    bent = g * (T(SCALE * ALPHA) * exp(below(x, T)))
    return bent if x <= T(0) else T(SCALE) * g


TWINS = {
    ELUFunction: elementwise(ELUFunction, forward=elu, backward=elu_backward, options=("alpha",)),
    CELUFunction: elementwise(CELUFunction, forward=celu, backward=celu_backward, options=("alpha",)),
    SELUFunction: elementwise(SELUFunction, forward=selu, backward=selu_backward),
}
