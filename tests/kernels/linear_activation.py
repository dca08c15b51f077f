"""Draws for ``kernels/cpu/linear_activation.py``."""

from __future__ import annotations

import random

import torch
from torch import nn

import manualgrad

from . import special, strided

__all__ = ["FUZZ"]

ACTIVATIONS = (
    nn.ReLU,
    lambda: nn.LeakyReLU(0.2),
    nn.Tanh,
    nn.Sigmoid,
    nn.SiLU,
    nn.GELU,
    lambda: nn.GELU(approximate="tanh"),
)


def linear_activation(rng: random.Random):
    features, outputs = rng.choice([1, 2, 5, 17]), rng.choice([1, 3, 33])
    batch = [rng.choice([0, 1, 2, 5, 20]) for _ in range(rng.randint(0, 3))]
    activation, bias = rng.choice(ACTIVATIONS), rng.random() < 0.7
    x = special(torch.randn(*batch, features, dtype=torch.float64), rng)

    def build() -> nn.Module:
        return manualgrad.nn.LinearActivation(nn.Linear(features, outputs, bias=bias), activation())

    return build, (strided(x, rng),)


FUZZ = {"LinearActivation": linear_activation}
