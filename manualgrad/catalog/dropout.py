"""The rows of ``layers/dropout.py``."""

from __future__ import annotations

from ..layers import dropout
from .row import Layer, Sample
from .samples import case, real

__all__ = ["ROWS"]


FEATURES = (real(128, 512), real(16, 196, 384), real(8, 1024, 768))
SEQUENCES = (real(128, 32, 49), real(32, 256, 196), real(16, 384, 1024))
IMAGES = (real(128, 32, 14, 14), real(128, 32, 28, 28), real(8, 64, 112, 112))
VOLUMES = (real(16, 16, 8, 14, 14), real(8, 32, 8, 28, 28), real(4, 32, 16, 56, 56))


def channel_dropout(
    name: str,
    *shapes: Sample,
    sizes: tuple[Sample, ...],
    functional=None,
    functions=(dropout.DropoutFunction,),
) -> Layer:
    functional = functional or getattr(dropout, name.lower())
    cases = [case(0.4, inputs=shape) for shape in shapes]
    cases += [case(p, inputs=shapes[0]) for p in (0.0, 1.0)] + [case(0.4, inputs=shapes[0], training=False)]
    module = getattr(dropout, name)
    timed = tuple(case(0.4, inputs=shape) for shape in sizes)
    return Layer(module, functions, functional, tuple(cases), saves_no_input=True, random=True, sizes=timed)


ALPHA = (dropout.AlphaDropoutFunction, dropout.DropoutFunction)


ROWS: tuple[Layer, ...] = (
    channel_dropout("Dropout", real(4, 5), real(2, 3, 4), real(), real(0, 5), sizes=FEATURES),
    channel_dropout("Dropout1d", real(2, 4, 3), real(4, 3), real(0, 4, 3), sizes=SEQUENCES),
    channel_dropout("Dropout2d", real(2, 4, 2, 3), real(0, 4, 2, 3), sizes=IMAGES),
    channel_dropout("Dropout3d", real(2, 4, 2, 2, 2), real(4, 2, 2, 2), real(0, 4, 2, 2, 2), sizes=VOLUMES),
    channel_dropout(
        "AlphaDropout",
        real(4, 5),
        real(2, 3, 2, 2),
        real(),
        real(0, 5),
        sizes=FEATURES,
        functional=dropout.alpha_dropout,
        functions=ALPHA,
    ),
    channel_dropout(
        "FeatureAlphaDropout",
        real(4, 5),
        real(2, 3, 2, 2),
        real(0, 5),
        sizes=IMAGES,
        functional=dropout.feature_alpha_dropout,
        functions=ALPHA,
    ),
)
