"""Draws for ``kernels/cpu/softmax.py`` and ``kernels/cpu/cross_entropy.py``."""

from __future__ import annotations

import random
from functools import partial

import torch

from manualgrad import nn

from . import special, strided

__all__ = ["FUZZ"]


def scores(rng: random.Random) -> torch.Tensor:
    lead = rng.choice([0, 1, 2, 5]) if rng.random() < 0.3 else 3
    behind = [rng.choice([1, 3, 40]) for _ in range(rng.choice([0, 0, 1, 2]))]
    return 3 * torch.randn(lead, rng.choice([1, 2, 9, 70]), *behind, dtype=torch.float64)


def softmax(name: str, rng: random.Random):
    x = scores(rng)
    dim = rng.randrange(-x.dim(), x.dim())
    return partial(getattr(nn, name), dim), (strided(special(x, rng), rng),)


def cross_entropy(rng: random.Random):
    z = scores(rng)
    classes = z.shape[1]
    target = torch.randint(classes, (z.shape[0], *z.shape[2:]))
    if rng.random() < 0.3:
        target = torch.where(torch.rand(target.shape) < 0.3, -100, target)
    options = {
        "reduction": rng.choice(["none", "mean", "sum"]),
        "label_smoothing": rng.choice([0.0, 0.0, 0.1, 1.0]),
        "ignore_index": rng.choice([-100, -100, 0]) if not (target < 0).any() else -100,
        "weight": torch.rand(classes) if rng.random() < 0.4 else None,
    }
    return partial(nn.CrossEntropyLoss, **options), (strided(special(z, rng), rng), target)


FUZZ = {
    "CrossEntropyLoss": cross_entropy,
    **{name: partial(softmax, name) for name in ("Softmax", "LogSoftmax", "Softmin")},
}
