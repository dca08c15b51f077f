"""The rows of ``layers/rnn_cell.py``."""

from __future__ import annotations

from torch import Tensor

from ..layers import rnn_cell
from .row import Layer
from .samples import case, real

__all__ = ["ROWS"]


def two_states(x: Tensor, h: Tensor, c: Tensor) -> tuple:
    """The states as one argument."""
    return x, (h, c)


SIZES = (
    case(28, 128, inputs=(real(128, 28), real(128, 128))),
    case(128, 256, inputs=(real(64, 128), real(64, 256))),
    case(256, 512, inputs=(real(256, 256), real(256, 512))),
)

ROWS: tuple[Layer, ...] = (
    Layer(
        rnn_cell.RNNCell,
        (rnn_cell.RNNCellFunction,),
        rnn_cell.rnn_tanh_cell,
        (
            case(2, 2, inputs=(real(3, 2), real(3, 2))),
            case(2, 3, nonlinearity="relu", inputs=(real(3, 2), real(3, 3))),
            case(2, 3, bias=False, inputs=real(3, 2)),
            case(2, 3, inputs=(real(2), real(3))),
            case(2, 3, inputs=(real(0, 2), real(0, 3))),
        ),
        sizes=SIZES,
    ),
    Layer(
        rnn_cell.LSTMCell,
        (rnn_cell.LSTMCellFunction,),
        rnn_cell.lstm_cell,
        (
            case(2, 2, inputs=(real(3, 2), real(3, 2), real(3, 2)), arrange=two_states),
            case(2, 3, bias=False, inputs=real(3, 2)),
            case(2, 3, inputs=(real(2), real(3), real(3)), arrange=two_states),
            case(2, 3, inputs=real(0, 2)),
        ),
        sizes=(
            case(28, 128, inputs=real(128, 28)),
            case(128, 256, inputs=real(64, 128)),
            case(256, 512, inputs=real(256, 256)),
        ),
    ),
    Layer(
        rnn_cell.GRUCell,
        (rnn_cell.GRUCellFunction,),
        rnn_cell.gru_cell,
        (
            case(2, 2, inputs=(real(3, 2), real(3, 2))),
            case(2, 3, bias=False, inputs=real(3, 2)),
            case(2, 3, inputs=(real(2), real(3))),
            case(2, 3, inputs=real(0, 2)),
        ),
        sizes=SIZES,
    ),
)
