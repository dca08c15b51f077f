"""What the lessons share: digits, a plain training loop, and the choice between your layer and the solution.

It is short on purpose: nothing in it computes a derivative.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the recipes, which know where MNIST is

from manualgrad import check
from recipes import mnist

__all__ = ["Digits", "accuracy", "choose", "digits", "show_digits", "style", "train"]

BLUE, ORANGE, GREEN, RED, GREY = "#3465a4", "#e07b00", "#3a8f3a", "#c0392b", "#777777"


def style() -> None:
    """Pictures that look alike in all lessons: small, with a light grid."""
    plt.rcParams.update(
        {
            "figure.figsize": (6.4, 3.2),
            "figure.dpi": 90,
            "figure.constrained_layout.use": True,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "font.size": 10,
            "image.cmap": "gray",
        }
    )


@dataclass(frozen=True)
class Digits:
    """MNIST, or a part of it, in memory.

    Args:
        images: (N, 1, 28, 28), float32, shifted and scaled to mean 0 and standard deviation 1.
        labels: (N,), int64, 0 to 9.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Once through all digits, in random order; the last, smaller batch is left out."""
        order = torch.randperm(len(self), generator=generator)
        for start in range(0, len(self) - size + 1, size):
            rows = order[start : start + size]
            yield self.images[rows], self.labels[rows]


def digits(train: int = 60_000, test: int = 10_000) -> tuple[Digits, Digits]:
    """The first ``train`` training digits and the first ``test`` test digits.

    They are read from ``data/`` beside the folder of notebooks, and fetched into it the first time.

    Raises:
        recipes.mnist.DataError: they are not there and cannot be fetched; it says what to put where.
    """
    folder, _ = mnist.ensure(ROOT / "data")
    parts = []
    for split, count in (("train", train), ("t10k", test)):
        images, labels = mnist.load(folder, split)
        pixels = (images[:count, None].float() / 255 - 0.1307) / 0.3081
        parts.append(Digits(pixels, labels[:count].long()))
    return parts[0], parts[1]


def train(
    model: nn.Module,
    data: Digits,
    *,
    epochs: float = 1,
    lr: float = 0.1,
    momentum: float = 0.0,
    batch_size: int = 64,
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy,
    seed: int = 0,
) -> list[float]:
    """The loop of the textbook: forward, error, backward, update. Returns the loss of each step.

    Args:
        model: takes images (B, 1, 28, 28), returns logits (B, 10).
        epochs: how often to go through the data; 0.5 is half of it.
        momentum: of torch.optim.SGD.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    generator = torch.Generator().manual_seed(seed)
    steps = int(epochs * (len(data) // batch_size))
    losses: list[float] = []
    model.train()
    while len(losses) < steps:
        for images, labels in data.batches(batch_size, generator):
            error = loss(model(images), labels)
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
            losses.append(error.item())
            if len(losses) == steps:
                break
    return losses


@torch.no_grad()
def accuracy(model: nn.Module, data: Digits) -> float:
    """The percentage of digits that ``model`` reads rightly."""
    model.eval()
    right = sum(
        int((model(images).argmax(1) == labels).sum())
        for images, labels in zip(data.images.split(500), data.labels.split(500))
    )
    return 100 * right / len(data)


def choose(mine: Any, solution: Any, *inputs: Any, **kwargs: Any) -> Any:
    """``mine`` if it passes every check, else ``solution``, so that the lesson goes on; says which.

    Args:
        mine, solution: what you wrote and what is folded away: Functions, functions of tensors, or modules.
        inputs, kwargs: what both are checked with, as :func:`manualgrad.check` takes them.

    Raises:
        AssertionError: if the solution itself fails, which would be our mistake.
    """
    if check(mine, *inputs, **kwargs):
        print("Yours passes every check: from here on, the network is built with it.")
        return mine
    report = check(solution, *inputs, **kwargs)
    assert report, report
    print(
        "Yours does not pass yet: from here on the solution stands in. Mend yours and run again from there."
    )
    return solution


def show_digits(images: Tensor, titles: list[str] | None = None, **options: Any) -> None:
    """A row of images (B, 1, 28, 28), or of any (B, H, W), with a title each; ``options`` go to imshow."""
    images = images.detach().reshape(len(images), *images.shape[-2:])
    figure, axes = plt.subplots(1, len(images), figsize=(1.1 * len(images), 1.4), squeeze=False)
    for axis, image, title in zip(axes[0], images, titles or [""] * len(images)):
        axis.imshow(image, **options)
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    plt.show()
