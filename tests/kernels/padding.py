"""Draws for ``kernels/cpu/padding.py``."""

from __future__ import annotations

import random
from functools import partial

import torch

from manualgrad import nn

from . import special, strided

__all__ = ["FUZZ"]


def pad(kind: str, ndim: int, rng: random.Random):
    lead = [rng.choice([0, 1, 2, 3]) if rng.random() < 0.3 else 2 for _ in range(rng.choice([1, 2]))]
    lengths = [rng.choice([1, 2, 3, 5, 11]) for _ in range(ndim)]
    most = 2 if kind != "Reflection" else max(0, min(2, *(length - 1 for length in (*lengths, 9))))
    most = min(most, *lengths, 2) if kind == "Circular" else most
    least = -1 if rng.random() < 0.3 else 0
    amounts = tuple(rng.randint(least, most) for _ in range(2 * ndim))
    x = strided(special(torch.randn(*lead, *lengths, dtype=torch.float64), rng), rng)
    return partial(getattr(nn, f"{kind}Pad{ndim}d"), amounts), (x,)


FUZZ = {
    f"{kind}Pad{ndim}d": partial(pad, kind, ndim)
    for kind, ndim in (("Reflection", 2), ("Replication", 3), ("Circular", 1), ("Circular", 3))
}
