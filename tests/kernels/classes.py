"""Draws for the kernels of classes: of softmax, cross entropy, adaptive softmax and multi-margin losses."""

from __future__ import annotations

import random
from functools import partial

import torch

from manualgrad import nn

from . import special, strided

__all__ = ["FUZZ"]


def scores(rng: random.Random) -> torch.Tensor:
    lead = rng.choice([0, 1, 2, 5]) if rng.random() < 0.3 else 3
    behind = [rng.choice([1, 3, 40]) for _ in range(rng.choice([0, 0, 1, 2]))]
    return 3 * torch.randn(lead, rng.choice([1, 2, 9, 70]), *behind, dtype=torch.float64)


def softmax(name: str, rng: random.Random):
    x = scores(rng)
    dim = rng.randrange(-x.dim(), x.dim())
    return partial(getattr(nn, name), dim), (strided(special(x, rng), rng),)


def cross_entropy(name: str, rng: random.Random):
    z = scores(rng)
    classes = z.shape[1]
    target = torch.randint(classes, (z.shape[0], *z.shape[2:]))
    if rng.random() < 0.1 and target.numel():
        target.view(-1)[-1] = rng.choice([-1, classes])  # an error
    if rng.random() < 0.3:
        target = torch.where(torch.rand(target.shape) < 0.3, -100, target)
    options = {
        "reduction": rng.choice(["none", "mean", "sum"]),
        "ignore_index": rng.choice([-100, -100, 0]) if not (target < 0).any() else -100,
        "weight": torch.rand(classes) if rng.random() < 0.4 else None,
    }
    if name == "CrossEntropyLoss":
        options["label_smoothing"] = rng.choice([0.0, 0.0, 0.1, 1.0])
        if rng.random() < 0.2:
            del options["ignore_index"]
            target = torch.randn_like(z).softmax(1)
    return partial(getattr(nn, name), **options), (strided(special(z, rng), rng), strided(target, rng))


def multi_margin(rng: random.Random):
    samples, classes = rng.choice([0, 1, 3]), rng.choice([1, 2, 9, 70])
    x = 3 * torch.randn(samples, classes, dtype=torch.float64)
    options = {
        "reduction": rng.choice(["none", "mean", "sum"]),
        "p": rng.choice([1, 2]),
        "margin": rng.choice([0.5, 1.0]),
        "weight": torch.rand(classes) if rng.random() < 0.4 else None,
    }
    target = torch.randint(classes, (samples,))
    return partial(nn.MultiMarginLoss, **options), (strided(special(x, rng), rng), target)


def multilabel_margin(rng: random.Random):
    samples, classes = rng.choice([0, 1, 3]), rng.choice([1, 2, 9, 20])
    x = 3 * torch.randn(samples, classes, dtype=torch.float64)
    target = torch.randint(-1, classes, (samples, classes))
    options = {"reduction": rng.choice(["none", "mean", "sum"])}
    return partial(nn.MultiLabelMarginLoss, **options), (strided(special(x, rng), rng), target)


def linear_cross_entropy(rng: random.Random):
    samples, features, classes = rng.choice([0, 1, 3, 9]), rng.choice([1, 4, 40]), rng.choice([1, 2, 9, 70])
    x, target = torch.randn(samples, features, dtype=torch.float64), torch.randint(classes, (samples,))
    if rng.random() < 0.3:
        target = torch.where(torch.rand(samples) < 0.3, -100, target)
    options = {
        "reduction": rng.choice(["none", "mean", "sum"]),
        "bias": rng.random() < 0.5,
        "weight": torch.rand(classes) if rng.random() < 0.2 else None,
        "label_smoothing": rng.choice([0.0, 0.0, 0.1]),
    }
    inputs = strided(special(x, rng), rng), strided(target, rng)
    return partial(nn.LinearCrossEntropyLoss, features, classes, **options), inputs


def adaptive(rng: random.Random):
    samples, features, classes = rng.choice([0, 1, 3, 20]), rng.choice([4, 9]), rng.choice([7, 70])
    x, target = torch.randn(samples, features, dtype=torch.float64), torch.randint(classes, (samples,))
    options = {"div_value": 2.0, "head_bias": rng.random() < 0.5}
    inputs = strided(special(x, rng), rng), strided(target, rng)
    return partial(nn.AdaptiveLogSoftmaxWithLoss, features, classes, [2, 5], **options), inputs


FUZZ = {
    "LinearCrossEntropyLoss": linear_cross_entropy,
    "AdaptiveLogSoftmaxWithLoss": adaptive,
    "CrossEntropyLoss": partial(cross_entropy, "CrossEntropyLoss"),
    "NLLLoss": partial(cross_entropy, "NLLLoss"),
    "MultiMarginLoss": multi_margin,
    "MultiLabelMarginLoss": multilabel_margin,
    **{name: partial(softmax, name) for name in ("Softmax", "LogSoftmax", "Softmin")},
}
