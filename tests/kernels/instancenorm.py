"""Draws for ``kernels/cpu/instancenorm.py``."""

from __future__ import annotations

import random

import torch

from manualgrad import nn

from . import special, strided

__all__ = ["FUZZ"]


def instance_norm(ndim: int):
    module = getattr(nn, f"InstanceNorm{ndim}d")

    def draw(rng: random.Random):
        channels = rng.choice([1, 2, 3, 17])
        sizes = {1: [1, 2, 49, 1200], 2: [1, 2, 7, 36], 3: [1, 2, 5]}[ndim]
        shape = [rng.choice([0, 1, 2, 3]), channels, *(rng.choice(sizes) for _ in range(ndim))]
        options = {
            "affine": rng.random() < 0.7,
            "track_running_stats": rng.random() < 0.5,
            "momentum": rng.choice([None, 0.1, 1.0]),
            "eps": rng.choice([1e-5, 0.1]),
        }
        training = rng.random() < 0.6
        x = special(1 + torch.randn(*shape, dtype=torch.float64), rng)
        return lambda: module(channels, **options).train(training), (strided(x, rng),)

    return draw


FUZZ = {f"InstanceNorm{ndim}d": instance_norm(ndim) for ndim in (1, 2, 3)}
