"""Draws for the kernels of all activations, which are on five pages."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor

from manualgrad import nn

from . import special, strided

__all__ = ["FUZZ", "shape"]


def shape(rng: random.Random, least: int = 0) -> list[int]:
    return [rng.choice([0, 1, 2, 3, 7, 17, 33]) for _ in range(rng.randint(least, 4))]


def numbers(rng: random.Random, sizes: list[int]) -> Tensor:
    """From the middle to the tails."""
    scale = rng.choice([1, 1, 4, 30])
    return strided(special(scale * torch.randn(sizes, dtype=torch.float64), rng), rng)


def elementwise(layer: Callable, **options: Callable[[random.Random], object]) -> Callable:
    def draw(rng: random.Random):
        given = {name: choose(rng) for name, choose in options.items()}
        return lambda: layer(**given), (numbers(rng, shape(rng)),)

    return draw


def of(*values: object) -> Callable[[random.Random], object]:
    return lambda rng: rng.choice(values)


def prelu(rng: random.Random):
    sizes = shape(rng, least=2)
    channels = rng.choice([1, max(sizes[1], 1)])
    if channels > 1:
        sizes[1] = channels
    return lambda: nn.PReLU(channels, rng.choice([0.25, -0.5])), (numbers(rng, sizes),)


def glu(rng: random.Random):
    sizes = shape(rng, least=1)
    dim = rng.randrange(len(sizes))
    sizes[dim] *= 2
    return lambda: nn.GLU(rng.choice([dim, dim - len(sizes)])), (numbers(rng, sizes),)


FUZZ = {
    "CELU": elementwise(nn.CELU, alpha=of(1, 0.5, -0.5, 2.0)),
    "ELU": elementwise(nn.ELU, alpha=of(1, 0.7, -0.5)),
    "GELU": elementwise(nn.GELU, approximate=of("none", "tanh")),
    "GLU": glu,
    "Hardshrink": elementwise(nn.Hardshrink, lambd=of(0.5, 0, -1.0)),
    "Hardsigmoid": elementwise(nn.Hardsigmoid),
    "Hardswish": elementwise(nn.Hardswish),
    "Hardtanh": elementwise(nn.Hardtanh, min_val=of(-1, -0.5), max_val=of(1.0, 0.3)),
    "LeakyReLU": elementwise(nn.LeakyReLU, negative_slope=of(0.01, 0, -1.0)),
    "LogSigmoid": elementwise(nn.LogSigmoid),
    "Mish": elementwise(nn.Mish),
    "PReLU": prelu,
    "RReLU": elementwise(nn.RReLU, lower=of(0.1), upper=of(0.1, 0.5)),
    "ReLU": elementwise(nn.ReLU),
    "ReLU6": elementwise(nn.ReLU6),
    "SELU": elementwise(nn.SELU),
    "SiLU": elementwise(nn.SiLU),
    "Sigmoid": elementwise(nn.Sigmoid),
    "Softplus": elementwise(nn.Softplus, beta=of(1, 0.5, -2.0), threshold=of(20, 1.5)),
    "Softshrink": elementwise(nn.Softshrink, lambd=of(0.5, 0)),
    "Softsign": elementwise(nn.Softsign),
    "Tanh": elementwise(nn.Tanh),
    "Tanhshrink": elementwise(nn.Tanhshrink),
    "Threshold": elementwise(nn.Threshold, threshold=of(0.5, -1), value=of(-7, 0.0)),
}
