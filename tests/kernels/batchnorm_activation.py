"""Draws for ``kernels/cpu/batchnorm_activation.py``."""

from __future__ import annotations

import random

import torch
from torch import nn

import manualgrad

from . import special, strided

__all__ = ["FUZZ"]


def batch_norm_activation(rng: random.Random):
    ndim, channels = rng.choice([1, 2, 2, 3]), rng.choice([1, 2, 5])
    shape = [rng.choice([0, 1, 2, 3]), channels, *(rng.choice([1, 2, 5, 6, 9]) for _ in range(ndim))]
    options = {"affine": rng.random() < 0.7, "eps": rng.choice([1e-5, 0.1])}
    bend = rng.choice([None, nn.ReLU(), nn.ReLU(), nn.Identity(), nn.LeakyReLU(0.2)])
    window = rng.choice([None, 2, tuple(rng.choice([1, 2, 3]) for _ in range(ndim))])
    if window is not None and any(length < 3 for length in shape[2:]):
        window = None
    training = rng.random() < 0.6
    x = torch.randn(shape, dtype=torch.float64)
    inputs = [strided(special(x, rng), rng)]
    if rng.random() < 0.4:
        inputs.append(strided(special(torch.randn(shape, dtype=torch.float64), rng), rng))

    def build() -> nn.Module:
        layers = [getattr(nn, f"BatchNorm{ndim}d")(channels, **options)]
        layers += [] if bend is None else [bend]
        layers += [] if window is None else [getattr(nn, f"MaxPool{ndim}d")(window)]
        return manualgrad.nn.BatchNormActivation(*layers).train(training)

    return build, tuple(inputs)


FUZZ = {"BatchNormActivation": batch_norm_activation}
