"""Draws for ``kernels/cpu/conv.py``."""

from __future__ import annotations

import random

import torch

from manualgrad import nn

from . import special, strided

__all__ = ["FUZZ"]


def convolution(ndim: int):
    def draw(rng: random.Random):
        groups = rng.choice([1, 1, 2])
        inputs, outputs = groups * rng.choice([1, 1, 2, 3, 4]), groups * rng.choice([1, 2, 3])
        plain = rng.random() < 0.6
        kernel = [3] * ndim if rng.random() < 0.3 else [rng.randint(1, 5 - ndim) for _ in range(ndim)]
        options = {
            "stride": 1 if plain else rng.randint(1, 3),
            "padding": [rng.randint(0, 3) for _ in range(ndim)],
            "dilation": 1 if plain else rng.randint(1, 2),
            "groups": groups,
            "bias": rng.random() < 0.5,
        }
        size = [rng.choice([1, 4, 5, 9, 17][: 7 - ndim]) for _ in range(ndim)]
        batch = [rng.choice([0, 1, 2, 17])] if rng.random() < 0.8 else []
        x = special(torch.randn(*batch, inputs, *size, dtype=torch.float64), rng)
        cls = getattr(nn, f"Conv{ndim}d")
        return lambda: cls(inputs, outputs, kernel, **options), (strided(x, rng),)

    return draw


def transposed(ndim: int):
    def draw(rng: random.Random):
        groups = rng.choice([1, 1, 2])
        inputs, outputs = groups * rng.choice([1, 2, 3]), groups * rng.choice([1, 2, 3])
        kernel = [rng.randint(1, 4) for _ in range(ndim)]
        stride, dilation = rng.randint(1, 3), rng.randint(1, 3)
        options = {
            "stride": stride,
            "padding": rng.randint(0, (min(kernel) - 1) // 2),  # no empty image
            "output_padding": rng.randrange(max(stride, dilation)),
            "dilation": dilation,
            "groups": groups,
            "bias": rng.random() < 0.5,
        }
        size = [rng.choice([1, 2, 4, 7]) for _ in range(ndim)]
        batch = [rng.choice([0, 1, 3])] if rng.random() < 0.8 else []
        # Neither NaN nor infinity: the formula multiplies them with the zeros around the image, which the
        # library (and so torch's own layer) leaves out.
        x = torch.randn(*batch, inputs, *size, dtype=torch.float64)
        cls = getattr(nn, f"ConvTranspose{ndim}d")
        return lambda: cls(inputs, outputs, kernel, **options), (strided(x, rng),)

    return draw


FUZZ = {f"Conv{ndim}d": convolution(ndim) for ndim in (1, 2, 3)}
FUZZ |= {f"ConvTranspose{ndim}d": transposed(ndim) for ndim in (1, 2, 3)}
