"""Tables for ``layers/conv_batchnorm.py`` and ``layers/batchnorm_activation.py``, which torch has not."""

import torch

from manualgrad.layers.batchnorm_activation import batch_norm_activation
from manualgrad.layers.conv_batchnorm import conv_batch_norm

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def statistics(training: bool, channels: int, like: torch.Tensor) -> tuple:
    """Arguments of a batch norm that follow its input, and the mode."""
    mean, var = torch.full((channels,), 0.3, dtype=like.dtype), torch.full((channels,), 1.7, dtype=like.dtype)
    return mean, var, 1 + mean, -mean, training


def convolved(training: bool, **options):
    """The block where F is ours, and the two functions that it stands for where F is torch's."""

    def call(F, x):
        image, weight, bias = x.unsqueeze(1), x[:2, None, :3].detach(), x[0, :2].detach()
        rest = statistics(training, 2, x)
        if F.__name__.startswith("torch"):
            return F.batch_norm(F.conv1d(image, weight, bias, **options), *rest)
        return conv_batch_norm(image, weight, bias, *rest, **options)

    return call


def activated(training: bool, slope: float, residual: bool, window: tuple[int, ...] = ()):
    def call(F, x):
        image, beside = x.reshape(3, 2, 2), x.flip(0).reshape(3, 2, 2) if residual else None
        rest = statistics(training, 2, x)
        if not F.__name__.startswith("torch"):
            options = {"residual": beside, "negative_slope": slope, "window": window}
            return batch_norm_activation(image, *rest, **options)
        y = F.batch_norm(image, *rest)
        y = F.leaky_relu(y if beside is None else y + beside, slope)
        return F.max_pool1d(y, window[0]) if window else y

    return call


MODES = {"training": True, "eval": False}
SAME = {
    f"conv_batch_norm: {options} {name}": convolved(mode, **options)
    for name, mode in MODES.items()
    for options in ({}, {"stride": 2, "padding": 2}, {"dilation": 2, "padding": 1})
} | {
    f"batch_norm_activation: slope {slope} residual {residual} window {window} {name}": activated(
        mode, slope, residual, window
    )
    for name, mode in MODES.items()
    for slope, residual in ((0.0, False), (0.0, True), (0.2, False), (1.0, True))
    for window in ((), (2,))
}
