"""Recurrent networks over whole sequences: RNN, LSTM, GRU, and backpropagation through time.

A layer reads a sequence in one direction and is one Function. Its rows are the samples of all time steps, one
step under the other: step t has ``batch_sizes[t]`` rows. In a packed sequence these numbers fall, because
shorter samples, which stand behind longer ones, have ended; else all are B.

In formulas t counts steps as they are read: with ``reverse``, t = 1 is the last of the sequence. A step and
its Jacobian take x_t and h_t as columns, of one sample; where δ stands, they have a row per sample, as in the
code.

**Through time.** With the step h_t = F(h_{t−1}, x_t; W), the same W at every step, a change of h_{t−1}
reaches the loss L by the output of its own step and by h_t. With g_t, what L hears of h_t directly:

    ∂L/∂h_{t−1} = g_{t−1} + J_tᵀ ∂L/∂h_t,   J_t = ∂h_t/∂h_{t−1}    (from the last step to the first)
    ∂L/∂W = Σ_t (∂F/∂W at step t)ᵀ ∂L/∂h_t                          (W is shared, so its gradients add)

The recursion runs over time, but the sum does not have to: all δ_t = ∂L/∂(W_hh h_{t−1} + …) are kept, and
then ∂L/∂W_hh = Σ_t δ_tᵀ h_{t−1} is one matrix product over the rows of all steps, as are those of W_ih and x.

**Why gradients vanish or explode.** The loss at step t hears of h_{t−k} through k Jacobians,
J_{t−k+1}ᵀ … J_tᵀ g_t. In an RNN J = diag(φ′) W_hh. If the largest singular value of every J is at most s < 1,
the product is at most sᵏ, and what is far back has no influence; where J stretches, it can grow as fast
(Bengio, Simard, Frasconi 1994, doi:10.1109/72.279181). The LSTM's c_t = f_t ⊙ c_{t−1} + … and the GRU's
h_t = z_t ⊙ h_{t−1} + … have a way through time whose Jacobian is diag(f_t) or diag(z_t), which the
network can keep near 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.utils.rnn import PackedSequence

from ..function import Function, apply
from ._network import BatchSizes, network, run
from .rnn_cell import (
    RECURRENT,
    gru_factors,
    gru_gates_to_projections,
    gru_step,
    lstm_factors,
    lstm_step,
    projection_gradients,
    rnn_slope,
)

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GRUFunction",
    "LSTMFunction",
    "RNNFunction",
    "gru",
    "lstm",
    "rnn_relu",
    "rnn_tanh",
]


def walk(batch_sizes: BatchSizes, reverse: bool) -> Iterator[tuple[int, int]]:
    """The steps in the order they are read, and how many rows come from the step read before (first: 0)."""
    before = 0
    for t in reversed(range(len(batch_sizes))) if reverse else range(len(batch_sizes)):
        yield t, before
        before = batch_sizes[t]


def enter(state: Tensor, rows: int, initial: Tensor) -> Tensor:
    """The state that a step of ``rows`` rows starts from.

    Read forward, samples end: their rows, the last, are left out. Read backward, samples begin: their rows
    are added from the initial state.
    """
    have = state.shape[0]
    if have < rows:
        return torch.cat((state, initial.narrow(0, have, rows - have)))
    return state if have == rows else state.narrow(0, 0, rows)


def leave(grad: Tensor, before: int, begun: list[Tensor]) -> Tensor:
    """The adjoint of :func:`enter`: from the gradient of a step's state to that of the step read before.

    Samples that had ended get zero; the gradients of those that began here, at the initial state, go into
    ``begun``.
    """
    rows = grad.shape[0]
    if before < rows:
        begun.append(grad.narrow(0, before, rows - before))
        return grad.narrow(0, 0, before)
    return grad if before == rows else torch.cat((grad, grad.new_zeros(before - rows, grad.shape[1])))


def previous(states: Tensor, initial: Tensor, batch_sizes: BatchSizes, reverse: bool) -> Tensor:
    """What each row started from: the states one step before, for all steps."""
    over_time = states.split(batch_sizes)
    state, found = initial.narrow(0, 0, 0), list(over_time)
    for t, _ in walk(batch_sizes, reverse):
        found[t] = enter(state, batch_sizes[t], initial)
        state = over_time[t]
    return torch.cat(found)


def save_for_sequence(ctx, x, weight_ih, weight_hh, *further: Tensor | None) -> None:
    """Save ``further``, W_hh, and of x and W_ih that whose partner needs a gradient."""
    needs = ctx.needs_input_grad
    ctx.save_for_backward(x if needs[1] else None, weight_ih if needs[0] else None, weight_hh, *further)


class RNNFunction(Function):
    """A layer of an Elman network, in one direction over a sequence.

    Forward    for t = 1 … T:   a_t = W_ih x_t + b_ih + W_hh h_{t−1} + b_hh,   h_t = φ(a_t)   (tanh or relu)
               W_ih x_t is needed for all t and waits for none: one matrix product before the loop
    Backward   g_t = ∂L/∂h_t from outside.  h_t reaches L there and through a_{t+1}, of which it is W_hh's
               factor, and φ′ is a function of h_t (1 − h_t², or [h_t > 0]).  For t = T … 1, δ_{T+1} = 0:
               η_t = g_t + δ_{t+1} W_hh                                     all of ∂L/∂h_t
               δ_t = ∂L/∂a_t = η_t ⊙ φ′(a_t)
               then over the rows of all steps at once
               ∂L/∂x = δ W_ih,   ∂L/∂W_ih = Σ_t δ_tᵀ x_t,   ∂L/∂W_hh = Σ_t δ_tᵀ h_{t−1},   ∂L/∂b = Σ_t Σ δ_t
               and ∂L/∂h_0 = δ_1 W_hh
    Shapes     N = Σ batch_sizes rows.   x: (N, I);   h_0: (B, H);   all h: (N, H);   W_ih: (H, I);
               W_hh: (H, H);   b: (H) or None
    Saves      all h, W_hh, and of x, h_0, W_ih those whose partner needs a gradient.  The h are outputs, so
               they are no constants when this backward is differentiated: a gradient of theirs comes in as g
    Source     Werbos 1990, doi:10.1109/5.58337;   Elman 1990, doi:10.1207/s15516709cog1402_1
    """

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
        a_ih = linear(x, weight_ih, bias_ih).split(batch_sizes)
        h_0 = h_0.to(x.dtype)
        h, found = h_0.narrow(0, 0, 0), list(a_ih)
        for t, _ in walk(batch_sizes, reverse):
            a = a_ih[t] + linear(enter(h, batch_sizes[t], h_0), weight_hh, bias_hh)
            h = found[t] = a.relu() if relu else a.tanh()
        return torch.cat(found)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight_ih, weight_hh, _, _, h_0, ctx.batch_sizes, ctx.reverse, ctx.relu = inputs
        ctx.state_dtype = h_0.dtype
        save_for_sequence(ctx, x, weight_ih, weight_hh, h_0 if ctx.needs_input_grad[2] else None, output)

    @staticmethod
    def backward(ctx, grad_h: Tensor):
        x, weight_ih, weight_hh, h_0, h = ctx.saved_tensors
        needs, batch_sizes = ctx.needs_input_grad, ctx.batch_sizes
        g = grad_h.split(batch_sizes)
        slopes = rnn_slope(h, ctx.relu).split(batch_sizes)
        deltas, begun, carry = list(g), [], None
        for t, before in reversed(list(walk(batch_sizes, ctx.reverse))):
            eta = g[t] if carry is None else g[t] + carry
            deltas[t] = (eta * slopes[t]).to(h.dtype)
            carry = leave(deltas[t] @ weight_hh, before, begun)
        delta = torch.cat(deltas)
        h_before = previous(h, h_0.to(h.dtype), batch_sizes, ctx.reverse) if needs[2] else None
        grad_h_0 = torch.cat(begun[::-1]).to(ctx.state_dtype) if needs[5] else None
        grads = projection_gradients(needs, delta, delta, x, h_before, weight_ih, h.dtype)
        return *grads, grad_h_0, None, None, None


class LSTMFunction(Function):
    """A layer of long short-term memory, in one direction over a sequence.

    Forward    for t = 1 … T, with a_t = W_ih x_t + b_ih + W_hh h_{t−1} + b_hh in four blocks:
               i = σ(a_i),  f = σ(a_f),  g = tanh(a_g),  o = σ(a_o)          (gates_t = [i, f, g, o])
               c_t = f ⊙ c_{t−1} + i ⊙ g,   m_t = o ⊙ tanh(c_t)
               h_t = m_t, or W_hr m_t where there is a projection to P < H numbers
    Backward   of one step as in LSTMCell; h_t and c_t also hear from step t + 1.  For t = T … 1, with the
               gradients g_t = ∂L/∂h_t and k_t = ∂L/∂c_t from outside, and δ, γ of step T + 1 zero (gates of
               step t go without t: g is a gate, g_t a gradient):
               η_t = g_t + δ_{t+1} W_hh                                     all of ∂L/∂h_t
               μ_t = η_t, or η_t W_hr                                       ∂L/∂m_t
               γ_t = k_t + γ_{t+1} ⊙ f_{t+1} + μ_t ⊙ o ⊙ (1 − tanh² c_t)    all of ∂L/∂c_t
               δ_t = ∂L/∂a_t = [γ g, γ c_{t−1}, γ i, μ tanh(c_t)] ⊙ [i (1 − i), f (1 − f), 1 − g², o (1 − o)]
               What δ_t is made of besides γ and μ is known before the loop, for all steps.  After it, over
               all rows:   x, W_ih, W_hh, b as in RNN,   ∂L/∂W_hr = Σ_t η_tᵀ m_t,   ∂L/∂h_0 = δ_1 W_hh,
               ∂L/∂c_0 = γ_1 ⊙ f_1
    Shapes     N = Σ batch_sizes rows.   x: (N, I);   h_0: (B, P or H);   c_0: (B, H);   all h: (N, P or H);
               all c, m: (N, H);   gates: (N, 4H);   W_ih: (4H, I);   W_hh: (4H, P or H);   b: (4H) or None;
               W_hr: (P, H) or None
    Saves      all c, gates, c_0, W_hh, W_hr, and of x, W_ih, all h, h_0 those whose partner needs a
               gradient; not tanh(c), not m.  c and the gates are outputs with gradients of their own, so they
               are no constants when this backward is differentiated;  that of the gates, times the slopes
               σ′ and tanh′, is then added to δ_t
    Source     Hochreiter, Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735;  W_hr: Sak et al. 2014,
               arXiv:1402.1128
    """

    @staticmethod
    def forward(
        x: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor | None,
        bias_hh: Tensor | None,
        h_0: Tensor,
        c_0: Tensor,
        weight_hr: Tensor | None,
        batch_sizes: BatchSizes,
        reverse: bool,
    ):
        a_ih = linear(x, weight_ih, bias_ih).split(batch_sizes)
        h, c = h_0.narrow(0, 0, 0), c_0.narrow(0, 0, 0)
        all_h, all_c = list(a_ih), list(a_ih)
        all_gates: list[tuple[Tensor, ...]] = [()] * len(a_ih)
        for t, _ in walk(batch_sizes, reverse):
            h, c = enter(h, batch_sizes[t], h_0), enter(c, batch_sizes[t], c_0)
            a = a_ih[t] + linear(h.to(x.dtype), weight_hh, bias_hh)
            m, c, all_gates[t] = lstm_step(a, c)
            h = m if weight_hr is None else linear(m.to(x.dtype), weight_hr)
            all_h[t], all_c[t] = h, c
        gates = torch.cat([torch.cat(one) for one in zip(*all_gates)], 1)
        return torch.cat(all_h), torch.cat(all_c), gates

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight_ih, weight_hh, _, _, h_0, c_0, weight_hr, ctx.batch_sizes, ctx.reverse = inputs
        h, c, gates = output
        ctx.set_materialize_grads(False)
        ctx.state_dtypes = h_0.dtype, c_0.dtype
        needs_h = ctx.needs_input_grad[2]
        of_h = (h_0, h) if needs_h else (None, None)
        save_for_sequence(ctx, x, weight_ih, weight_hh, weight_hr, *of_h, c_0, c, gates)

    @staticmethod
    def backward(ctx, grad_h: Tensor | None, grad_c: Tensor | None, grad_gates: Tensor | None):
        x, weight_ih, weight_hh, weight_hr, h_0, h, c_0, c, gates = ctx.saved_tensors
        needs, batch_sizes, reverse = ctx.needs_input_grad, ctx.batch_sizes, ctx.reverse
        c_before = previous(c, c_0.to(c.dtype), batch_sizes, reverse)
        m_to_c, c_to_c, to_gates, slopes = lstm_factors(gates, c_before, c)
        m_to_c, c_to_c = m_to_c.split(batch_sizes), c_to_c.split(batch_sizes)
        to_a = (to_gates * slopes).split(batch_sizes)
        of_a = None if grad_gates is None else (grad_gates * slopes).split(batch_sizes)
        if grad_h is None:
            grad_h = c.new_zeros(c.shape[0], weight_hh.shape[1])
        g, k = grad_h.split(batch_sizes), None if grad_c is None else grad_c.split(batch_sizes)
        etas, deltas, begun_h, begun_c = list(g), list(g), [], []
        carry_h = carry_c = None
        for t, before in reversed(list(walk(batch_sizes, reverse))):
            eta = etas[t] = g[t] if carry_h is None else g[t] + carry_h
            mu = eta if weight_hr is None else eta.to(weight_hr.dtype) @ weight_hr
            gamma = mu * m_to_c[t]
            gamma = gamma if k is None else gamma + k[t]
            gamma = gamma if carry_c is None else gamma + carry_c
            delta = torch.cat((gamma, gamma, gamma, mu), 1) * to_a[t]
            delta = deltas[t] = (delta if of_a is None else delta + of_a[t]).to(gates.dtype)
            carry_h = leave(delta @ weight_hh, before, begun_h)
            carry_c = leave(gamma * c_to_c[t], before, begun_c)
        delta = torch.cat(deltas)
        h_before = previous(h, h_0.to(h.dtype), batch_sizes, reverse) if needs[2] else None
        grads = projection_gradients(needs, delta, delta, x, h_before, weight_ih, gates.dtype)
        grad_h_0 = torch.cat(begun_h[::-1]).to(ctx.state_dtypes[0]) if needs[5] else None
        grad_c_0 = torch.cat(begun_c[::-1]).to(ctx.state_dtypes[1]) if needs[6] else None
        grad_weight_hr = None
        if needs[7]:
            m = gates.narrow(1, 3 * c.shape[1], c.shape[1]) * c.tanh()
            grad_weight_hr = torch.cat(etas).to(gates.dtype).transpose(0, 1) @ m.to(gates.dtype)
        return *grads, grad_h_0, grad_c_0, grad_weight_hr, None, None


class GRUFunction(Function):
    """A layer of gated recurrent units, in one direction over a sequence.

    Forward    for t = 1 … T, with a_ih = W_ih x_t + b_ih and a_hh = W_hh h_{t−1} + b_hh, in three blocks:
               r = σ(a_ih,r + a_hh,r),   z = σ(a_ih,z + a_hh,z),   q = a_hh,n,   n = tanh(a_ih,n + r ⊙ q)
               h_t = n + z ⊙ (h_{t−1} − n)                                  (gates_t = [r, z, n, q])
    Backward   of one step as in GRUCell; h_t also hears from step t + 1.  For t = T … 1, with the gradient
               g_t = ∂L/∂h_t from outside, and the terms of step T + 1 zero:
               η_t = g_t + η_{t+1} ⊙ z_{t+1} + δ_hh,t+1 W_hh                all of ∂L/∂h_t
               δ_hh,t = [δ_r, δ_z, δ_q] = [η, η, η] ⊙ [κ q r (1 − r), (h_{t−1} − n) z (1 − z), κ r],
               κ = (1 − z) (1 − n²)
               What η is multiplied with is known before the loop, for all steps.  After it, over all rows:
               δ_n = η ⊙ κ,   δ_ih = [δ_r, δ_z, δ_n],   and as in RNN x, W_ih, b_ih from δ_ih, and W_hh, b_hh
               from δ_hh;   ∂L/∂h_0 = η_1 ⊙ z_1 + δ_hh,1 W_hh
    Shapes     N = Σ batch_sizes rows.   x: (N, I);   h_0: (B, H);   all h: (N, H);   gates: (N, 4H);
               W_ih: (3H, I);   W_hh: (3H, H);   b: (3H) or None
    Saves      all h, gates, h_0, W_hh, and of x, W_ih that whose partner needs a gradient.  The gates
               are an output with a gradient of its own, so they are no constants when this backward is
               differentiated (see ``gru_gates_to_projections``)
    Source     Cho et al. 2014, arXiv:1406.1078, with r behind the projection as cuDNN has it
    """

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
        a_ih = linear(x, weight_ih, bias_ih).split(batch_sizes)
        h, all_h = h_0.narrow(0, 0, 0), list(a_ih)
        all_gates: list[tuple[Tensor, ...]] = [()] * len(a_ih)
        for t, _ in walk(batch_sizes, reverse):
            h = enter(h, batch_sizes[t], h_0)
            h, all_gates[t] = gru_step(a_ih[t], linear(h.to(x.dtype), weight_hh, bias_hh), h)
            all_h[t] = h
        return torch.cat(all_h), torch.cat([torch.cat(one) for one in zip(*all_gates)], 1)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight_ih, weight_hh, _, _, h_0, ctx.batch_sizes, ctx.reverse = inputs
        ctx.set_materialize_grads(False)
        save_for_sequence(ctx, x, weight_ih, weight_hh, h_0, *output)

    @staticmethod
    def backward(ctx, grad_h: Tensor | None, grad_gates: Tensor | None):
        x, weight_ih, weight_hh, h_0, h, gates = ctx.saved_tensors
        needs, batch_sizes = ctx.needs_input_grad, ctx.batch_sizes
        h_before = previous(h, h_0.to(h.dtype), batch_sizes, ctx.reverse)
        z, to_n, to_hh = gru_factors(gates, h_before)
        z, to_hh = z.split(batch_sizes), to_hh.split(batch_sizes)
        of_n = of_hh = None
        if grad_gates is not None:
            of_n, of_hh = gru_gates_to_projections(grad_gates, gates)
            of_hh = of_hh.split(batch_sizes)
        g = (torch.zeros_like(h) if grad_h is None else grad_h).split(batch_sizes)
        etas, deltas, begun, carry = list(g), list(g), [], None
        for t, before in reversed(list(walk(batch_sizes, ctx.reverse))):
            eta = etas[t] = g[t] if carry is None else g[t] + carry
            delta = torch.cat((eta, eta, eta), 1) * to_hh[t]
            delta = deltas[t] = delta if of_hh is None else delta + of_hh[t]
            carry = leave(eta * z[t] + delta.to(gates.dtype) @ weight_hh, before, begun)
        delta_hh, delta_n = torch.cat(deltas), torch.cat(etas) * to_n
        delta_n = delta_n if of_n is None else delta_n + of_n
        delta_ih = torch.cat((delta_hh.narrow(1, 0, 2 * h.shape[1]), delta_n), 1)
        grads = projection_gradients(needs, delta_ih, delta_hh, x, h_before, weight_ih, gates.dtype)
        grad_h_0 = torch.cat(begun[::-1]).to(h_0.dtype) if needs[5] else None
        return *grads, grad_h_0, None, None


def rnn_tanh(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """An Elman network with tanh, as :func:`torch.rnn_tanh`, which can be called in two ways.

    With a tensor: ``(input, hx, params, has_biases, num_layers, dropout, train, bidirectional,
    batch_first)``. With a packed sequence: ``(data, batch_sizes, hx, params, has_biases, num_layers, dropout,
    train, bidirectional)``.

    Args:
        input: shape (T, B, I), or (B, T, I) with ``batch_first``.
        data, batch_sizes: of a :class:`torch.nn.utils.rnn.PackedSequence`.
        hx: the initial state, shape (L D, B, H) for L layers and D directions.
        params: the weights, layer by layer and in it direction by direction: W_ih, W_hh and, with
            ``has_biases``, b_ih, b_hh.
        dropout: probability with which what one layer hands to the next is zeroed, if ``train``.

    Returns:
        What the last layer said at every step, (T, B, D H), and the last states, (L D, B, H).

    Raises:
        RuntimeError: if shapes, dtypes or the number of weights do not fit, or there is no step.
    """
    return network("rnn_tanh", 1, _tanh_layer, args, kwargs)


def rnn_relu(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """An Elman network with relu, as :func:`torch.rnn_relu`; arguments as of :func:`rnn_tanh`.

    Raises:
        RuntimeError: if shapes, dtypes or the number of weights do not fit, or there is no step.
    """
    return network("rnn_relu", 1, _relu_layer, args, kwargs)


def lstm(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Long short-term memory, as :func:`torch.lstm`; arguments as of :func:`rnn_tanh`, but for these.

    Args:
        hx: the initial states h, (L D, B, H), and c, (L D, B, H). If the last axis of h is shorter, with P
            numbers, h is projected, and ``params`` has a W_hr of shape (P, H) after the others of a layer.

    Returns:
        What the last layer said at every step, and the last states h and c.

    Raises:
        RuntimeError: if shapes, dtypes or the number of weights do not fit, or there is no step.
    """
    return network("lstm", 4, _lstm_layer, args, kwargs)


def gru(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """Gated recurrent units, as :func:`torch.gru`; arguments as of :func:`rnn_tanh`.

    Raises:
        RuntimeError: if shapes, dtypes or the number of weights do not fit, or there is no step.
    """
    return network("gru", 3, _gru_layer, args, kwargs)


def _tanh_layer(factors, weight_hr, states, batch_sizes, reverse) -> tuple[Tensor, ...]:
    return (apply(RNNFunction, *factors, *states, batch_sizes, reverse, False, autocast=RECURRENT),)


def _relu_layer(factors, weight_hr, states, batch_sizes, reverse) -> tuple[Tensor, ...]:
    return (apply(RNNFunction, *factors, *states, batch_sizes, reverse, True, autocast=RECURRENT),)


def _lstm_layer(factors, weight_hr, states, batch_sizes, reverse) -> tuple[Tensor, ...]:
    return apply(LSTMFunction, *factors, *states, weight_hr, batch_sizes, reverse, autocast=RECURRENT)[:2]


def _gru_layer(factors, weight_hr, states, batch_sizes, reverse) -> tuple[Tensor, ...]:
    return apply(GRUFunction, *factors, *states, batch_sizes, reverse, autocast=RECURRENT)[:1]


class RNN(nn.RNN):
    """:class:`torch.nn.RNN` with a hand-written backward."""

    def forward(self, input: Tensor | PackedSequence, hx: Tensor | None = None):
        function = rnn_tanh if self.mode == "RNN_TANH" else rnn_relu
        output, (h,) = run(self, function, (self.hidden_size,), input, None if hx is None else (hx,))
        return output, h


class LSTM(nn.LSTM):
    """:class:`torch.nn.LSTM` with a hand-written backward."""

    def forward(self, input: Tensor | PackedSequence, hx: tuple[Tensor, Tensor] | None = None):
        sizes = (self.proj_size or self.hidden_size, self.hidden_size)
        return run(self, lstm, sizes, input, hx)


class GRU(nn.GRU):
    """:class:`torch.nn.GRU` with a hand-written backward."""

    def forward(self, input: Tensor | PackedSequence, hx: Tensor | None = None):
        output, (h,) = run(self, gru, (self.hidden_size,), input, None if hx is None else (hx,))
        return output, h
