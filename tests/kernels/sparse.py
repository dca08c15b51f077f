"""Draws for ``kernels/cpu/sparse.py`` and ``kernels/cpu/arithmetic.py``."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from manualgrad import nn
from manualgrad.catalog.row import Arranged, Calls
from manualgrad.catalog.sparse import bags_and_factors
from manualgrad.layers.arithmetic import index_select

from . import special, strided

__all__ = ["FUZZ"]


def table(rng: random.Random) -> tuple[int, int, dict]:
    rows, width = rng.choice([1, 2, 7, 40]), rng.choice([1, 3, 8, 33])
    return rows, width, {"padding_idx": rng.randrange(rows) if rng.random() < 0.4 else None}


def indices(rows: int, rng: random.Random, *shape: int) -> Tensor:
    index = torch.randint(rng.choice([1, rows]), shape)
    return index.int() if rng.random() < 0.3 else index


def embedding(rng: random.Random):
    rows, width, options = table(rng)
    shape = [rng.choice([0, 1, 2, 5, 9]) for _ in range(rng.randint(0, 2))]
    index = strided(indices(rows, rng, *shape), rng)
    return partial(nn.Embedding, rows, width, scale_grad_by_freq=rng.random() < 0.3, **options), (index,)


def embedding_bag(rng: random.Random):
    rows, width, options = table(rng)
    options["mode"] = rng.choice(["sum", "mean", "max"])
    if options["mode"] != "max":
        options["scale_grad_by_freq"] = rng.random() < 0.3
    bags, count = rng.choice([1, 2, 5]), rng.choice([0, 1, 6, 20])
    offsets = None
    if rng.random() < 0.5 or not count:
        index = indices(rows, rng, count)
        options["include_last_offset"] = rng.random() < 0.5
        middle = sorted(rng.randint(0, count) for _ in range(bags - 1))
        offsets = torch.tensor([0, *middle, *[count] * options["include_last_offset"]])
    else:
        index = strided(indices(rows, rng, bags, count), rng)
    weight = strided(special(torch.randn(rows, width, dtype=torch.float64), rng), rng)
    factors = ()
    if options["mode"] == "sum" and rng.random() < 0.6:
        factors = (torch.randn(index.shape, dtype=torch.float64),)
    inputs = (index, *factors) if offsets is None else (index, offsets, *factors)
    arrange = bags_and_factors if factors and offsets is None else None
    return partial(bag_of, rows, width, weight, arrange, options), inputs


def bag_of(rows: int, width: int, weight: Tensor, arrange: Callable | None, options: dict):
    module = nn.EmbeddingBag(rows, width, _weight=weight.clone(), **options)
    return Arranged(module, arrange) if arrange else module


def selected(rng: random.Random):
    shape = [rng.choice([1, 2, 3, 9]) for _ in range(rng.randint(1, 3))]
    dim = rng.randrange(-len(shape), len(shape))
    index = indices(shape[dim], rng, rng.choice([0, 1, 4, 30]))
    x = strided(special(torch.randn(*shape, dtype=torch.float64), rng), rng)
    return partial(Calls, lambda x, index: index_select(x, dim, index)), (x, index)


FUZZ = {"Embedding": embedding, "EmbeddingBag": embedding_bag, "index_select": selected}
