"""Draws for ``kernels/cpu/distance.py``."""

from __future__ import annotations

import random
from functools import partial

import torch

from manualgrad import functional, nn
from manualgrad.catalog.row import Calls

from . import special, strided

__all__ = ["FUZZ"]


def vectors(count: int, rng: random.Random, lead: list[int] | None = None) -> list[torch.Tensor]:
    lead = [rng.choice([0, 1, 2, 5, 17]) for _ in range(rng.randint(0, 2))] if lead is None else lead
    # Not of one element: the gradient of their cosine is 0, but for rounding.
    found = [torch.randn(*lead, rng.choice([2, 9, 70]), dtype=torch.float64)]
    found += [torch.randn_like(found[0]) for _ in range(count - 1)]
    if rng.random() < 0.2:
        found[-1] = found[0].clone()
    return [strided(special(found[0], rng), rng), *(strided(x, rng) for x in found[1:])]


def distance(rng: random.Random):
    options = {
        "p": rng.choice([2.0, 2.0, 1.0]),
        "keepdim": rng.random() < 0.3,
        "eps": rng.choice([1e-6, 0.1]),
    }
    return partial(nn.PairwiseDistance, **options), tuple(vectors(2, rng))


def cosine(rng: random.Random):
    pair = vectors(2, rng)
    return partial(nn.CosineSimilarity, rng.choice([-1, -1, 0]), rng.choice([1e-8, 1.0])), tuple(pair)


def cosine_embedding(rng: random.Random):
    lead = [] if rng.random() < 0.2 else [rng.choice([0, 1, 3, 20])]
    target = torch.randint(-1, 2, lead)
    options = {"reduction": rng.choice(["none", "mean", "sum"]), "margin": rng.choice([0.0, 0.3])}
    return partial(nn.CosineEmbeddingLoss, **options), (*vectors(2, rng, lead), target)


def pdist(rng: random.Random):
    (x,) = vectors(1, rng, [rng.choice([1, 2, 3, 7])])
    return partial(Calls, partial(functional.pdist, p=rng.choice([2.0, 2.0, 3.0]))), (x,)


FUZZ = {
    "PairwiseDistance": distance,
    "CosineSimilarity": cosine,
    "CosineEmbeddingLoss": cosine_embedding,
    "pdist": pdist,
}
