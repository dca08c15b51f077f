"""Draws for the kernel of ``layers/ctc.py``."""

from __future__ import annotations

import random
from functools import partial

import torch

from manualgrad import nn

from . import special, strided

__all__ = ["FUZZ"]


class Read(torch.nn.Module):
    """The loss of given targets and lengths, as a function of the log-probabilities."""

    def __init__(self, targets, lengths, options):
        super().__init__()
        self.loss = nn.CTCLoss(**options)
        self.rest = (targets, *lengths)

    def forward(self, x):
        return self.loss(x, *self.rest)


def ctc(rng: random.Random):
    steps, batch = rng.choice([0, 1, 2, 7, 12]), rng.choice([1, 2, 5])
    classes = rng.choice([1, 2, 3, 9])
    longest = rng.choice([0, 1, 2, 4, 9])
    blank = rng.choice([0, 0, classes - 1])
    x = torch.randn(steps, batch, classes, dtype=torch.float64)
    kind = rng.choice(["probabilities", "probabilities", "scores", "peaks"])
    if kind != "scores":
        x = (20 * x if kind == "peaks" else x).log_softmax(2)
    input_lengths = [rng.choice([0, steps, rng.randint(0, steps)]) for _ in range(batch)]
    if rng.random() < 0.4:
        input_lengths = [steps] * batch
    # Most fit into their inputs.
    room = longest if rng.random() < 0.3 else min(longest, steps // 2)
    target_lengths = [rng.randint(0, room) for _ in range(batch)]
    targets = torch.randint(classes, (batch, longest), dtype=rng.choice([torch.int32, torch.int64]))
    if rng.random() < 0.5:  # a blank is no label
        targets = torch.where(targets == blank, (blank + 1) % classes, targets)
    if rng.random() < 0.1 and targets.numel():
        targets[rng.randrange(batch), -1] = rng.choice([-1, classes])  # an error, if its length reaches it
    if rng.random() < 0.3:
        targets = torch.cat([row[:count] for row, count in zip(targets, target_lengths)])
    lengths = (tuple(input_lengths), tuple(target_lengths))
    if rng.random() < 0.5:
        dtype = rng.choice([torch.int32, torch.int64])
        lengths = tuple(strided(torch.tensor(k, dtype=dtype), rng) for k in lengths)
    options = {
        "blank": blank,
        "reduction": rng.choice(["none", "mean", "sum"]),
        "zero_infinity": rng.random() < 0.4,
    }
    return partial(Read, strided(targets, rng), lengths, options), (strided(special(x, rng), rng),)


FUZZ = {"CTCLoss": ctc}
