"""Draws for ``kernels/cpu/max_pooling.py`` and ``avg_pooling.py``."""

from __future__ import annotations

import random
from functools import partial

import torch

from manualgrad import nn

from . import special, strided

__all__ = ["FUZZ"]


def plane(ndim: int, rng: random.Random) -> torch.Tensor:
    lead = [rng.choice([0, 1, 2, 3]) if rng.random() < 0.3 else 2 for _ in range(rng.choice([1, 2]))]
    lengths = [rng.choice([1, 2, 5, 8, 9, 20] if axis or ndim < 3 else [1, 2, 4]) for axis in range(ndim)]
    return strided(special(torch.randn(*lead, *lengths, dtype=torch.float64), rng), rng)


def windows(rng: random.Random) -> dict:
    kernel = rng.choice([1, 2, 2, 3, 3, 4])
    return {
        "kernel_size": kernel,
        "stride": rng.choice([None, None, 1, 2, 3]),
        "padding": rng.randint(0, kernel // 2) if rng.random() < 0.5 else 0,
        "ceil_mode": rng.random() < 0.3,
    }


def max_pool(ndim: int, rng: random.Random):
    options = windows(rng)
    options["dilation"] = rng.choice([1, 1, 1, 2])
    if options["dilation"] > 1:
        options["padding"] = 0
    options["return_indices"] = rng.random() < 0.2
    return partial(getattr(nn, f"MaxPool{ndim}d"), **options), (plane(ndim, rng),)


def avg_pool(ndim: int, rng: random.Random):
    options = windows(rng)
    options["count_include_pad"] = rng.random() < 0.5
    if ndim > 1:
        options["divisor_override"] = rng.choice([None, None, 3])
    return partial(getattr(nn, f"AvgPool{ndim}d"), **options), (plane(ndim, rng),)


def adaptive_pool(kind: str, ndim: int, rng: random.Random):
    size = rng.choice([1, 2, 3, 7, tuple(rng.choice([1, 1, 2, 5]) for _ in range(ndim))])
    size = size[0] if ndim == 1 and isinstance(size, tuple) else size
    return partial(getattr(nn, f"Adaptive{kind}Pool{ndim}d"), size), (plane(ndim, rng),)


FUZZ = {
    **{f"MaxPool{ndim}d": partial(max_pool, ndim) for ndim in (1, 2, 3)},
    **{f"AvgPool{ndim}d": partial(avg_pool, ndim) for ndim in (1, 2, 3)},
    **{
        f"Adaptive{kind}Pool{ndim}d": partial(adaptive_pool, kind, ndim)
        for kind in ("Avg", "Max")
        for ndim in (1, 2, 3)
    },
}
