"""Draws for ``kernels/cpu/upsampling.py``."""

from __future__ import annotations

import random
from functools import partial

import torch

from manualgrad import nn
from manualgrad.catalog.row import Calls
from manualgrad.functional import interpolate

from . import special, strided

__all__ = ["FUZZ"]

MODES = {1: ("nearest", "linear"), 2: ("nearest", "bilinear", "bicubic"), 3: ("nearest", "trilinear")}


def picture(ndim: int, rng: random.Random) -> torch.Tensor:
    lengths = [rng.choice([1, 2, 3, 5, 11]) for _ in range(ndim)]
    x = torch.randn(rng.choice([0, 1, 2]), rng.choice([1, 2, 3]), *lengths, dtype=torch.float64)
    return strided(special(x, rng), rng)


def target(ndim: int, rng: random.Random) -> dict:
    if rng.random() < 0.5:
        return {"size": tuple(rng.choice([1, 2, 4, 7, 13]) for _ in range(ndim))}
    return {"scale_factor": tuple(rng.choice([1, 1.3, 2, 2.5, 0.6]) for _ in range(ndim))}


def upsample(rng: random.Random):
    ndim = rng.choice([1, 2, 3])
    options = {"mode": rng.choice([*MODES[ndim], "nearest-exact"]), **target(ndim, rng)}
    if not options["mode"].startswith("nearest"):
        options["align_corners"] = rng.random() < 0.5
    return partial(nn.Upsample, **options), (picture(ndim, rng),)


def antialias(rng: random.Random):
    mode = rng.choice(["bilinear", "bicubic", "lanczos"])
    resize = partial(interpolate, mode=mode, antialias=True, **target(2, rng))
    return partial(Calls, resize), (picture(2, rng),)


FUZZ = {"Upsample": upsample, "interpolate": antialias}
