"""The rows of ``layers/rnn.py``."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from ..layers import arithmetic, rnn
from .row import Layer
from .samples import call, case, given, index, real

__all__ = ["ROWS"]


def two_states(x: Tensor, h: Tensor, c: Tensor) -> tuple:
    """The states as one argument."""
    return x, (h, c)


def packed(data: Tensor, *states: Tensor) -> tuple:
    """Samples of 3, 2 and 1 steps, packed, and the states as one argument."""
    return PackedSequence(data, torch.tensor([3, 2, 1])), *as_one(states)


def packed_unsorted(data: Tensor, *states: Tensor) -> tuple:
    """The same for samples of 2, 1 and 3 steps."""
    order, back = torch.tensor([2, 0, 1]), torch.tensor([1, 2, 0])
    return PackedSequence(data, torch.tensor([3, 2, 1]), order, back), *as_one(states)


def as_one(states: tuple[Tensor, ...]) -> tuple:
    """No argument, or one."""
    return states if len(states) < 2 else (states,)


UNKNOWN_SHAPES = {
    "test_compile_fullgraph": "shapes follow from a packed sequence's lengths, which are values of a tensor"
}
PACKED = {"arrange": packed, "cannot": UNKNOWN_SHAPES}
UNSORTED = {"arrange": packed_unsorted, "cannot": UNKNOWN_SHAPES}


def by_rows(x: Tensor, index: Tensor) -> tuple:
    """Chosen rows."""
    return x, 0, index


def by_columns(x: Tensor, index: Tensor) -> tuple:
    """Chosen columns."""
    return x, -1, index


COMPILING = "torch.compile takes it, as it takes torch's, with torch._dynamo.config.allow_rnn = True"

SIZES = (
    case(28, 128, batch_first=True, inputs=real(128, 28, 28)),
    case(128, 256, inputs=real(50, 64, 128)),
)

# Dropout is in eval mode here: its numbers depend on the dtype. tests/test_rnn.py compares them.
ROWS: tuple[Layer, ...] = (
    Layer(
        rnn.RNN,
        (rnn.RNNFunction, arithmetic.IndexSelectFunction),
        rnn.rnn_tanh,
        (
            case(2, 2, inputs=(real(3, 2, 2), real(1, 2, 2))),
            case(2, 2, nonlinearity="relu", bias=False, batch_first=True, inputs=real(2, 3, 2)),
            case(1, 1, 2, bidirectional=True, dropout=0.4, inputs=real(2, 1), training=False),
            case(2, 1, bidirectional=True, inputs=(real(6, 2), real(2, 3, 1)), **UNSORTED),
            case(1, 2, inputs=real(6, 1), **PACKED),
            case(2, 2, inputs=real(3, 0, 2)),
        ),
        note=COMPILING,
        sizes=(*SIZES, case(256, 512, inputs=real(6, 128, 256))),
    ),
    Layer(
        rnn.LSTM,
        (rnn.LSTMFunction,),
        rnn.lstm,
        (
            case(2, 2, inputs=(real(3, 2, 2), real(1, 2, 2), real(1, 2, 2)), arrange=two_states),
            case(1, 3, proj_size=2, batch_first=True, inputs=real(2, 3, 1)),
            case(1, 1, 2, bidirectional=True, dropout=0.4, bias=False, inputs=real(2, 1), training=False),
            case(
                *(1, 2),
                bidirectional=True,
                proj_size=1,
                bias=False,
                inputs=(real(6, 1), real(2, 3, 1), real(2, 3, 2)),
                **UNSORTED,
            ),
            case(1, 1, inputs=real(6, 1), **PACKED),
            case(2, 2, inputs=real(3, 0, 2)),
        ),
        note=COMPILING,
        sizes=(*SIZES, case(256, 512, inputs=real(16, 64, 256))),
    ),
    Layer(
        rnn.GRU,
        (rnn.GRUFunction,),
        rnn.gru,
        (
            case(2, 2, inputs=(real(3, 2, 2), real(1, 2, 2))),
            case(1, 1, 2, bidirectional=True, dropout=0.4, inputs=real(2, 1), training=False),
            case(2, 2, bias=False, batch_first=True, inputs=real(2, 3, 2)),
            case(1, 1, bidirectional=True, inputs=(real(6, 1), real(2, 3, 1)), **UNSORTED),
            case(2, 2, inputs=real(3, 0, 2)),
        ),
        note=COMPILING,
        sizes=(*SIZES, case(256, 512, inputs=real(35, 20, 256))),
    ),
    Layer(
        None,
        (arithmetic.IndexSelectFunction,),
        arithmetic.index_select,
        (
            call(real(4, 3), given(2, 0, 2), arrange=by_rows),
            call(real(2, 3), given(1, 2, 0), arrange=by_columns),
            call(real(0, 3), given(1, 2), arrange=by_columns),
        ),
        sizes=(
            call(real(49, 128, 64), index(49, high=49), arrange=by_rows),
            call(real(8192, 256), index(2048, high=8192), arrange=by_rows),
            call(real(8192, 768), index(8192, high=8192), arrange=by_rows),
        ),
    ),
)
