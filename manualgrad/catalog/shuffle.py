"""The rows of ``layers/shuffle.py``."""

from __future__ import annotations

from ..layers import shuffle
from .row import Layer
from .samples import case, real

__all__ = ["ROWS"]

NO_EMPTY = {"test_empty_batch": "torch gives wrong shapes or no gradient: see tests/test_shuffle.py"}

ROWS: tuple[Layer, ...] = (
    Layer(
        shuffle.PixelShuffle,
        (shuffle.PixelShuffleFunction,),
        shuffle.pixel_shuffle,
        (
            case(2, inputs=real(2, 4, 2, 3)),
            case(3, inputs=real(9, 1, 2)),
            case(1, inputs=real(2, 1, 2, 3)),
            case(2, inputs=real(2, 1, 4, 1, 2), cannot=NO_EMPTY),
        ),
        saves_no_input=True,
        sizes=(
            case(2, inputs=real(32, 16, 14, 14)),
            case(2, inputs=real(16, 256, 28, 28)),
            case(4, inputs=real(8, 256, 56, 56)),
        ),
    ),
    Layer(
        shuffle.PixelUnshuffle,
        (shuffle.PixelUnshuffleFunction,),
        shuffle.pixel_unshuffle,
        (
            case(2, inputs=real(2, 1, 4, 6)),
            case(3, inputs=real(2, 3, 6)),
            case(1, inputs=real(2, 1, 2, 3)),
            case(2, inputs=real(2, 1, 1, 2, 4), cannot=NO_EMPTY),
        ),
        saves_no_input=True,
        sizes=(
            case(2, inputs=real(128, 1, 28, 28)),
            case(2, inputs=real(16, 64, 56, 56)),
            case(4, inputs=real(8, 16, 224, 224)),
        ),
    ),
    Layer(
        shuffle.ChannelShuffle,
        (shuffle.ChannelShuffleFunction,),
        shuffle.channel_shuffle,
        (
            case(2, inputs=real(2, 6, 2, 3)),
            case(3, inputs=real(2, 6, 2)),
            case(1, inputs=real(2, 3, 2)),
            case(2, inputs=real(1, 4, 1, 2, 2)),
            case(2, inputs=real(0, 4, 2, 2)),
        ),
        saves_no_input=True,
        sizes=(
            case(2, inputs=real(32, 16, 14, 14)),
            case(3, inputs=real(32, 240, 28, 28)),
            case(2, inputs=real(32, 116, 56, 56)),
        ),
    ),
)
