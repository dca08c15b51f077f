"""Draws for ``kernels/cpu/grid.py``."""

from __future__ import annotations

import random
from functools import partial

import torch

from manualgrad.catalog.row import Calls
from manualgrad.functional import grid_sample

from . import special, strided

__all__ = ["FUZZ"]


def sample(rng: random.Random):
    ndim, batch = rng.choice([2, 2, 3]), rng.choice([1, 2])
    x = torch.randn(
        batch, rng.choice([1, 2, 3]), *(rng.choice([1, 2, 5]) for _ in range(ndim)), dtype=torch.float64
    )
    grid = torch.randn(batch, *(rng.choice([0, 1, 3, 9]) for _ in range(ndim)), ndim, dtype=torch.float64)
    # Of this many digits both dtypes take the same side of an element.
    grid = (grid * 512).round() / 512 + 1 / 1024
    options = {
        "mode": rng.choice(["bilinear", "bilinear", "nearest", *["bicubic"] * (ndim == 2)]),
        "padding_mode": rng.choice(["zeros", "border", "reflection"]),
        "align_corners": rng.random() < 0.5,
    }
    x, grid = strided(x, rng), strided(special(grid, rng), rng)
    return partial(Calls, partial(grid_sample, **options)), (x, grid)


FUZZ = {"grid_sample": sample}
