"""Kernels of ``layers/rnn_cell.py``: all that stands between the projections of a step, in one pass each.

A row holds the blocks of one sample, so what a block's loop leaves is in the cache for the next one. The
loops are short and write one array each: then the compiler turns them into vector instructions. ``rnn.py``
calls the same loops step by step.
"""

from __future__ import annotations

import torch
from numba import prange
from torch import Tensor
from torch.nn.functional import linear

from ...layers.rnn_cell import GRUCellFunction, LSTMCellFunction, RNNCellFunction, projection_gradients
from .. import Twin, plain
from ._jit import compiled, contiguous
from ._math import sigmoid, tanh

__all__ = [
    "TWINS",
    "gru_backward",
    "gru_forward",
    "input_projection",
    "lstm_backward",
    "lstm_forward",
    "relu_step_backward",
    "tanh_step_backward",
]


@compiled(a="rows, 4, count", c="rows, count", c_next="rows, count", h_next="rows, count")
def lstm_forward(a, c, c_next, h_next, rows, count):
    """``a`` holds the sum of the projections, and then the gates i, f, g, o."""
    for row in prange(rows):
        for i in range(count):
            a[row, 0, i] = sigmoid(a[row, 0, i])
        for i in range(count):
            a[row, 1, i] = sigmoid(a[row, 1, i])
        for i in range(count):
            a[row, 2, i] = tanh(a[row, 2, i])
        for i in range(count):
            a[row, 3, i] = sigmoid(a[row, 3, i])
        for i in range(count):
            c_next[row, i] = a[row, 1, i] * c[row, i] + a[row, 0, i] * a[row, 2, i]
        for i in range(count):
            h_next[row, i] = a[row, 3, i] * tanh(c_next[row, i])


@compiled(
    gates="rows, 4, count", c="rows, count", c_next="rows, count", mu="rows, count", outside="rows, count?",
    gamma="rows, count", delta="rows, 4, count",
)  # fmt: skip
def lstm_backward(gates, c, c_next, mu, outside, gamma, delta, carried, rows, count):
    """``gamma`` holds what comes from the next step if ``carried``, and then what goes to the one before."""
    T = gates.dtype.type
    for row in prange(rows):
        for i in range(count):
            t = tanh(c_next[row, i])
            o = gates[row, 3, i]
            delta[row, 3, i] = mu[row, i] * t * o * (T(1) - o)
            delta[row, 0, i] = mu[row, i] * o * (T(1) - t * t)
        if carried:
            for i in range(count):
                delta[row, 0, i] += gamma[row, i]
        if outside.size:
            for i in range(count):
                delta[row, 0, i] += outside[row, i]
        for i in range(count):
            f = gates[row, 1, i]
            delta[row, 1, i] = delta[row, 0, i] * c[row, i] * f * (T(1) - f)
            gamma[row, i] = delta[row, 0, i] * f
        for i in range(count):
            g = gates[row, 2, i]
            delta[row, 2, i] = delta[row, 0, i] * gates[row, 0, i] * (T(1) - g * g)
        for i in range(count):
            of_i = gates[row, 0, i]
            delta[row, 0, i] *= gates[row, 2, i] * of_i * (T(1) - of_i)


@compiled(
    a_ih="rows, 3, count", a_hh="rows, 3, count", h="rows, count", h_next="rows, count",
    gates="rows, 4, count",
)  # fmt: skip
def gru_forward(a_ih, a_hh, h, h_next, gates, rows, count):
    for row in prange(rows):
        for i in range(count):
            gates[row, 0, i] = sigmoid(a_ih[row, 0, i] + a_hh[row, 0, i])
        for i in range(count):
            gates[row, 1, i] = sigmoid(a_ih[row, 1, i] + a_hh[row, 1, i])
        for i in range(count):
            gates[row, 2, i] = tanh(a_ih[row, 2, i] + gates[row, 0, i] * a_hh[row, 2, i])
        for i in range(count):
            gates[row, 3, i] = a_hh[row, 2, i]
        for i in range(count):
            n = gates[row, 2, i]
            h_next[row, i] = n + gates[row, 1, i] * (h[row, i] - n)


@compiled(
    gates="rows, 4, count", h="rows, count", eta="rows, count", delta_ih="rows, 3, count",
    delta_hh="rows, 3, count", grad_h="rows, count",
)  # fmt: skip
def gru_backward(gates, h, eta, delta_ih, delta_hh, grad_h, rows, count):
    """What goes to h without the projections, η ⊙ z, is added to ``grad_h``."""
    T = gates.dtype.type
    for row in prange(rows):
        for i in range(count):
            n = gates[row, 2, i]
            delta_ih[row, 2, i] = eta[row, i] * (T(1) - gates[row, 1, i]) * (T(1) - n * n)
        for i in range(count):
            delta_hh[row, 2, i] = delta_ih[row, 2, i] * gates[row, 0, i]
        for i in range(count):
            r = gates[row, 0, i]
            delta_ih[row, 0, i] = delta_ih[row, 2, i] * gates[row, 3, i] * r * (T(1) - r)
        for i in range(count):
            z = gates[row, 1, i]
            delta_ih[row, 1, i] = eta[row, i] * (h[row, i] - gates[row, 2, i]) * z * (T(1) - z)
        for i in range(count):
            grad_h[row, i] += eta[row, i] * gates[row, 1, i]
        for k in range(2):
            for i in range(count):
                delta_hh[row, k, i] = delta_ih[row, k, i]


@compiled(h="n", eta="n", delta="n")
def tanh_step_backward(h, eta, delta, n):
    T = h.dtype.type
    for i in prange(n):
        delta[i] = eta[i] * (T(1) - h[i] * h[i])


@compiled(h="n", eta="n", delta="n")
def relu_step_backward(h, eta, delta, n):
    for i in prange(n):
        delta[i] = 0 if h[i] <= 0 else eta[i]


def input_projection(x, weight_ih, bias_ih, bias_hh=None) -> Tensor:
    """W_ih x + b_ih + b_hh"""
    if bias_ih is None or bias_hh is None:
        return linear(x, weight_ih, bias_hh if bias_ih is None else bias_ih)
    return linear(x, weight_ih, bias_ih + bias_hh)


class RNNCellCPU(RNNCellFunction):
    @staticmethod
    def forward(
        x: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor | None,
        bias_hh: Tensor | None,
        h: Tensor,
        relu: bool,
    ):
        a = input_projection(x, weight_ih, bias_ih, bias_hh).addmm_(h, weight_hh.t())
        return a.relu_() if relu else a.tanh_()

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        if not plain(grad_y):
            return RNNCellFunction.backward(ctx, grad_y)
        x, h, weight_ih, weight_hh, y = ctx.saved_tensors
        delta = torch.empty_like(y)
        step = relu_step_backward if ctx.relu else tanh_step_backward
        step(y, grad_y.contiguous(), delta, y.numel())
        grad_h = delta @ weight_hh if ctx.needs_input_grad[5] else None
        grads = projection_gradients(ctx.needs_input_grad, delta, delta, x, h, weight_ih, y.dtype)
        return *grads, grad_h, None


class LSTMCellCPU(LSTMCellFunction):
    @staticmethod
    def forward(
        x: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor | None,
        bias_hh: Tensor | None,
        h: Tensor,
        c: Tensor,
    ):
        a = input_projection(x, weight_ih, bias_ih, bias_hh).addmm_(h, weight_hh.t())
        rows, count = h.shape
        h_next, c_next = x.new_empty(rows, count), x.new_empty(rows, count)
        lstm_forward(a, c.contiguous(), c_next, h_next, rows, count)
        return h_next, c_next, a

    @staticmethod
    def backward(ctx, grad_h_next: Tensor | None, grad_c_next: Tensor | None, grad_gates: Tensor | None):
        given = [g for g in (grad_h_next, grad_c_next, grad_gates) if g is not None]
        if grad_gates is not None or not plain(*given):
            return LSTMCellFunction.backward(ctx, grad_h_next, grad_c_next, grad_gates)
        x, h, weight_ih, weight_hh, c, gates = ctx.saved_tensors
        needs, (rows, count) = ctx.needs_input_grad, c.shape
        c = c.contiguous()
        i, f, g, _ = gates.chunk(4, 1)
        c_next = torch.addcmul(f * c, i, g)
        mu = torch.zeros_like(c_next) if grad_h_next is None else grad_h_next.contiguous()
        outside = contiguous(grad_c_next)
        delta, gamma = torch.empty_like(gates), torch.empty_like(c_next)
        lstm_backward(gates, c, c_next, mu, outside, gamma, delta, False, rows, count)
        grad_h = delta @ weight_hh if needs[5] else None
        grads = projection_gradients(needs, delta, delta, x, h, weight_ih, gates.dtype)
        return *grads, grad_h, gamma if needs[6] else None


class GRUCellCPU(GRUCellFunction):
    @staticmethod
    def forward(
        x: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor | None,
        bias_hh: Tensor | None,
        h: Tensor,
    ):
        a_ih, a_hh = linear(x, weight_ih, bias_ih), linear(h, weight_hh, bias_hh)
        rows, count = h.shape
        h_next, gates = x.new_empty(rows, count), x.new_empty(rows, 4 * count)
        gru_forward(a_ih, a_hh, h.contiguous(), h_next, gates, rows, count)
        return h_next, gates

    @staticmethod
    def backward(ctx, grad_h_next: Tensor | None, grad_gates: Tensor | None):
        if grad_h_next is None or grad_gates is not None or not plain(grad_h_next):
            return GRUCellFunction.backward(ctx, grad_h_next, grad_gates)
        x, _, weight_ih, weight_hh, h, gates = ctx.saved_tensors
        needs, (rows, count) = ctx.needs_input_grad, h.shape
        delta_ih, delta_hh = gates.new_empty(2, rows, 3 * count).unbind()
        grad_h = gates.new_zeros(rows, count)
        gru_backward(gates, h.contiguous(), grad_h_next.contiguous(), delta_ih, delta_hh, grad_h, rows, count)
        grad_h = grad_h.addmm_(delta_hh, weight_hh) if needs[5] else None
        return *projection_gradients(needs, delta_ih, delta_hh, x, h, weight_ih, gates.dtype), grad_h


TWINS = {
    RNNCellFunction: Twin(RNNCellCPU),
    LSTMCellFunction: Twin(LSTMCellCPU),
    GRUCellFunction: Twin(GRUCellCPU),
}
