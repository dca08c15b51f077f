"""The vocabulary in which rows are written: inputs to be drawn, and cases."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .row import Case, Sample

__all__ = [
    "CHANCES",
    "IMAGES",
    "INF",
    "LOGITS",
    "NAN",
    "REDUCTIONS",
    "VECTORS",
    "WEIGHTS",
    "call",
    "case",
    "constant",
    "distribution",
    "given",
    "index",
    "plane",
    "positive",
    "probability",
    "real",
    "row_of",
]


def real(*shape: int) -> Sample:
    """Normally distributed."""
    return Sample(shape, lambda dtype: torch.randn(shape, dtype=torch.float64).to(dtype))


def index(*shape: int, high: int) -> Sample:
    """Integers in [0, high)."""
    return Sample(shape, lambda dtype: torch.randint(high, shape))


def probability(*shape: int) -> Sample:
    """Strictly between 0 and 1."""
    return Sample(shape, lambda dtype: (0.05 + 0.9 * torch.rand(shape, dtype=torch.float64)).to(dtype))


def positive(*shape: int) -> Sample:
    """Between 0.5 and 2.5."""
    return Sample(shape, lambda dtype: (0.5 + 2 * torch.rand(shape, dtype=torch.float64)).to(dtype))


def distribution(*shape: int) -> Sample:
    """Positive, with sum 1 along the class axis."""
    axis = min(1, len(shape) - 1)
    return Sample(shape, lambda dtype: torch.randn(shape, dtype=torch.float64).softmax(axis).to(dtype))


def given(*values: Any) -> Sample:
    """These numbers, in one axis."""
    return constant(torch.tensor(values))


def constant(tensor: Tensor) -> Sample:
    """This tensor, in the dtype asked for unless it holds integers."""
    shape = tuple(tensor.shape)
    return Sample(
        shape, lambda dtype: tensor.to(dtype if tensor.is_floating_point() else tensor.dtype, copy=True)
    )


def row_of(*values: float) -> Sample:
    """A batch of one sample with these numbers."""
    return constant(torch.tensor([values]))


def plane(ndim: int, *lead: int, extra: int = 0) -> Sample:
    """An image of ``ndim`` axes of slightly different, small lengths behind the axes ``lead``."""
    smallest = (5, 4, 3)[ndim - 1] + extra
    return real(*lead, *(smallest + k for k in range(ndim)))


def case(*args: Any, inputs: tuple[Sample, ...] | Sample, **kwargs: Any) -> Case:
    """A Case, written as the constructor's call."""
    own = ("forward", "training", "arrange", "no_derivative", "cannot")
    options = {key: kwargs.pop(key) for key in own if key in kwargs}
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    return Case(args, kwargs, inputs, **options)


def call(*inputs: Sample, **options: Any) -> Case:
    """A Case of a function, written as its call: the tensors, then the other arguments."""
    own = {key: options.pop(key) for key in ("arrange", "no_derivative", "cannot") if key in options}
    return Case(inputs=inputs, forward=options, **own)


INF, NAN = float("inf"), float("nan")
REDUCTIONS = ("none", "sum", "mean")
LOGITS, CHANCES = real(4, 3), probability(4, 3)
WEIGHTS = torch.tensor([0.5, 1.0, 2.0])  # of three classes, or columns
# To be timed: digits, features, images; and batches of vectors
IMAGES = ((128, 784), (1024, 1024), (16, 3, 224, 224))
VECTORS = ((128, 64), (1024, 256), (8192, 512))
