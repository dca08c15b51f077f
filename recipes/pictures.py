"""The pictures of a run: learning curves, confusion matrix, misread digits."""

import csv
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from torch import Tensor

__all__ = ["draw_confusion", "draw_curves", "draw_mistakes"]

TRAIN, VALIDATION = "tab:blue", "tab:orange"


def draw_curves(metrics: Path, path: Path) -> None:
    """Draw loss and accuracy over the training steps.

    Args:
        metrics: the run's metrics.csv.
        path: the PNG to write.
    """
    with metrics.open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    for axes, name, unit in ((loss, "loss", 1), (accuracy, "accuracy", 100)):
        steps, values = _series(rows, f"train/{name}")
        # Single batches are noisy: pale points, and their mean over about a twentieth of the run.
        axes.plot(steps, values * unit, ".", color=TRAIN, alpha=0.25, markersize=4)
        axes.plot(*_running_mean(steps, values * unit), color=TRAIN, label="training batches, running mean")
        steps, values = _series(rows, f"val/{name}")
        axes.plot(steps, values * unit, "o-", color=VALIDATION, label="validation, after each epoch")
        axes.set_xlabel("training step")
        axes.grid(alpha=0.3)
        axes.legend()
    loss.set(title="Loss", ylabel="cross-entropy (nats)", yscale="log")
    loss.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    loss.yaxis.set_major_formatter("{x:g}")
    loss.yaxis.set_minor_locator(NullLocator())
    accuracy.set(title="Accuracy", ylabel="accuracy (%)")
    # The first steps start at 10 %; what matters happens in the last few per cent.
    lowest = [line.get_ydata()[1:] for line in accuracy.lines[1:]]
    lowest = np.concatenate([np.asarray(values, dtype=float) for values in lowest])
    bottom = max(0.0, np.percentile(lowest, 10) - 5) if len(lowest) else 0.0
    accuracy.set_ylim(bottom, 100 + (100 - bottom) * 0.02)
    figure.savefig(path, dpi=120)


def draw_confusion(confusion: Tensor, path: Path) -> None:
    """Draw how often each digit was read as which.

    Args:
        confusion: (10, 10) counts; rows: true digit, columns: predicted.
        path: the PNG to write.
    """
    counts = confusion.cpu().numpy()
    wrong = counts * (1 - np.eye(10, dtype=counts.dtype))
    figure = Figure(figsize=(7, 6.4), layout="constrained")
    axes = figure.subplots()
    # The colours show the errors; on the scale of the diagonal they would all look like zero.
    image = axes.imshow(wrong, cmap="Reds", vmin=0, vmax=max(1, wrong.max()))
    figure.colorbar(image, label="misread digits", shrink=0.8)
    for true, predicted in np.ndindex(10, 10):
        right = true == predicted
        if count := counts[true, predicted]:
            dark = not right and count > 0.6 * wrong.max()
            color = "white" if dark else "tab:green" if right else "black"
            weight = "bold" if right else "normal"
            style = {"ha": "center", "va": "center", "size": 9, "color": color, "weight": weight}
            axes.text(predicted, true, f"{count}", **style)
    axes.set(xticks=range(10), yticks=range(10), xlabel="predicted digit", ylabel="true digit")
    axes.set_title(f"Confusion matrix: {wrong.sum()} of {counts.sum():,} test digits misread")
    figure.savefig(path, dpi=120)


def draw_mistakes(images: Tensor, true: Tensor, predicted: Tensor, path: Path, most: int = 60) -> None:
    """Draw the misread digits, each with what it is and what it was read as.

    Args:
        images: (M, 1, H, W), M misread digits.
        true: (M,) the right digits.
        predicted: (M,) the digits read.
        path: the PNG to write.
        most: draw at most this many, in the order of the test set.
    """
    shown, columns = min(len(images), most), 10
    rows = max(1, -(-shown // columns))
    figure = Figure(figsize=(columns, rows * 1.25 + 0.6), layout="constrained")
    # One picture of all digits, each under the room for its label: sixty axes would take seconds to lay out.
    height, width = images.shape[-2] + 9, images.shape[-1] + 6
    sheet = np.full((rows * height, columns * width), images.min() if shown else 0.0)
    axes = figure.subplots()
    for position in range(shown):
        top, left = position // columns * height + 9, position % columns * width + 3
        sheet[top : top + images.shape[-2], left : left + images.shape[-1]] = images[position, 0].numpy()
        label = f"{true[position]} → {predicted[position]}"
        axes.text(left + images.shape[-1] / 2, top - 1, label, ha="center", va="bottom", size=10)
    axes.imshow(sheet, cmap="gray_r")
    axes.axis("off")
    which = f"{len(images)} misread test digits" + (f", the first {shown}" if shown < len(images) else "")
    axes.set_title(f"{which}: true → predicted" if shown else "No test digit was misread")
    figure.savefig(path, dpi=120)


def _series(rows: list[dict[str, str]], name: str) -> tuple[np.ndarray, np.ndarray]:
    points = [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]
    steps, values = zip(*points, strict=True) if points else ((), ())
    return np.array(steps), np.array(values)


def _running_mean(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    width = max(1, len(values) // 20)
    means = np.convolve(values, np.ones(width) / width, mode="valid") if len(values) else values
    return steps[width - 1 :], means
