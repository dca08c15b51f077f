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
from recipes.data import MNIST, TRAINING_DIGITS, VALIDATION_DIGITS
from recipes.errors import UsageError
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
    x, y = data.on_after_batch_transfer((images[:count], labels[:count]), 0)
    return x, y


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


def label_lines(
    axes: Axes, ends: Sequence[tuple[float, str, Any]], gap: float = 0.06, left: bool = False
) -> None:
    """Write each line's name beside the axes, at the height of its end, pushed apart where names would touch.

    Args:
        axes: with its final limits.
        ends: for each line the y at which it ends (outside the limits or NaN: at the top), name and colour.
        gap: least distance of two names, as a fraction of the axes' height.
        left: write them on the left, not on the right.
    """
    to_axes = axes.transData + axes.transAxes.inverted()
    x, top = axes.get_xlim()[1], axes.get_ylim()[1]
    tips = [to_axes.transform((x, min(y, top) if np.isfinite(y) else top))[1] for y, _, _ in ends]
    order = np.argsort(tips, kind="stable")
    places = spread(np.array(tips)[order], gap)
    for place, index in zip(places, order, strict=True):
        _, name, color = ends[index]
        style = {"transform": axes.transAxes, "color": color}
        edge, knee = (0, -0.03) if left else (1, 1.03)
        axes.plot(
            [edge, knee],
            [tips[index], place],
            linewidth=0.8,
            clip_on=False,
            scalex=False,
            scaley=False,
            **style,
        )
        side = "right" if left else "left"
        axes.text(knee, place, f" {name} ", ha=side, va="center", size=11, weight="bold", **style)


def spread(tips: np.ndarray, gap: float) -> np.ndarray:
    """The places nearest to increasing ``tips``, in the sense of least squares, that are ``gap`` apart."""
    groups: list[tuple[float, int]] = []
    for i, tip in enumerate(tips):
        mean, size = tip - i * gap, 1
        while groups and groups[-1][0] > mean:
            before, many = groups.pop()
            mean, size = (before * many + mean * size) / (many + size), many + size
        groups.append((mean, size))
    places = np.repeat([mean for mean, _ in groups], [size for _, size in groups])
    return places + gap * np.arange(len(tips))
