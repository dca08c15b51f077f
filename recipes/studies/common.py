"""What the studies share: digits, quiet arithmetic, tables, and names written beside their lines."""

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

import manualgrad
from recipes.cli import UsageError
from recipes.data import MNIST, TRAINING_DIGITS, VALIDATION_DIGITS
from recipes.mnist import DataError

__all__ = ["CHANCE", "batches", "digits", "formulas", "label_lines", "require", "show", "write_csv"]

# The cross-entropy, in nats, of saying "each digit with probability 1/10".
CHANCE = math.log(10)


def digits(root: Path, split: str, count: int) -> tuple[Tensor, Tensor]:
    """The first ``count`` digits of a shuffled split, ``train`` or ``val``.

    Returns:
        Images (count, 1, 28, 28), normalized to mean 0 and variance 1, and labels (count,).

    Raises:
        UsageError: the split has not so many.
        DataError: there is no MNIST in ``root``, and it cannot be fetched.
    """
    most = {"train": TRAINING_DIGITS, "val": VALIDATION_DIGITS}[split]
    require(1 <= count <= most, f"--digits {count}: give a number from 1 to {most}")
    data = MNIST(str(root))
    try:
        data.prepare_data()
        data.setup("fit")
    except DataError as error:
        raise DataError(str(error).replace("--data.root", "--root")) from None
    images, labels = data.splits[split]
    return data.on_after_batch_transfer((images[:count], labels[:count]), 0)


def batches(count: int, batch_size: int, steps: int, seed: int) -> Tensor:
    """The digits of each step, (steps, batch_size) indices below ``count``: the same for the same seed."""
    return torch.randint(count, (steps, batch_size), generator=torch.Generator().manual_seed(seed))


@contextmanager
def formulas() -> Iterator[None]:
    """The formulas of ``manualgrad/layers``, on one thread: small matrices gain nothing from more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with manualgrad.kernels("formula"):
            yield
    finally:
        torch.set_num_threads(threads)


def require(condition: bool, message: str) -> None:
    """Raise UsageError with ``message`` unless ``condition``."""
    if not condition:
        raise UsageError(message)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table, floats to six digits."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([f"{v:.6g}" if isinstance(v, float) else v for v in row] for row in rows)


def show(value: float) -> str:
    """A loss as a table prints it: four significant digits, or that it is no number."""
    return f"{value:.4g}" if math.isfinite(value) else "NaN"


def label_lines(axes: Axes, ends: Sequence[tuple[float, str, Any]], gap: float = 0.06) -> None:
    """Write each line's name right of the axes, at the height of its end, pushed apart where names would touch.

    Args:
        axes: with its final limits.
        ends: for each line the y at which it ends (outside the limits or NaN: at the top), name and colour.
        gap: least distance of two names, as a fraction of the axes' height.
    """
    to_axes = axes.transData + axes.transAxes.inverted()
    x = axes.get_xlim()[1]
    top = axes.get_ylim()[1]
    heights = [to_axes.transform((x, min(y, top) if np.isfinite(y) else top))[1] for y, _, _ in ends]
    order = np.argsort(heights)
    places = np.clip(np.array(heights)[order], 0, 1)
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    # Whatever was pushed above the top comes down again, and its neighbours with it.
    for i in reversed(range(len(places))):
        places[i] = min(places[i], 1 - gap * (len(places) - 1 - i))
    for place, index in zip(places, order, strict=True):
        _, name, color = ends[index]
        axes.text(
            1.015, place, name, color=color, transform=axes.transAxes, va="center", size=11, weight="bold"
        )
