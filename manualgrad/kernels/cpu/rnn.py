"""Kernels of ``layers/rnn.py``: a step is one matrix product and one pass over its gates.

The input's projections, of all steps, are one product; each step adds that of the state to them in place, so
that no pre-activation is stored twice. Backward needs one product per step too, added to the gradient from
outside, and keeps δ of all steps; the weights' gradients are then products over the rows of all steps. What a
step started from is not gathered: it is the steps without the last one, and the initial state.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...layers._network import BatchSizes
from ...layers.rnn import GRUFunction, LSTMFunction, RNNFunction
from .. import Twin, plain
from .rnn_cell import (
    gru_backward,
    gru_forward,
    input_projection,
    lstm_backward,
    lstm_forward,
    relu_step_backward,
    tanh_step_backward,
)

__all__ = ["TWINS"]


def in_order(steps: int, reverse: bool) -> list[tuple[int, int]]:
    """Each step in the order they are read, with the one read before it, or −1."""
    if reverse:
        return [(t, t + 1 if t + 1 < steps else -1) for t in reversed(range(steps))]
    return [(t, t - 1) for t in range(steps)]


def by_step(x: Tensor, batch_sizes: BatchSizes) -> tuple[Tensor, ...]:
    """The rows of each step."""
    return x.view(len(batch_sizes), batch_sizes[0], x.shape[1]).unbind()


def copied(x: Tensor) -> Tensor:
    """A copy to add to."""
    return x.clone(memory_format=torch.contiguous_format)


def gradients(needs, delta_ih: Tensor, delta_hh: Tensor, x, weight_ih, initial, states, batch, reverse):
    """Gradients of x, W_ih, W_hh, b_ih, b_hh: as in ``projection_gradients``, from states of all steps."""
    grad_x = delta_ih @ weight_ih if needs[0] else None
    grad_weight_ih = delta_ih.t() @ x if needs[1] else None
    grad_weight_hh = None
    if needs[2]:
        rest = delta_hh.shape[0] - batch
        first = rest if reverse else 0
        # Into memory of its dtype, to which the rest is added, also where autocast would take another.
        grad_weight_hh = delta_hh.new_empty(delta_hh.shape[1], initial.shape[1])
        torch.mm(delta_hh.narrow(0, first, batch).t(), initial, out=grad_weight_hh)
        if rest:
            before = states.narrow(0, batch if reverse else 0, rest)
            grad_weight_hh.addmm_(delta_hh.narrow(0, 0 if reverse else batch, rest).t(), before)
    grad_bias_ih = delta_ih.sum(0) if needs[3] else None
    grad_bias_hh = None
    if needs[4]:
        shared = delta_ih is delta_hh and grad_bias_ih is not None
        grad_bias_hh = grad_bias_ih.clone() if shared else delta_hh.sum(0)
    return grad_x, grad_weight_ih, grad_weight_hh, grad_bias_ih, grad_bias_hh


class RNNCPU(RNNFunction):
    @staticmethod
    def forward(
        x: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor | None,
        bias_hh: Tensor | None,
        h_0: Tensor,
        batch_sizes: BatchSizes,
        reverse: bool,
        relu: bool,
    ):
        h = input_projection(x, weight_ih, bias_ih, bias_hh)
        h_of, w = by_step(h, batch_sizes), weight_hh.t()
        for t, before in in_order(len(batch_sizes), reverse):
            a = h_of[t].addmm_(h_0 if before < 0 else h_of[before], w)
            a.relu_() if relu else a.tanh_()
        return h

    @staticmethod
    def backward(ctx, grad_h: Tensor):
        if not plain(grad_h):
            return RNNFunction.backward(ctx, grad_h)
        x, weight_ih, weight_hh, h_0, h = ctx.saved_tensors
        needs, batch_sizes = ctx.needs_input_grad, ctx.batch_sizes
        batch = batch_sizes[0]
        step = relu_step_backward if ctx.relu else tanh_step_backward
        eta, delta = copied(grad_h), torch.empty_like(h)
        eta_of, delta_of, h_of = (by_step(each, batch_sizes) for each in (eta, delta, h))
        n = batch * h.shape[1]
        for t, before in reversed(in_order(len(batch_sizes), ctx.reverse)):
            step(h_of[t], eta_of[t], delta_of[t], n)
            if before >= 0:
                eta_of[before].addmm_(delta_of[t], weight_hh)
        first = len(batch_sizes) - 1 if ctx.reverse else 0
        grad_h_0 = delta_of[first] @ weight_hh if needs[5] else None
        grads = gradients(needs, delta, delta, x, weight_ih, h_0, h, batch, ctx.reverse)
        return *grads, grad_h_0, None, None, None


class LSTMCPU(LSTMFunction):
    @staticmethod
    def forward(
        x: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor | None,
        bias_hh: Tensor | None,
        h_0: Tensor,
        c_0: Tensor,
        weight_hr: None,
        batch_sizes: BatchSizes,
        reverse: bool,
    ):
        gates = input_projection(x, weight_ih, bias_ih, bias_hh)
        batch, count = batch_sizes[0], c_0.shape[1]
        h, c = x.new_empty(x.shape[0], count), x.new_empty(x.shape[0], count)
        gates_of, h_of, c_of = (by_step(each, batch_sizes) for each in (gates, h, c))
        w, c_0 = weight_hh.t(), c_0.contiguous()
        for t, before in in_order(len(batch_sizes), reverse):
            h_before, c_before = (h_0, c_0) if before < 0 else (h_of[before], c_of[before])
            lstm_forward(gates_of[t].addmm_(h_before, w), c_before, c_of[t], h_of[t], batch, count)
        return h, c, gates

    @staticmethod
    def backward(ctx, grad_h: Tensor | None, grad_c: Tensor | None, grad_gates: Tensor | None):
        given = [g for g in (grad_h, grad_c, grad_gates) if g is not None]
        if grad_gates is not None or not plain(*given):
            return LSTMFunction.backward(ctx, grad_h, grad_c, grad_gates)
        x, weight_ih, weight_hh, _, h_0, h, c_0, c, gates = ctx.saved_tensors
        needs, batch_sizes = ctx.needs_input_grad, ctx.batch_sizes
        batch, count = c_0.shape
        eta = torch.zeros_like(c) if grad_h is None else copied(grad_h)
        delta, gamma, c_0 = torch.empty_like(gates), c.new_empty(batch, count), c_0.contiguous()
        eta_of, delta_of, c_of, gates_of = (by_step(each, batch_sizes) for each in (eta, delta, c, gates))
        k_of = [None] * len(batch_sizes) if grad_c is None else by_step(grad_c.contiguous(), batch_sizes)
        carried = False
        for t, before in reversed(in_order(len(batch_sizes), ctx.reverse)):
            c_before = c_0 if before < 0 else c_of[before]
            lstm_backward(
                gates_of[t], c_before, c_of[t], eta_of[t], k_of[t], gamma, delta_of[t], carried, batch, count
            )
            carried = True
            if before >= 0:
                eta_of[before].addmm_(delta_of[t], weight_hh)
        first = len(batch_sizes) - 1 if ctx.reverse else 0
        grad_h_0 = delta_of[first] @ weight_hh if needs[5] else None
        grads = gradients(needs, delta, delta, x, weight_ih, h_0, h, batch, ctx.reverse)
        return *grads, grad_h_0, gamma if needs[6] else None, None, None, None


class GRUCPU(GRUFunction):
    @staticmethod
    def forward(
        x: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor | None,
        bias_hh: Tensor | None,
        h_0: Tensor,
        batch_sizes: BatchSizes,
        reverse: bool,
    ):
        batch, count = h_0.shape
        a_ih, a_hh = input_projection(x, weight_ih, bias_ih), x.new_empty(batch, 3 * count)
        h, gates = x.new_empty(x.shape[0], count), x.new_empty(x.shape[0], 4 * count)
        a_of, h_of, gates_of = (by_step(each, batch_sizes) for each in (a_ih, h, gates))
        w, h_0 = weight_hh.t(), h_0.contiguous()
        for t, before in in_order(len(batch_sizes), reverse):
            h_before = h_0 if before < 0 else h_of[before]
            if bias_hh is None:
                torch.mm(h_before, w, out=a_hh)
            else:
                torch.addmm(bias_hh, h_before, w, out=a_hh)
            gru_forward(a_of[t], a_hh, h_before, h_of[t], gates_of[t], batch, count)
        return h, gates

    @staticmethod
    def backward(ctx, grad_h: Tensor | None, grad_gates: Tensor | None):
        if grad_h is None or grad_gates is not None or not plain(grad_h):
            return GRUFunction.backward(ctx, grad_h, grad_gates)
        x, weight_ih, weight_hh, h_0, h, gates = ctx.saved_tensors
        needs, batch_sizes = ctx.needs_input_grad, ctx.batch_sizes
        (batch, count), h_0 = h_0.shape, h_0.contiguous()
        eta, grad_h_0 = copied(grad_h), h.new_zeros(batch, count)
        delta_ih, delta_hh = h.new_empty(2, h.shape[0], 3 * count).unbind()
        of = [by_step(each, batch_sizes) for each in (eta, delta_ih, delta_hh, h, gates)]
        eta_of, delta_ih_of, delta_hh_of, h_of, gates_of = of
        for t, before in reversed(in_order(len(batch_sizes), ctx.reverse)):
            h_before, eta_before = (h_0, grad_h_0) if before < 0 else (h_of[before], eta_of[before])
            gru_backward(
                gates_of[t], h_before, eta_of[t], delta_ih_of[t], delta_hh_of[t], eta_before, batch, count
            )
            eta_before.addmm_(delta_hh_of[t], weight_hh)
        grads = gradients(needs, delta_ih, delta_hh, x, weight_ih, h_0, h, batch, ctx.reverse)
        return *grads, grad_h_0 if needs[5] else None, None, None


def one_length(batch_sizes: BatchSizes) -> bool:
    return batch_sizes[0] == batch_sizes[-1]


TWINS = {
    RNNFunction: Twin(RNNCPU, takes=lambda *args: one_length(args[6]), asks="samples of one length"),
    LSTMFunction: Twin(
        LSTMCPU,
        takes=lambda *args: args[7] is None and one_length(args[8]),
        asks="samples of one length, no projection",
    ),
    GRUFunction: Twin(GRUCPU, takes=lambda *args: one_length(args[6]), asks="samples of one length"),
}
