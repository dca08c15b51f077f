"""Draws for ``kernels/cpu/conv_batchnorm.py``."""

from __future__ import annotations

import random

import torch
from torch import nn

import manualgrad

from . import strided

__all__ = ["FUZZ"]


def block(rng: random.Random):
    ndim, groups = rng.choice([1, 2, 2, 3]), rng.choice([1, 1, 2])
    # Of one input channel and one tap u is a multiple of x, and the weight's gradient nothing but rounding.
    inputs, outputs = groups * rng.choice([2, 3]), groups * rng.choice([1, 3])
    options = {
        "stride": rng.randint(1, 2),
        "padding": rng.randint(0, 2),
        "dilation": rng.randint(1, 2),
        "groups": groups,
        "bias": rng.random() < 0.5,
    }
    affine, training, kernel = rng.random() < 0.7, rng.random() < 0.7, rng.randint(1, 3)
    size = [rng.choice([5, 6, 9]) for _ in range(ndim)]
    # No NaN: the statistics carry one to a whole channel, and with it to every weight.
    x = torch.randn(rng.choice([2, 3, 8]), inputs, *size, dtype=torch.float64)

    def build():
        conv = getattr(nn, f"Conv{ndim}d")(inputs, outputs, kernel, **options)
        norm = getattr(nn, f"BatchNorm{ndim}d")(outputs, affine=affine)
        return manualgrad.nn.ConvBatchNorm(conv, norm).train(training)

    return build, (strided(x, rng),)


FUZZ = {"ConvBatchNorm": block}
