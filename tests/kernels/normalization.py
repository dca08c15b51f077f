"""Draws for ``kernels/cpu/normalization.py``."""

from __future__ import annotations

import random

import torch

from manualgrad import nn

from . import special, strided

__all__ = ["FUZZ"]


def layer_norm(rng: random.Random):
    normalized = [rng.choice([1, 2, 3, 17, 64]) for _ in range(rng.randint(1, 3))]
    batch = [rng.choice([0, 1, 2, 5]) for _ in range(rng.randint(0, 2))]
    options = {
        "elementwise_affine": rng.random() < 0.7,
        "bias": rng.random() < 0.7,
        "eps": rng.choice([1e-5, 0.1]),
    }
    x = special(torch.randn(*batch, *normalized, dtype=torch.float64), rng)
    return lambda: nn.LayerNorm(normalized, **options), (strided(x, rng),)


def rms_norm(rng: random.Random):
    normalized = [rng.choice([1, 2, 3, 17, 64, 1200]) for _ in range(rng.randint(1, 2))]
    batch = [rng.choice([0, 1, 2, 5]) for _ in range(rng.randint(0, 2))]
    options = {"elementwise_affine": rng.random() < 0.7, "eps": rng.choice([None, 1e-5, 0.1])}
    x = special(torch.randn(*batch, *normalized, dtype=torch.float64), rng)
    return lambda: nn.RMSNorm(normalized, **options), (strided(x, rng),)


def group_norm(rng: random.Random):
    groups, per = rng.choice([1, 2, 3]), rng.choice([1, 2, 5])
    batch = rng.choice([0, 1, 2, 5])
    shape = [batch, groups * per, *(rng.choice([1, 2, 7, 30]) for _ in range(rng.randint(0, 3)))]
    options = {"affine": rng.random() < 0.7, "eps": rng.choice([1e-5, 0.1])}
    x = special(1 + torch.randn(*shape, dtype=torch.float64), rng)
    return lambda: nn.GroupNorm(groups, groups * per, **options), (strided(x, rng),)


FUZZ = {"LayerNorm": layer_norm, "RMSNorm": rms_norm, "GroupNorm": group_norm}
