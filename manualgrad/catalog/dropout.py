"""The rows of ``layers/dropout.py``."""

from __future__ import annotations

from ..layers import dropout
from .row import Layer, Sample
from .samples import case, real

__all__ = ["ROWS"]


def channel_dropout(
    name: str, *shapes: Sample, functional=None, functions=(dropout.DropoutFunction,)
) -> Layer:
    functional = functional or getattr(dropout, name.lower())
    cases = [case(0.4, inputs=shape) for shape in shapes]
    cases += [case(p, inputs=shapes[0]) for p in (0.0, 1.0)] + [case(0.4, inputs=shapes[0], training=False)]
    module = getattr(dropout, name)
    return Layer(module, functions, functional, tuple(cases), saves_no_input=True, random=True)


ALPHA = (dropout.AlphaDropoutFunction, dropout.DropoutFunction)


ROWS: tuple[Layer, ...] = (
    channel_dropout("Dropout", real(4, 5), real(2, 3, 4), real(), real(0, 5)),
    channel_dropout("Dropout1d", real(2, 4, 3), real(4, 3), real(0, 4, 3)),
    channel_dropout("Dropout2d", real(2, 4, 2, 3), real(0, 4, 2, 3)),
    channel_dropout("Dropout3d", real(2, 4, 2, 2, 2), real(4, 2, 2, 2), real(0, 4, 2, 2, 2)),
    channel_dropout(
        "AlphaDropout",
        real(4, 5),
        real(2, 3, 2, 2),
        real(),
        real(0, 5),
        functional=dropout.alpha_dropout,
        functions=ALPHA,
    ),
    channel_dropout(
        "FeatureAlphaDropout",
        real(4, 5),
        real(2, 3, 2, 2),
        real(0, 5),
        functional=dropout.feature_alpha_dropout,
        functions=ALPHA,
    ),
)
