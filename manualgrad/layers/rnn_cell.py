"""One step of a recurrent network: RNNCell, LSTMCell, GRUCell.

A cell reads an input x and a state h and makes the next state h′. All three start from two projections,
W_ih x + b_ih and W_hh h + b_hh, so the end of every backward is the same: the gradients δ of the projections,
contracted with what was projected (:func:`projection_gradients`). What differs is the way from h′ to δ.
A Forward takes x and h as columns, of one sample; in a Backward δ, x and h have a row for each sample, as in
the code. ``rnn.py`` repeats these steps over a sequence.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ..function import Autocast, Function, apply, check_optional, check_tensors, wide
from ._broadcast import check_same_dtype

__all__ = [
    "GRUCell",
    "GRUCellFunction",
    "LSTMCell",
    "LSTMCellFunction",
    "RNNCell",
    "RNNCellFunction",
    "gru_cell",
    "lstm_cell",
    "rnn_relu_cell",
    "rnn_tanh_cell",
]

# On the CPU torch's autocast casts the factors of the projections alone: a float32 state stays float32.
RECURRENT = Autocast(None, "low")


def low(*tensors: Tensor | None) -> list[Tensor | None]:
    """The factors of a projection as the CPU's autocast casts them; as they are where it is off."""
    first = tensors[0]
    if not isinstance(first, Tensor) or first.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return list(tensors)
    dtype = torch.get_autocast_dtype("cpu")
    return [t if t is None or t.dtype == torch.float64 else t.to(dtype) for t in tensors]


def projection_gradients(
    needs: Sequence[bool],
    delta_ih: Tensor,
    delta_hh: Tensor,
    x: Tensor | None,
    h: Tensor | None,
    weight_ih: Tensor | None,
    dtype: torch.dtype,
) -> tuple[Tensor | None, ...]:
    """Gradients of x, W_ih, W_hh, b_ih, b_hh, where ``needs`` says so, from those of the projections.

    With δ_ih = ∂L/∂(W_ih x + b_ih) and δ_hh = ∂L/∂(W_hh h + b_hh), a row for each x and h:

        ∂L/∂x = δ_ih W_ih,   ∂L/∂W_ih = δ_ihᵀ x,   ∂L/∂W_hh = δ_hhᵀ h
        ∂L/∂b_ih = Σ δ_ih,   ∂L/∂b_hh = Σ δ_hh

    The matrix products sum over all rows: samples, and in ``rnn.py`` time steps too.
    """
    shared = delta_ih is delta_hh
    delta_ih = delta_ih.to(dtype)
    delta_hh = delta_ih if shared else delta_hh.to(dtype)
    grad_x = None if weight_ih is None else delta_ih @ weight_ih
    grad_weight_ih = None if x is None else delta_ih.transpose(0, 1) @ x
    grad_weight_hh = delta_hh.transpose(0, 1) @ h.to(dtype) if needs[2] and h is not None else None
    grad_bias_ih = wide(delta_ih).sum(0).to(dtype) if needs[3] else None
    grad_bias_hh = None
    if needs[4]:
        known = shared and grad_bias_ih is not None
        grad_bias_hh = grad_bias_ih.clone() if known else wide(delta_hh).sum(0).to(dtype)
    return grad_x, grad_weight_ih, grad_weight_hh, grad_bias_ih, grad_bias_hh


def rnn_slope(y: Tensor, relu: bool) -> Tensor:
    """φ′ by what φ returned: 1 − y² of tanh, and of relu 1 where y > 0."""
    y = wide(y)
    return torch.where(y <= 0, 0.0, 1.0).to(y.dtype) if relu else 1 - y * y


class RNNCellFunction(Function):
    """One step of an Elman network.

    Forward    a = W_ih x + b_ih + W_hh h + b_hh,   h′ = φ(a)   with φ = tanh or relu
    Backward   g = ∂L/∂h′.  tanh′ = 1 − tanh² and relu′ = [relu > 0], so φ′(a) is a function of h′:
               δ = ∂L/∂a = g ⊙ φ′(a)   and, as a is linear in everything else,
               ∂L/∂x = δ W_ih,   ∂L/∂h = δ W_hh,   ∂L/∂W_ih = δᵀ x,   ∂L/∂W_hh = δᵀ h,
               ∂L/∂b_ih = ∂L/∂b_hh = Σ δ over the batch
    Shapes     x: (B, I);   h, h′, a: (B, H);   W_ih: (H, I);   W_hh: (H, H);   b: (H) or None
    Saves      h′, and of x, h, W_ih, W_hh those whose partner needs a gradient
    Source     Elman 1990, doi:10.1207/s15516709cog1402_1
    """

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
        a = linear(x, weight_ih, bias_ih) + linear(h.to(x.dtype), weight_hh, bias_hh)
        return a.relu() if relu else a.tanh()

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight_ih, weight_hh, _, _, h, ctx.relu = inputs
        ctx.state_dtype = h.dtype
        save_for_projections(ctx, x, h, weight_ih, weight_hh, 5, output)

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        x, h, weight_ih, weight_hh, y = ctx.saved_tensors
        delta = (grad_y * rnn_slope(y, ctx.relu)).to(y.dtype)
        grad_h = (delta @ weight_hh).to(ctx.state_dtype) if ctx.needs_input_grad[5] else None
        grads = projection_gradients(ctx.needs_input_grad, delta, delta, x, h, weight_ih, y.dtype)
        return *grads, grad_h, None


def save_for_projections(ctx, x, h, weight_ih, weight_hh, state: int, *further: Tensor) -> None:
    """Save ``further``, and of the projections' factors those whose partner needs a gradient."""
    needs = ctx.needs_input_grad
    ctx.save_for_backward(
        x if needs[1] else None,
        h if needs[2] else None,
        weight_ih if needs[0] else None,
        weight_hh if needs[state] else None,
        *further,
    )


def rnn_tanh_cell(
    input: Tensor,
    hx: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:
    """One step with tanh, as :func:`torch.rnn_tanh_cell`.

    Args:
        input: shape (B, I).
        hx: the state, shape (B, H).
        w_ih, w_hh: shapes (H, I) and (H, H).
        b_ih, b_hh: shape (H).

    Raises:
        RuntimeError: if shapes or dtypes do not fit.
    """
    _check_cell("rnn_tanh_cell", 1, input, (hx,), w_ih, w_hh, b_ih, b_hh)
    return apply(RNNCellFunction, *low(input, w_ih, w_hh, b_ih, b_hh), hx, False, autocast=RECURRENT)


def rnn_relu_cell(
    input: Tensor,
    hx: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:
    """One step with relu, as :func:`torch.rnn_relu_cell`; arguments as of :func:`rnn_tanh_cell`.

    Raises:
        RuntimeError: if shapes or dtypes do not fit.
    """
    _check_cell("rnn_relu_cell", 1, input, (hx,), w_ih, w_hh, b_ih, b_hh)
    return apply(RNNCellFunction, *low(input, w_ih, w_hh, b_ih, b_hh), hx, True, autocast=RECURRENT)


class RNNCell(nn.RNNCell):
    """:class:`torch.nn.RNNCell` with a hand-written backward."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"RNNCell: nonlinearity={self.nonlinearity!r} must be 'tanh' or 'relu'")
        cell = rnn_tanh_cell if self.nonlinearity == "tanh" else rnn_relu_cell
        x, (h,) = _rows(self, input, None if hx is None else (hx,), 1)
        y = cell(x, h, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        return y if input.dim() == 2 else y.squeeze(0)


def lstm_step(a: Tensor, c: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """The step behind the projections: o ⊙ tanh(c′), c′, and the gates (i, f, g, o)."""
    a_i, a_f, a_g, a_o = a.chunk(4, 1)
    i, f, g, o = a_i.sigmoid(), a_f.sigmoid(), a_g.tanh(), a_o.sigmoid()
    c_next = f * c + i * g
    return o * c_next.tanh(), c_next, (i, f, g, o)


def lstm_factors(gates: Tensor, c: Tensor, c_next: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What gradients are multiplied with on their way back through a step, all known before they come.

    Returns:
        h′ to c′: o (1 − tanh² c′), shape (*, H).
        c′ to c: f, shape (*, H).
        c′, c′, c′, h′ to the gates i, f, g, o: [g, c, i, tanh c′], shape (*, 4H).
        gates to a: [i (1 − i), f (1 − f), 1 − g², o (1 − o)], shape (*, 4H).
    """
    i, f, g, o = wide(gates).chunk(4, 1)
    tanh_c = wide(c_next).tanh()
    to_gates = torch.cat((g, wide(c), i, tanh_c), 1)
    slopes = torch.cat((i * (1 - i), f * (1 - f), 1 - g * g, o * (1 - o)), 1)
    return o * (1 - tanh_c * tanh_c), f, to_gates, slopes


class LSTMCellFunction(Function):
    """One step of long short-term memory.

    Forward    a = W_ih x + b_ih + W_hh h + b_hh, in four blocks:
               i = σ(a_i),  f = σ(a_f),  g = tanh(a_g),  o = σ(a_o)
               c′ = f ⊙ c + i ⊙ g,   h′ = o ⊙ tanh(c′)
    Backward   h′ depends on o and c′, and L on c′ directly too, so c′ collects
               γ = ∂L/∂c′ (from outside) + ∂L/∂h′ ⊙ o ⊙ (1 − tanh² c′)
               ∂L/∂i = γ ⊙ g,   ∂L/∂f = γ ⊙ c,   ∂L/∂g = γ ⊙ i,   ∂L/∂o = ∂L/∂h′ ⊙ tanh(c′)
               with σ′ = σ (1 − σ), tanh′ = 1 − tanh²:
               δ = ∂L/∂a = [γ g i (1 − i),  γ c f (1 − f),  γ i (1 − g²),  ∂L/∂h′ tanh(c′) o (1 − o)]
               ∂L/∂c = γ ⊙ f,   ∂L/∂h = δ W_hh,   and x, W and b as in RNNCell
    Shapes     x: (B, I);   h, c, h′, c′: (B, H);   W_ih: (4H, I);   W_hh: (4H, H);   b: (4H) or None
    Saves      c, [i, f, g, o], and of x, h, W_ih, W_hh those whose partner needs a gradient. c′ is computed
               again: the caller may have changed it in place.
               The gates are an output like the others, with a gradient of its own: so they are no constants
               when this backward is differentiated, and need not be computed again.
    Source     Hochreiter, Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735;
               f: Gers, Schmidhuber, Cummins 2000, doi:10.1162/089976600300015015
    """

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
        a = linear(x, weight_ih, bias_ih) + linear(h.to(x.dtype), weight_hh, bias_hh)
        h_next, c_next, gates = lstm_step(a, c)
        return h_next, c_next, torch.cat(gates, 1)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight_ih, weight_hh, _, _, h, c = inputs
        _, _, gates = output
        ctx.set_materialize_grads(False)
        ctx.state_dtypes = h.dtype, c.dtype
        save_for_projections(ctx, x, h, weight_ih, weight_hh, 5, c, gates)

    @staticmethod
    def backward(ctx, grad_h_next: Tensor | None, grad_c_next: Tensor | None, grad_gates: Tensor | None):
        x, h, weight_ih, weight_hh, c, gates = ctx.saved_tensors
        needs, (h_dtype, c_dtype) = ctx.needs_input_grad, ctx.state_dtypes
        i, f, g, _ = wide(gates).chunk(4, 1)
        c_next = f * wide(c) + i * g
        h_to_c, c_to_c, to_gates, slopes = lstm_factors(gates, c, c_next)
        grad_h_next = torch.zeros_like(c_next) if grad_h_next is None else grad_h_next
        gamma = grad_h_next * h_to_c
        gamma = gamma if grad_c_next is None else gamma + grad_c_next
        of_gates = torch.cat((gamma, gamma, gamma, grad_h_next), 1) * to_gates
        of_gates = of_gates if grad_gates is None else of_gates + grad_gates
        delta = (of_gates * slopes).to(gates.dtype)
        grad_h = (delta @ weight_hh).to(h_dtype) if needs[5] else None
        grad_c = (gamma * c_to_c).to(c_dtype) if needs[6] else None
        return *projection_gradients(needs, delta, delta, x, h, weight_ih, gates.dtype), grad_h, grad_c


def lstm_cell(
    input: Tensor,
    hx: Sequence[Tensor],
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One step of long short-term memory, as :func:`torch.lstm_cell`.

    Args:
        input: shape (B, I).
        hx: the states h and c, each of shape (B, H).
        w_ih, w_hh: shapes (4H, I) and (4H, H), in the order i, f, g, o.
        b_ih, b_hh: shape (4H).

    Returns:
        The next h and c.

    Raises:
        RuntimeError: if shapes or dtypes do not fit.
    """
    if len(hx) != 2:
        raise RuntimeError(f"lstm_cell: hx must hold two hidden states, h and c, but it holds {len(hx)}")
    _check_cell("lstm_cell", 4, input, tuple(hx), w_ih, w_hh, b_ih, b_hh)
    h, c = hx
    c = c.view_as(c) if c is h else c  # torch.compile refuses a tensor that is given twice
    factors = low(input, w_ih, w_hh, b_ih, b_hh)
    return apply(LSTMCellFunction, *factors, h, c, autocast=RECURRENT)[:2]


class LSTMCell(nn.LSTMCell):
    """:class:`torch.nn.LSTMCell` with a hand-written backward."""

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        x, states = _rows(self, input, hx, 2)
        h, c = lstm_cell(x, states, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        return (h, c) if input.dim() == 2 else (h.squeeze(0), c.squeeze(0))


def gru_step(a_ih: Tensor, a_hh: Tensor, h: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The step behind the projections: h′, and the gates (r, z, n, q)."""
    x_r, x_z, x_n = a_ih.chunk(3, 1)
    h_r, h_z, q = a_hh.chunk(3, 1)
    r, z = (x_r + h_r).sigmoid(), (x_z + h_z).sigmoid()
    n = (x_n + r * q).tanh()
    return n + z * (h - n), (r, z, n, q)


def gru_factors(gates: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a gradient of h′ is multiplied with, all known before it comes.

    Returns:
        h′ to h, on the way that does not go through the gates: z, shape (*, H).
        h′ to a_n: (1 − z) (1 − n²), shape (*, H).
        h′ to a_r, a_z, q: the same with q r (1 − r) behind it, (h − n) z (1 − z), the same with r behind it,
            shape (*, 3H).
    """
    r, z, n, q = wide(gates).chunk(4, 1)
    to_n = (1 - z) * (1 - n * n)
    to_hh = torch.cat((to_n * q * r * (1 - r), (wide(h) - n) * z * (1 - z), to_n * r), 1)
    return z, to_n, to_hh


def gru_gates_to_projections(grad_gates: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
    """What gradients of the gates (r, z, n, q) themselves add to δ_n, and to [δ_r, δ_z, δ_q]."""
    r, z, n, q = wide(gates).chunk(4, 1)
    grad_r, grad_z, grad_n, grad_q = grad_gates.chunk(4, 1)
    delta_n = grad_n * (1 - n * n)
    delta_r = (grad_r + delta_n * q) * r * (1 - r)
    return delta_n, torch.cat((delta_r, grad_z * z * (1 - z), grad_q + delta_n * r), 1)


class GRUCellFunction(Function):
    """One step of a gated recurrent unit.

    Forward    a_ih = W_ih x + b_ih and a_hh = W_hh h + b_hh, in three blocks each; the last of a_hh is q:
               r = σ(a_ih,r + a_hh,r),   z = σ(a_ih,z + a_hh,z),   n = tanh(a_ih,n + r ⊙ q)
               h′ = (1 − z) ⊙ n + z ⊙ h = n + z ⊙ (h − n)
    Backward   g = ∂L/∂h′.  By σ′ = σ (1 − σ) and tanh′ = 1 − tanh², at the arguments of σ, σ and tanh
               δ_z = g (h − n) z (1 − z),   δ_n = g (1 − z) (1 − n²)
               r reaches n through r ⊙ q:   δ_r = δ_n q r (1 − r),   δ_q = δ_n r
               δ_ih = [δ_r, δ_z, δ_n],   δ_hh = [δ_r, δ_z, δ_q],   which differ in the last block only
               h reaches h′ directly and through a_hh:   ∂L/∂h = g ⊙ z + δ_hh W_hh
               x, W and b as in RNNCell, with δ_ih for the ones and δ_hh for the others
    Shapes     x: (B, I);   h, h′, r, z, n, q: (B, H);   W_ih: (3H, I);   W_hh: (3H, H);   b: (3H) or None
    Saves      h, [r, z, n, q], and of x, W_ih, W_hh those whose partner needs a gradient. The gates are an
               output with a gradient of its own, as in LSTMCell.
    Source     Cho et al. 2014, arXiv:1406.1078, with r behind the projection as cuDNN has it
    """

    @staticmethod
    def forward(
        x: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor | None,
        bias_hh: Tensor | None,
        h: Tensor,
    ):
        h_next, gates = gru_step(linear(x, weight_ih, bias_ih), linear(h.to(x.dtype), weight_hh, bias_hh), h)
        return h_next, torch.cat(gates, 1)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight_ih, weight_hh, _, _, h = inputs
        ctx.set_materialize_grads(False)
        save_for_projections(ctx, x, None, weight_ih, weight_hh, 5, h, output[1])

    @staticmethod
    def backward(ctx, grad_h_next: Tensor | None, grad_gates: Tensor | None):
        x, _, weight_ih, weight_hh, h, gates = ctx.saved_tensors
        needs = ctx.needs_input_grad
        z, to_n, to_hh = gru_factors(gates, h)
        g = torch.zeros_like(h) if grad_h_next is None else grad_h_next
        delta_n, delta_hh = g * to_n, torch.cat((g, g, g), 1) * to_hh
        if grad_gates is not None:
            further_n, further_hh = gru_gates_to_projections(grad_gates, gates)
            delta_n, delta_hh = delta_n + further_n, delta_hh + further_hh
        delta_ih = torch.cat((delta_hh.narrow(1, 0, 2 * h.shape[1]), delta_n), 1)
        grad_h = None
        if needs[5]:
            grad_h = (g * z + delta_hh.to(gates.dtype) @ weight_hh).to(h.dtype)
        return *projection_gradients(needs, delta_ih, delta_hh, x, h, weight_ih, gates.dtype), grad_h


def gru_cell(
    input: Tensor,
    hx: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:
    """One step of a gated recurrent unit, as :func:`torch.gru_cell`.

    Args:
        input: shape (B, I).
        hx: the state, shape (B, H).
        w_ih, w_hh: shapes (3H, I) and (3H, H), in the order r, z, n.
        b_ih, b_hh: shape (3H).

    Raises:
        RuntimeError: if shapes or dtypes do not fit.
    """
    _check_cell("gru_cell", 3, input, (hx,), w_ih, w_hh, b_ih, b_hh)
    return apply(GRUCellFunction, *low(input, w_ih, w_hh, b_ih, b_hh), hx, autocast=RECURRENT)[0]


class GRUCell(nn.GRUCell):
    """:class:`torch.nn.GRUCell` with a hand-written backward."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        x, (h,) = _rows(self, input, None if hx is None else (hx,), 1)
        y = gru_cell(x, h, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        return y if input.dim() == 2 else y.squeeze(0)


def _rows(module: nn.RNNCellBase, input: Tensor, states: tuple | None, count: int) -> tuple[Tensor, tuple]:
    """Input and states of a cell with a batch axis; zeros for states that are not given."""
    name = type(module).__name__
    check_tensors(name, input=input, **{f"hx[{k}]": state for k, state in enumerate(states or ())})
    if input.dim() not in (1, 2):
        raise ValueError(
            f"{name}: expected input to be 1D or 2D, (I) or (B, I), but got {input.dim()}D, "
            f"shape {list(input.shape)}"
        )
    for k, state in enumerate(states or ()):
        if state.dim() not in (1, 2):
            which = "hx" if count == 1 else f"hx[{k}]"
            raise ValueError(
                f"{name}: expected {which} to be 1D or 2D, (H) or (B, H), but got {state.dim()}D, "
                f"shape {list(state.shape)}"
            )
    x = input if input.dim() == 2 else input.unsqueeze(0)
    if states is None:
        zeros = torch.zeros(x.shape[0], module.hidden_size, dtype=x.dtype, device=x.device)
        return x, (zeros,) * count
    return x, tuple(states) if input.dim() == 2 else tuple(state.unsqueeze(0) for state in states)


def _check_cell(
    name: str,
    blocks: int,
    input: Tensor,
    states: tuple[Tensor, ...],
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
) -> None:
    """Raise RuntimeError unless the shapes fit, and what is projected has the dtype of the weights."""
    names = ("hx",) if len(states) == 1 else ("hx[0]", "hx[1]")
    check_tensors(name, input=input, **dict(zip(names, states)), w_ih=weight_ih, w_hh=weight_hh)
    check_optional(name, b_ih=bias_ih, b_hh=bias_hh)
    hidden = weight_hh.shape[-1]
    expected = {
        "w_ih": (weight_ih, (blocks * hidden, weight_ih.shape[-1])),
        "w_hh": (weight_hh, (blocks * hidden, hidden)),
        "b_ih": (bias_ih, (blocks * hidden,)),
        "b_hh": (bias_hh, (blocks * hidden,)),
    }
    if input.dim() == 2:
        expected["input"] = input, (input.shape[0], weight_ih.shape[-1])
        expected |= {n: (state, (input.shape[0], hidden)) for n, state in zip(names, states)}
    else:
        raise IndexError(f"{name}: input must have two axes, (B, I), but has shape {list(input.shape)}")
    for argument, (tensor, shape) in expected.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise RuntimeError(
                f"{name}: {argument} must have shape {list(shape)}, but has {list(tensor.shape)} "
                f"(w_ih: {list(weight_ih.shape)}, w_hh: {list(weight_hh.shape)})"
            )
    check_same_dtype(name, input, hx=states[0], w_ih=weight_ih, w_hh=weight_hh, b_ih=bias_ih, b_hh=bias_hh)
