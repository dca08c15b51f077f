"""What the tables cannot say of recurrent layers: dropout's numbers, packing, two ways to call, errors."""

import pytest
import torch
from rows import gradients
from test_backward_source import Operators
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence, pad_packed_sequence
from torch.testing import assert_close

import manualgrad
from manualgrad import nn
from manualgrad.catalog import tensors_of
from manualgrad.layers import rnn, rnn_cell
from manualgrad.layers._network import OF_TENSOR

EXACT = {"rtol": 1e-10, "atol": 1e-10}
NAMES = ("RNN", "LSTM", "GRU")


def both(name, *args, **kwargs):
    """Torch's module and ours, with the same weights in float64."""
    for names in (torch.nn, nn):
        torch.manual_seed(0)
        yield getattr(names, name)(*args, **kwargs).double()


def outcome(module, input, *states):
    torch.manual_seed(1)
    outputs = tensors_of(module(input, *states))
    wanted = [t for t in (*tensors_of((input, states)), *module.parameters()) if t.requires_grad]
    return outputs, gradients(outputs, wanted)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "batch_first": True}], ids=str)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dropout", [0.4, 1.0])
def test_dropout_draws_torchs_numbers(name, options, packed, dropout):
    found = []
    for module in both(name, 3, 4, num_layers=3, dropout=dropout, **options):
        x = torch.randn(3, 3, 3, dtype=torch.float64, requires_grad=True)
        data = pack_padded_sequence(x, [3, 2, 2], options.get("batch_first", False)) if packed else x
        found.append(outcome(module, data))
    assert_close(found[1], found[0], **EXACT)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [[4, 4, 3, 1], [1, 3, 4, 3], [2, 2, 2, 2]], ids=str)
def test_padded_packed_and_back(name, bidirectional, lengths):
    found = []
    for module in both(name, 3, 5, num_layers=2, bidirectional=bidirectional):
        x = torch.randn(4, 4, 3, dtype=torch.float64, requires_grad=True)
        states = torch.randn(2, 4 if bidirectional else 2, 4, 5, dtype=torch.float64, requires_grad=True)
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        output, last = module(packed, tuple(states) if name == "LSTM" else states[0])
        assert type(output) is PackedSequence
        outputs = (*pad_packed_sequence(output), *tensors_of(last))
        found.append((outputs, gradients(outputs, [x, states, *module.parameters()])))
    assert_close(found[1], found[0], **EXACT)


def test_sorted_sequences_have_no_permutation():
    for module in both("GRU", 2, 3):
        packed = pack_sequence([torch.ones(3, 2).double(), torch.ones(1, 2).double()])
        output, last = module(packed)
        assert output.sorted_indices is None
        assert_close(pad_packed_sequence(output)[0][0, 1], last[0, 1], rtol=0, atol=0)


def test_a_sample_does_not_feel_the_padding():
    """Packed, each sample ends where it would if it were read alone."""
    for name in NAMES:
        module = nn.__dict__[name](2, 3, bidirectional=True).double()
        samples = [torch.randn(length, 2, dtype=torch.float64) for length in (2, 5, 1)]
        _, last = module(pack_sequence(samples, enforce_sorted=False))
        for k, sample in enumerate(samples):
            alone = tensors_of(module(sample)[1])
            assert_close([state[:, k] for state in tensors_of(last)], list(alone), **EXACT)


@pytest.mark.parametrize("name", ["rnn_tanh", "rnn_relu", "lstm", "gru"])
def test_functionals_take_both_forms(name):
    module = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(name, torch.nn.RNN)(2, 3).double()
    weights = list(module.parameters())
    state = torch.randn(1, 3, 3, dtype=torch.float64, requires_grad=True)
    hx = [state, 2 * state.detach()] if name == "lstm" else state
    x = torch.randn(4, 3, 2, dtype=torch.float64, requires_grad=True)
    rows = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    sizes = torch.tensor([3, 2, 1])
    found = []
    for function in (getattr(torch, name), getattr(rnn, name)):
        outputs = (
            *function(x, hx, weights, True, 1, 0.0, True, False, False),
            *function(rows, sizes, hx, weights, True, 1, 0.0, True, False),
        )
        found.append((outputs, gradients(outputs, [x, rows, state, *weights])))
    assert_close(found[1], found[0], **EXACT)
    kwargs = dict(zip(OF_TENSOR, (x, hx, weights, True, 1, 0.0, True, False, False)))
    assert_close(getattr(rnn, name)(**kwargs), found[1][0][: len(found[1][0]) // 2], rtol=0, atol=0)


@pytest.mark.parametrize("name", ["rnn_tanh_cell", "rnn_relu_cell", "lstm_cell", "gru_cell"])
def test_cell_functionals(name):
    blocks = {"lstm_cell": 4, "gru_cell": 3}.get(name, 1)
    shapes = [(5, 2), (5, 3), (3 * blocks, 2), (3 * blocks, 3), (3 * blocks,), (3 * blocks,)]
    x, h, *weights = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]
    hx = (h, h) if name == "lstm_cell" else h
    found = []
    for function in (getattr(torch, name), getattr(rnn_cell, name)):
        outputs = tensors_of(function(x, hx, *weights))
        found.append((outputs, gradients(outputs, [x, h, *weights])))
    assert_close(found[1], found[0], **EXACT)


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_contracted_once_for_all_steps(name):
    """A matrix product a step, δ_t W_hh; and one each for the gradients of x, W_ih and W_hh."""
    steps = 7
    module = nn.__dict__[name](2, 3)
    output, _ = module(torch.randn(steps, 4, 2, requires_grad=True))
    with Counted() as seen:
        output.sum().backward()
    assert seen.products == steps + 3


class Counted(Operators):
    """How many matrix products run inside."""

    products = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.products += func.name() in ("aten::mm", "aten::addmm")
        return super().__torch_dispatch__(func, types, args, kwargs)


@pytest.mark.parametrize("name", NAMES)
def test_results_may_be_overwritten(name):
    """As with torch, by a dropout or an activation in place, or by a mask of the states."""
    found = []
    for module in both(name, 2, 3):
        x = torch.ones(4, 2, 2, dtype=torch.float64, requires_grad=True)
        output, last = module(x)
        before = [state.clone() for state in tensors_of(last)]
        output.mul_(2)
        assert_close(list(tensors_of(last)), before, rtol=0, atol=0)
        for state in tensors_of(last):
            state.mul_(3)
        outputs = (output, *tensors_of(last))
        found.append((outputs, gradients(outputs, [x, *module.parameters()])))
    assert_close(found[1], found[0], **EXACT)


class Doubled(torch.nn.Module):
    def forward(self, weight):
        return 2 * weight


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_read_where_they_are(name):
    """Replaced, tied or parametrized weights count, not a list that was made before."""
    x = torch.randn(3, 2, 3, dtype=torch.float64)
    found = []
    for module in both(name, 3, 3, num_layers=2):
        module.weight_ih_l0 = torch.nn.Parameter(3 * module.weight_ih_l0.detach())
        module.weight_hh_l1 = module.weight_hh_l0
        parametrize.register_parametrization(module, "weight_ih_l1", Doubled())
        found.append(outcome(module, x))
    assert_close(found[1], found[0], **EXACT)


def test_swap_keeps_flat_weights():
    module = torch.nn.LSTM(2, 3)
    flat = list(module._flat_weights)
    manualgrad.swap(module)
    assert type(module) is nn.LSTM
    module(torch.randn(2, 1, 2))
    module.flatten_parameters()
    assert all(a is b for a, b in zip(flat, module._flat_weights))
    manualgrad.unswap(module)
    assert type(module) is torch.nn.LSTM


X, PACKED = torch.randn(3, 2, 2), PackedSequence(torch.randn(3, 2), torch.tensor([2, 1]))
LSTM_WEIGHTS = [torch.randn(12, 2), torch.randn(12, 3)]
STATE = torch.randn(1, 2, 3)
REST = (False, 1, 0.0, True, False, False)
ERRORS = {
    "rnn: axes": (lambda names, F: names.RNN(2, 3)(X[None]), r"RNN: expected input.*4D.*\[1, 3, 2, 2\]"),
    "gru: features": (
        lambda names, F: names.GRU(4, 3)(X),
        r"GRU: input.size\(-1\).*input_size=4.*\[3, 2, 2\]",
    ),
    "lstm: dtype": (lambda names, F: names.LSTM(2, 3)(X.double()), r"LSTM: the input is torch.float64"),
    "lstm: h": (
        lambda names, F: names.LSTM(2, 3)(X, (STATE[..., :2], STATE)),
        r"LSTM: expected hx\[0\].*\(1, 2, 3\).*\[1, 2, 2\]",
    ),
    "lstm: c": (
        lambda names, F: names.LSTM(2, 3, proj_size=1)(X, (STATE[..., :1], STATE[..., 1:])),
        r"hx\[1\]",
    ),
    "rnn: batch": (lambda names, F: names.RNN(2, 3)(X, STATE[:, :1]), r"RNN: expected hx.*\[1, 1, 3\]"),
    "gru: state axes": (lambda names, F: names.GRU(2, 3)(X, STATE[0]), "should also be 3-D"),
    "gru: unbatched state": (lambda names, F: names.GRU(2, 3)(X[0], STATE), "should also be 2-D"),
    "gru: no step": (
        lambda names, F: names.GRU(2, 3)(X[:0]),
        "gru: the sequence must have at least one step",
    ),
    "gru: packed features": (lambda names, F: names.GRU(4, 3)(PACKED), r"input_size=4.*\[3, 2\]"),
    "rnn: packed state": (lambda names, F: names.RNN(2, 3)(PACKED, STATE[:, :1]), r"\(1, 2, 3\)"),
    "rnn cell: features": (
        lambda names, F: names.RNNCell(4, 3)(X[0]),
        "rnn_tanh_cell: input must have shape",
    ),
    "gru cell: hidden": (
        lambda names, F: names.GRUCell(2, 4)(X[0], STATE[0]),
        "gru_cell: hx must have shape",
    ),
    "lstm cell: batch": (
        lambda names, F: names.LSTMCell(2, 3)(X[0], (STATE[0], STATE[0, :1])),
        r"lstm_cell: hx\[1\] must have shape \[2, 3\], but has \[1, 3\]",
    ),
    "lstm cell: axes": (lambda names, F: names.LSTMCell(2, 3)(X), "LSTMCell: expected input.*3D"),
    "rnn cell: state axes": (lambda names, F: names.RNNCell(2, 3)(X[0], STATE), "RNNCell: expected hx.*3D"),
    "gru cell: dtype": (
        lambda names, F: names.GRUCell(2, 3)(X[0].double()),
        "gru_cell: the input is torch.float64",
    ),
    "rnn cell: nonlinearity": (
        lambda names, F: names.RNNCell(2, 3, nonlinearity="gelu")(X[0]),
        "'gelu' must be 'tanh' or 'relu'|Unknown nonlinearity",
    ),
    "lstm: one state": (lambda names, F: F.lstm(X, [STATE], LSTM_WEIGHTS, *REST), "two hidden states"),
    "lstm: weights": (lambda names, F: F.lstm(X, [STATE] * 2, LSTM_WEIGHTS[:1], *REST), "expected 2 weights"),
    "lstm: arguments": (lambda names, F: F.lstm(X, [STATE] * 2, LSTM_WEIGHTS), "expected the arguments"),
    "gru: shape of a weight": (
        lambda names, F: F.gru(X, STATE, LSTM_WEIGHTS, *REST),
        r"gru: W_ih of layer and direction 0 must have shape \[9, 2\]",
    ),
    "gru cell: shape of a weight": (lambda names, F: F.gru_cell(X[0], STATE[0], *LSTM_WEIGHTS), "w_ih"),
}


class Ours:
    rnn_tanh, lstm, gru, gru_cell = rnn.rnn_tanh, rnn.lstm, rnn.gru, rnn_cell.gru_cell


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_of_torchs_type(name):
    call, message = ERRORS[name]
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        call(torch.nn, torch)
    with pytest.raises(theirs.type, match=message):
        call(nn, Ours)


def test_a_long_memory():
    """With f near 1 and i near 0, c comes through 200 steps as it was, and so does its gradient."""
    module = nn.LSTM(1, 1).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module.bias_ih_l0.copy_(torch.tensor([-50.0, 50.0, 0.0, 0.0]))
    c = torch.full((1, 1, 1), 0.7, dtype=torch.float64, requires_grad=True)
    _, (_, last) = module(torch.randn(200, 1, 1, dtype=torch.float64), (torch.zeros_like(c), c))
    assert_close(last, c)
    assert_close(torch.autograd.grad(last.sum(), c)[0], torch.ones_like(c))


@pytest.mark.parametrize("name", NAMES)
def test_backward_inside_of_autocast(name):
    """As after a forward that was outside of it, or where it was off."""
    torch.manual_seed(0)
    module, x = getattr(nn, name)(4, 5), torch.randn(6, 3, 4, requires_grad=True)
    tensors = [x, *module.parameters()]
    y = module(x)[0].sin().sum()
    expected = torch.autograd.grad(y, tensors, retain_graph=True)
    with torch.autocast("cpu", torch.bfloat16):
        got = torch.autograd.grad(y, tensors)
    assert_close(got, expected, rtol=5e-2, atol=5e-2)
