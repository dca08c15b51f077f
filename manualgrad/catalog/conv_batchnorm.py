"""The row of ``layers/conv_batchnorm.py``."""

from __future__ import annotations

from functools import partial

from torch import nn

from ..layers import conv_batchnorm
from .row import Layer
from .samples import case, plane, real

__all__ = ["ROWS"]


class Sequential(nn.Sequential):
    """Torch's modules one after the other."""


def conv(ndim: int, *args, **options) -> partial:
    return partial(getattr(nn, f"Conv{ndim}d"), *args, **options)


def norm(ndim: int, channels: int, **options) -> partial:
    return partial(getattr(nn, f"BatchNorm{ndim}d"), channels, **options)


IMAGE = plane(2, 2, 2)
LAYERS = (
    (conv(2, 2, 3, 3), norm(2, 3)),
    (conv(2, 2, 4, 3, stride=2, padding=1, groups=2), norm(2, 4, affine=False)),
    (conv(2, 2, 2, (1, 2), dilation=2, bias=False), norm(2, 2, momentum=None, eps=1e-3)),
)

ROWS: tuple[Layer, ...] = (
    Layer(
        conv_batchnorm.ConvBatchNorm,
        (conv_batchnorm.ConvBatchNormFunction, conv_batchnorm.ConvBatchNormEvalFunction),
        conv_batchnorm.conv_batch_norm,
        (
            *(case(*layers, inputs=IMAGE, training=mode) for layers in LAYERS for mode in (True, False)),
            case(conv(2, 2, 2, 2), norm(2, 2, track_running_stats=False), inputs=IMAGE, training=False),
            case(conv(1, 2, 3, 2, padding=1), norm(1, 3), inputs=plane(1, 2, 2)),
            case(conv(3, 2, 2, 2, padding=1), norm(3, 2), inputs=plane(3, 2, 2)),
        ),
        edges=tuple(case(*LAYERS[0], inputs=real(0, 2, 4, 4), training=mode) for mode in (True, False)),
        counterpart=Sequential,
        sizes=(
            case(conv(2, 16, 32, 3, padding=1), norm(2, 32), inputs=real(128, 16, 14, 14)),
            case(conv(2, 32, 64, 3, padding=1), norm(2, 64), inputs=real(16, 32, 56, 56)),
            case(conv(2, 3, 64, 7, stride=2, padding=3), norm(2, 64), inputs=real(4, 3, 224, 224)),
        ),
    ),
)
