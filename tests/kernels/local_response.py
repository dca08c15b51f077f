"""Draws for ``kernels/cpu/local_response.py``."""

from __future__ import annotations

import random
from functools import partial

import torch

from manualgrad import nn

from . import special, strided

__all__ = ["FUZZ"]


def response_norm(name: str, rng: random.Random):
    ndim = 2 if name == "CrossMapLRN2d" else rng.choice([1, 2])
    shape = [rng.choice([0, 1, 2]), rng.choice([1, 2, 5, 9]), *(rng.choice([1, 3, 17]) for _ in range(ndim))]
    x = special(torch.randn(*shape, dtype=torch.float64), rng)
    options = {"alpha": rng.choice([1e-4, 0.5]), "beta": rng.choice([0.75, 0.75, 0.5]), "k": 1.0}
    return partial(getattr(nn, name), rng.choice([1, 2, 3, 4, 5, 12]), **options), (strided(x, rng),)


FUZZ = {name: partial(response_norm, name) for name in ("LocalResponseNorm", "CrossMapLRN2d")}
