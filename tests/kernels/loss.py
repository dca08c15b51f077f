"""Draws for ``kernels/cpu/loss.py``."""

from __future__ import annotations

import random
from functools import partial

import torch
from torch import Tensor

from manualgrad import nn

from . import special, strided

__all__ = ["FUZZ"]


def shape_of(rng: random.Random) -> list[int]:
    return [rng.choice([0, 1, 3, 40] if rng.random() < 0.3 else [2, 5, 60]) for _ in range(rng.randint(0, 3))]


def numbers(shape: list[int]) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def loss(name: str, option: str | None, rng: random.Random):
    shape = shape_of(rng)
    x, target = numbers(shape), numbers(shape)
    options = {"reduction": rng.choice(["none", "mean", "sum"])}
    if option:
        options[option] = rng.choice([0.3, 1.0])
    return partial(getattr(nn, name), **options), (strided(special(x, rng), rng), strided(target, rng))


def binary(name: str, rng: random.Random):
    shape = shape_of(rng)
    x, target = numbers(shape), numbers(shape).sigmoid()
    options = {"reduction": rng.choice(["none", "mean", "sum"])}
    for option in ("weight", "pos_weight") if name == "BCEWithLogitsLoss" else ("weight",):
        if rng.random() < 0.2:
            options[option] = torch.rand(shape[-1:])
    # Of probabilities only NaN is out of range, which is an error.
    x = special(x, rng) if name == "BCEWithLogitsLoss" else special(x, rng).sigmoid()
    target = target.round() if rng.random() < 0.3 else target
    return partial(getattr(nn, name), **options), (strided(x, rng), strided(target, rng))


def kl_div(rng: random.Random):
    shape = shape_of(rng)
    x, log_target = numbers(shape), rng.random() < 0.5
    target = numbers(shape) if log_target else numbers(shape).clamp(min=0)
    options = {"reduction": rng.choice(["none", "batchmean", "sum"]), "log_target": log_target}
    return partial(nn.KLDivLoss, **options), (strided(special(x, rng), rng), strided(target, rng))


def poisson(rng: random.Random):
    shape = shape_of(rng)
    x, log_input = numbers(shape), rng.random() < 0.5
    x = special(x, rng) if log_input else x.exp()
    counts = torch.randint(5, shape)
    target = counts if rng.random() < 0.5 else counts.double()
    options = {"reduction": rng.choice(["none", "mean", "sum"]), "log_input": log_input}
    options["full"] = rng.random() < 0.2
    return partial(nn.PoissonNLLLoss, **options), (strided(x, rng), strided(target, rng))


def gaussian(rng: random.Random):
    shape = shape_of(rng)
    x, target = numbers(shape), numbers(shape)
    variance = numbers(shape) if rng.random() < 0.1 else numbers(shape).exp() - 0.1
    variance = variance if rng.random() < 0.1 else variance.abs()
    options = {"reduction": rng.choice(["none", "mean", "sum"]), "full": rng.random() < 0.2}
    options["eps"] = rng.choice([1e-6, 0.5])
    tensors = (special(x, rng), target, variance)
    return partial(nn.GaussianNLLLoss, **options), tuple(strided(t, rng) for t in tensors)


def signs(name: str, rng: random.Random):
    shape = shape_of(rng)
    target = 2 * torch.randint(2, shape) - 1
    target = target if rng.random() < 0.5 or name == "SoftMarginLoss" else target.double()
    options = {"reduction": rng.choice(["none", "mean", "sum"])}
    if name != "SoftMarginLoss":
        options["margin"] = rng.choice([0.0, 0.5, 1.0])
    scores = (special(numbers(shape), rng), *([numbers(shape)] if name == "MarginRankingLoss" else []))
    return partial(getattr(nn, name), **options), tuple(strided(t, rng) for t in (*scores, target))


FUZZ = {
    "MSELoss": partial(loss, "MSELoss", None),
    "L1Loss": partial(loss, "L1Loss", None),
    "SmoothL1Loss": partial(loss, "SmoothL1Loss", "beta"),
    "HuberLoss": partial(loss, "HuberLoss", "delta"),
    "BCELoss": partial(binary, "BCELoss"),
    "BCEWithLogitsLoss": partial(binary, "BCEWithLogitsLoss"),
    "KLDivLoss": kl_div,
    "PoissonNLLLoss": poisson,
    "GaussianNLLLoss": gaussian,
    **{name: partial(signs, name) for name in ("HingeEmbeddingLoss", "MarginRankingLoss", "SoftMarginLoss")},
}
