"""Draws for ``kernels/cpu/add_layernorm.py``."""

from __future__ import annotations

import random

import torch

from manualgrad import nn

from . import special, strided

__all__ = ["FUZZ"]


def add_layer_norm(rng: random.Random):
    normalized = [rng.choice([1, 2, 3, 17, 64]) for _ in range(rng.randint(1, 2))]
    batch = [rng.choice([0, 1, 2, 5]) for _ in range(rng.randint(0, 2))]
    options = {
        "elementwise_affine": rng.random() < 0.7,
        "bias": rng.random() < 0.7,
        "eps": rng.choice([1e-5, 0.1]),
    }
    x, z = (special(torch.randn(*batch, *normalized, dtype=torch.float64), rng) for _ in range(2))
    return lambda: nn.AddLayerNorm(normalized, **options), (strided(x, rng), strided(z, rng))


FUZZ = {"AddLayerNorm": add_layer_norm}
