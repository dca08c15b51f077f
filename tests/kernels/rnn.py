"""Draws for ``kernels/cpu/rnn.py`` and ``kernels/cpu/rnn_cell.py``."""

from __future__ import annotations

import random

import torch

from manualgrad import nn

from . import special, strided

__all__ = ["FUZZ"]


def numbers(rng: random.Random, *shape: int) -> torch.Tensor:
    return strided(special(torch.randn(*shape, dtype=torch.float64), rng), rng)


def network(layer, cells: int, **choices):
    """A draw of ``layer``, whose initial state is ``cells`` tensors: one, or a pair."""

    def draw(rng: random.Random):
        features, count, layers = rng.choice([1, 3, 8]), rng.choice([2, 5, 16]), rng.choice([1, 1, 2])
        options = {name: rng.choice(values) for name, values in choices.items()}
        options |= {"bias": rng.random() < 0.7, "bidirectional": rng.random() < 0.3}
        batch_first = options["batch_first"] = rng.random() < 0.5
        steps, batch = rng.choice([1, 2, 4]), rng.choice([1, 2, 5])
        many = layers * (2 if options["bidirectional"] else 1)
        sizes = [options.get("proj_size") or count, count][:cells]
        batched = rng.random() < 0.8
        shape = (batch, steps) if batch_first else (steps, batch)
        x = numbers(rng, *(shape if batched else (steps,)), features)
        state = tuple(numbers(rng, many, *((batch,) if batched else ()), size) for size in sizes)
        given = rng.random() < 0.6

        class Run(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = layer(features, count, layers, **options)

            def forward(self, x, *state):
                output, last = self.layer(x, *((state if cells > 1 else state[0],) if state else ()))
                return (output, *(last if cells > 1 else (last,)))

        return Run, (x, *(state if given else ()))

    return draw


def cell(layer, cells: int, **choices):
    """As :func:`network`, of one step."""

    def draw(rng: random.Random):
        features, count = rng.choice([1, 3, 8]), rng.choice([1, 2, 5, 16])
        options = {name: rng.choice(values) for name, values in choices.items()}
        options["bias"] = rng.random() < 0.7
        batch = rng.choice([(), (0,), (1,), (5,)])
        x = numbers(rng, *batch, features)
        state = tuple(numbers(rng, *batch, count) for _ in range(cells))
        given = rng.random() < 0.6

        class Run(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = layer(features, count, **options)

            def forward(self, x, *state):
                return self.layer(x, *((state if cells > 1 else state[0],) if state else ()))

        return Run, (x, *(state if given else ()))

    return draw


FUZZ = {
    "RNN": network(nn.RNN, 1, nonlinearity=["tanh", "relu"]),
    "LSTM": network(nn.LSTM, 2, proj_size=[0, 0, 1]),
    "GRU": network(nn.GRU, 1),
    "RNNCell": cell(nn.RNNCell, 1, nonlinearity=["tanh", "relu"]),
    "LSTMCell": cell(nn.LSTMCell, 2),
    "GRUCell": cell(nn.GRUCell, 1),
}
