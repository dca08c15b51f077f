"""Draws for ``kernels/cpu/dropout.py``."""

from __future__ import annotations

import random

import torch

from manualgrad import nn

from . import special, strided
from .activations import shape

__all__ = ["FUZZ"]


def dropout(layer):
    def draw(rng: random.Random):
        p = rng.choice([0, 0.1, 0.5, 1 / 3, 0.9, 1])
        # So that drawing begins anywhere in a batch of the generator's numbers.
        torch.rand(rng.choice([0, 1, 2, 622, 623, 624]))
        x = special(torch.randn(shape(rng), dtype=torch.float64), rng)
        return lambda: layer(p), (strided(x, rng),)

    return draw


def channels(layer, axes):
    def draw(rng: random.Random):
        p = rng.choice([0, 0.1, 0.5, 1 / 3, 0.9, 1])
        x = special(torch.randn([rng.randint(0, 4) for _ in range(axes)], dtype=torch.float64), rng)
        return lambda: layer(p), (strided(x, rng),)

    return draw


FUZZ = {
    "Dropout": dropout(nn.Dropout),
    "AlphaDropout": dropout(nn.AlphaDropout),
    "Dropout1d": channels(nn.Dropout1d, 3),
    "Dropout2d": channels(nn.Dropout2d, 4),
    "FeatureAlphaDropout": channels(nn.FeatureAlphaDropout, 4),
}
