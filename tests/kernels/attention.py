"""Draws for ``kernels/cpu/attention.py`` and ``kernels/cpu/softmax.py``."""

from __future__ import annotations

import random

import torch

import manualgrad.functional as F
from manualgrad import nn

from . import special, strided

__all__ = ["FUZZ"]


def numbers(rng: random.Random, *shape: int) -> torch.Tensor:
    return strided(special(torch.randn(*shape, dtype=torch.float64), rng), rng)


class Attention(nn.Module):
    def __init__(self, options: dict):
        super().__init__()
        self.options = options

    def forward(self, query, key, value, mask=None):
        return F.scaled_dot_product_attention(query, key, value, mask, **self.options)


def attention(rng: random.Random):
    leading = [rng.choice([0, 1, 2, 3]) for _ in range(rng.randint(0, 2))]
    length, count = (rng.choice([1, 2, 5, 17, 70]) for _ in range(2))
    width, of_value = rng.choice([1, 3, 8, 16]), rng.choice([1, 3, 16])
    options = {"scale": rng.choice([None, None, 0.3, -1.2])}
    heads = leading
    if len(leading) == 2 and leading[1] and rng.random() < 0.3:
        options["enable_gqa"] = True
        heads = [leading[0], leading[1] * rng.choice([1, 2])]
    elif rng.random() < 0.2:
        heads = [1 for _ in leading]
    inputs = [
        numbers(rng, *heads, length, width),
        numbers(rng, *leading, count, width),
        numbers(rng, *leading, count, of_value),
    ]
    kind = rng.choice(["none", "none", "causal", "boolean", "number"])
    if kind == "causal":
        options["is_causal"] = True
    elif kind == "boolean":
        inputs.append(torch.rand(length, count) < 0.7)
    elif kind == "number":
        inputs.append(torch.randn(rng.choice([1, length]), count, dtype=torch.float64))
    return lambda: Attention(options), tuple(inputs)


def along_an_axis(layer):
    """A draw of a softmax along any axis."""

    def draw(rng: random.Random):
        shape = [rng.choice([0, 1, 2, 3, 17]) for _ in range(rng.randint(0, 4))]
        dim = rng.randrange(-len(shape), len(shape)) if shape else rng.choice([0, -1])
        return lambda: layer(dim=dim), (numbers(rng, *shape),)

    return draw


def softmax2d(rng: random.Random):
    shape = [rng.choice([0, 1, 2, 5, 30]) for _ in range(rng.choice([3, 4]))]
    return nn.Softmax2d, (numbers(rng, *shape),)


FUZZ = {
    "scaled_dot_product_attention": attention,
    "Softmax": along_an_axis(nn.Softmax),
    "LogSoftmax": along_an_axis(nn.LogSoftmax),
    "Softmin": along_an_axis(nn.Softmin),
    "Softmax2d": softmax2d,
}
