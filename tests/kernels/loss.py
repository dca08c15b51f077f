"""Draws for ``kernels/cpu/loss.py``."""

from __future__ import annotations

import random
from functools import partial

import torch

from manualgrad import nn

from . import special, strided

__all__ = ["FUZZ"]


def loss(name: str, option: str | None, rng: random.Random):
    shape = [
        rng.choice([0, 1, 3, 40] if rng.random() < 0.3 else [2, 5, 60]) for _ in range(rng.randint(0, 3))
    ]
    x, target = torch.randn(2, *shape, dtype=torch.float64)
    if name == "BCEWithLogitsLoss":
        target = target.sigmoid()
    options = {"reduction": rng.choice(["none", "mean", "sum"])}
    if option:
        options[option] = rng.choice([0.3, 1.0])
    return partial(getattr(nn, name), **options), (strided(special(x, rng), rng), strided(target, rng))


FUZZ = {
    "MSELoss": partial(loss, "MSELoss", None),
    "L1Loss": partial(loss, "L1Loss", None),
    "SmoothL1Loss": partial(loss, "SmoothL1Loss", "beta"),
    "HuberLoss": partial(loss, "HuberLoss", "delta"),
    "BCEWithLogitsLoss": partial(loss, "BCEWithLogitsLoss", None),
}
