"""Draws for ``kernels/cpu/batchnorm.py``."""

from __future__ import annotations

import random

import torch

from manualgrad import nn

from . import special, strided

__all__ = ["FUZZ"]


def batch_norm(ndim: int):
    module = getattr(nn, f"BatchNorm{ndim}d")

    def draw(rng: random.Random):
        channels = rng.choice([1, 2, 3, 17, 64])
        batch = rng.choice([0, 1, 2, 5, 33])
        # More than a chunk of the sums now and then.
        sizes = {1: [1, 2, 49, 1200], 2: [1, 2, 7, 36], 3: [1, 2, 5]}[ndim]
        shape = [batch, channels, *(rng.choice(sizes) for _ in range(ndim))]
        if ndim == 1 and rng.random() < 0.4:
            shape = [rng.choice([0, 1, 2, 5, 70, 600]), channels]
        options = {
            "affine": rng.random() < 0.7,
            "track_running_stats": rng.random() < 0.7,
            "momentum": rng.choice([None, 0.1, 1.0]),
            "eps": rng.choice([1e-5, 0.1]),
        }
        training = rng.random() < 0.6
        x = special(3 + torch.randn(*shape, dtype=torch.float64), rng)
        return lambda: module(channels, **options).train(training), (strided(x, rng),)

    return draw


FUZZ = {f"BatchNorm{ndim}d": batch_norm(ndim) for ndim in (1, 2, 3)}
