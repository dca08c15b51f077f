"""Kernels of ``layers/activation.py``: one pass over memory each."""

from __future__ import annotations

from ...layers.activation import (
    LogSigmoidFunction,
    SigmoidFunction,
    SoftplusFunction,
    SoftsignFunction,
    TanhFunction,
    TanhshrinkFunction,
)
from ._elementwise import elementwise
from ._math import log1p_exp, sigmoid, tanh

__all__ = ["TWINS"]


def sigmoid_forward(x, a, b, T):
    return sigmoid(x)


def sigmoid_backward(y, g, a, b, T):
    return g * (y * (T(1) - y))


def log_sigmoid(x, a, b, T):
    return -log1p_exp(-x)


def log_sigmoid_backward(x, g, a, b, T):
    return g * sigmoid(-x)


def tanh_forward(x, a, b, T):
    return tanh(x)


def tanh_backward(y, g, a, b, T):
    return g * (T(1) - y * y)


def tanhshrink(x, a, b, T):
    return x - tanh(x)


def tanhshrink_backward(x, g, a, b, T):
    t = tanh(x)
    return g * (t * t)


def softsign(x, a, b, T):
    return x / (T(1) + abs(x))


def softsign_backward(x, g, a, b, T):
    d = T(1) + abs(x)
    return g * ((d - abs(x)) / (d * d))


def softplus(x, beta, threshold, T):
    bent = log1p_exp(x * beta) / beta
    return x if x * beta > threshold else bent


def softplus_backward(x, g, beta, threshold, T):
    bent = g * sigmoid(x * beta)
    return g if x * beta > threshold else bent


TWINS = {
    SigmoidFunction: elementwise(SigmoidFunction, forward=sigmoid_forward, backward=sigmoid_backward),
    LogSigmoidFunction: elementwise(LogSigmoidFunction, forward=log_sigmoid, backward=log_sigmoid_backward),
    TanhFunction: elementwise(TanhFunction, forward=tanh_forward, backward=tanh_backward),
    TanhshrinkFunction: elementwise(TanhshrinkFunction, forward=tanhshrink, backward=tanhshrink_backward),
    SoftsignFunction: elementwise(SoftsignFunction, forward=softsign, backward=softsign_backward),
    SoftplusFunction: elementwise(
        SoftplusFunction, forward=softplus, backward=softplus_backward, options=("beta", "threshold")
    ),
}
