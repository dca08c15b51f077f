"""The row of ``layers/batchnorm_activation.py``."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from ..layers import batchnorm_activation
from .row import Layer
from .samples import case, real

__all__ = ["ROWS"]


class Sequential(nn.Sequential):
    """Torch's modules one after the other, a residual added behind the first one."""

    def forward(self, input: Tensor, residual: Tensor | None = None) -> Tensor:
        norm, *others = self
        y = norm(input)
        y = y if residual is None else y + residual
        for layer in others:
            y = layer(y)
        return y


def norm(ndim: int = 2, channels: int = 2, **options) -> partial:
    return partial(getattr(nn, f"BatchNorm{ndim}d"), channels, **options)


def pool(ndim: int = 2, kernel: int | tuple[int, ...] = 2, **options) -> partial:
    return partial(getattr(nn, f"MaxPool{ndim}d"), kernel, **options)


RELU, LEAKY = partial(nn.ReLU), partial(nn.LeakyReLU, 0.2)
IMAGE, ODD = real(3, 2, 4, 4), real(3, 2, 5, 7)

ROWS: tuple[Layer, ...] = (
    Layer(
        batchnorm_activation.BatchNormActivation,
        (
            batchnorm_activation.BatchNormActivationFunction,
            batchnorm_activation.BatchNormActivationEvalFunction,
        ),
        batchnorm_activation.batch_norm_activation,
        (
            *(case(norm(), RELU, pool(), inputs=IMAGE, training=mode) for mode in (True, False)),
            *(case(norm(), RELU, inputs=IMAGE, training=mode) for mode in (True, False)),
            *(case(norm(), RELU, inputs=(IMAGE, IMAGE), training=mode) for mode in (True, False)),
            *(case(norm(), RELU, pool(), inputs=(IMAGE, IMAGE), training=mode) for mode in (True, False)),
            *(case(norm(), LEAKY, pool(kernel=(2, 3)), inputs=ODD, training=mode) for mode in (True, False)),
            case(norm(), LEAKY, inputs=IMAGE),
            case(norm(), pool(kernel=(2, 1)), inputs=ODD),
            case(norm(), inputs=(IMAGE, IMAGE)),
            case(norm(affine=False), partial(nn.Identity), pool(), inputs=IMAGE),
            case(norm(track_running_stats=False), RELU, inputs=IMAGE, training=False),
            case(norm(momentum=None, eps=1e-3), RELU, pool(stride=2), inputs=IMAGE),
            case(norm(1), RELU, inputs=real(5, 2)),
            case(norm(1), RELU, pool(1, 3), inputs=real(3, 2, 8)),
            case(norm(3), RELU, pool(3), inputs=real(2, 2, 2, 4, 3)),
            case(norm(3), RELU, inputs=real(2, 2, 2, 2, 3)),
        ),
        edges=tuple(case(norm(), RELU, pool(), inputs=real(0, 2, 4, 4), training=m) for m in (True, False)),
        counterpart=Sequential,
        sizes=(
            case(norm(channels=16), RELU, pool(), inputs=real(128, 16, 28, 28)),
            case(norm(channels=32), RELU, pool(), inputs=real(128, 32, 14, 14)),
            case(norm(channels=64), RELU, inputs=real(16, 64, 56, 56)),
            case(norm(channels=64), RELU, inputs=(real(16, 64, 56, 56), real(16, 64, 56, 56))),
        ),
    ),
)
