"""The pictures of a run: learning curves, confusion matrix, misread digits."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from torch import Tensor

if TYPE_CHECKING:
    from recipes.compare import Comparison

__all__ = [
    "draw_comparison",
    "draw_confusion",
    "draw_curves",
    "draw_digits",
    "draw_mistakes",
    "draw_predictions",
    "draw_rates",
]

TRAIN, VALIDATION = "tab:blue", "tab:orange"
PARTS = ("tab:green", "tab:purple", "tab:brown")


def draw_curves(metrics: Path, path: Path, unit: str) -> None:
    """Draw the loss and what else was logged, such as accuracy, over the training steps.

    Args:
        metrics: the run's metrics.csv.
        path: the PNG to write.
        unit: what the loss is, and its unit.
    """
    with metrics.open(newline="") as file:
        rows = list(csv.DictReader(file))
    prefix = "train/"
    names = [name.removeprefix(prefix) for name in (rows[0] if rows else {}) if name.startswith(prefix)]
    others = sorted(set(names) - {"loss"})
    figure = Figure(figsize=(6 + 5 * bool(others), 4.2), layout="constrained")
    panels = figure.subplots(1, 1 + bool(others), squeeze=False)[0]
    _draw_series(panels[0], rows, "loss", 1)
    panels[0].set(title="Loss", ylabel=unit, yscale="log")
    panels[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panels[0].yaxis.set_major_formatter("{x:g}")
    panels[0].yaxis.set_minor_locator(NullLocator())
    if others == ["accuracy"]:
        _draw_series(panels[1], rows, "accuracy", 100)
        panels[1].set(title="Accuracy", ylabel="accuracy (%)")
        # The first steps start at 10 %; what matters happens in the last few per cent.
        lowest = [line.get_ydata()[1:] for line in panels[1].lines[1:]]
        lowest = np.concatenate([np.asarray(values, dtype=float) for values in lowest])
        bottom = max(0.0, np.percentile(lowest, 10) - 5) if len(lowest) else 0.0
        panels[1].set_ylim(bottom, 100 + (100 - bottom) * 0.02)
    elif others:
        for name, color in zip(others, PARTS):
            panels[1].plot(*_running_mean(*_series(rows, prefix + name)), color=color, alpha=0.4)
            panels[1].plot(*_series(rows, f"val/{name}"), "o-", color=color, label=f"{name}, validation")
        panels[1].set(title="Parts of the loss (pale: training batches)", ylabel=unit)
    for axes in panels:
        axes.set_xlabel("training step")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)


def _draw_series(axes: Axes, rows: list[dict[str, str]], name: str, scale: float) -> None:
    steps, values = _series(rows, f"train/{name}")
    # Single batches are noisy: pale points, and their mean over about a twentieth of the run.
    axes.plot(steps, values * scale, ".", color=TRAIN, alpha=0.25, markersize=4)
    axes.plot(*_running_mean(steps, values * scale), color=TRAIN, label="training batches, running mean")
    steps, values = _series(rows, f"val/{name}")
    axes.plot(steps, values * scale, "o-", color=VALIDATION, label="validation, after each epoch")


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


def draw_comparison(found: "Comparison", titles: Mapping[str, str], chaos: float, path: Path) -> None:
    """Draw two loss curves, how far they are apart, and what a step costs.

    Args:
        found: the comparison.
        titles: of the contenders.
        chaos: the relative difference to mark.
        path: the PNG to write.
    """
    figure = Figure(figsize=(12, 7), layout="constrained")
    panels = figure.subplot_mosaic([["curves", "costs"], ["apart", "costs"]])
    curves, apart, costs = panels["curves"], panels["apart"], panels["costs"]
    colors: dict[str, str] = {"ours": TRAIN, "eager": VALIDATION, "compile": "tab:green"}
    for name, style in (("eager", "-"), ("ours", "--")):
        losses = found.losses[name].numpy()
        curves.plot(np.arange(1, len(losses) + 1), losses, style, color=colors[name], label=titles[name])
    curves.set(
        title=f"{found.name}: loss of each step", ylabel=found.unit, xlabel="training step", yscale="log"
    )
    curves.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    curves.yaxis.set_major_formatter("{x:g}")
    curves.yaxis.set_minor_locator(NullLocator())
    curves.legend()
    differences = found.differences().numpy()
    # What is equal has no place on a logarithmic axis: it is drawn at the lowest.
    apart.plot(
        np.arange(1, len(differences) + 1), np.maximum(differences, 1e-9), ".", color="black", markersize=3
    )
    first = found.chaos()
    label = f"{chaos:g}, first exceeded at step {first}" if first else f"{chaos:g}, never exceeded"
    apart.axhline(chaos, color="tab:red", linewidth=1, label=label)
    apart.legend(loc="lower right")
    apart.set(title="Difference of the losses", xlabel="training step", ylabel="fraction of torch.nn's loss")
    apart.set(yscale="log", ylim=(5e-10, max(1e-1, 2 * float(np.nan_to_num(differences).max()))))
    names, result = list(found.costs.milliseconds), found.costs
    tables = {
        "time (ms)": {name: result.milliseconds[name] for name in names},
        "saved for\nbackward (MB)": {name: result.saved[name] / 1e6 for name in names},
        "peak\nmemory (MB)": {name: result.peak[name] / 1e6 for name in names},
    }
    width = 0.8 / len(names)
    for k, name in enumerate(names):
        shares = [table[name] / max(table["eager"], 1e-9) for table in tables.values()]
        places = [i + (k - (len(names) - 1) / 2) * width for i in range(len(tables))]
        bars = costs.bar(places, shares, width, color=colors[name], label=titles[name])
        costs.bar_label(bars, [f"{table[name]:.3g}" for table in tables.values()], padding=2, fontsize=9)
    costs.axhline(1, color="black", linewidth=1)
    costs.set_xticks(range(len(tables)), list(tables))
    costs.set(title=f"A training step, {result.case}: lower is better", ylabel="fraction of torch.nn's")
    costs.margins(y=0.25)
    costs.legend()
    for axes in (curves, apart):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def draw_rates(
    rates: Sequence[float],
    losses: Sequence[float],
    marks: Mapping[str, float],
    name: str,
    unit: str,
    path: Path,
) -> None:
    """Draw the loss against the learning rate.

    Args:
        rates: of the steps.
        losses: after those steps; fewer, if they were stopped early.
        marks: rates to mark, by what they are.
        name: of the recipe.
        unit: what the loss is, and its unit.
        path: the PNG to write.
    """
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates[: len(losses)], losses, color=TRAIN)
    for (what, rate), color in zip(marks.items(), ("tab:red", "tab:green", "gray")):
        axes.axvline(rate, color=color, linestyle=":")
        nearest = min(range(len(losses)), key=lambda i: abs(rates[i] - rate))
        axes.plot(rate, losses[nearest], "o", color=color, label=f"{what}: {rate:.2g}")
    axes.set(title=f"{name}: loss while the learning rate rises", xscale="log")
    axes.set(xlabel="learning rate (per step)", ylabel=unit)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def draw_predictions(
    names: Sequence[str],
    pictures: Sequence[Tensor],
    digits: Sequence[Tensor],
    answers: Sequence[str],
    path: Path,
) -> None:
    """Draw pictures of digits, and beside each what the network saw and said.

    Args:
        names: of the files.
        pictures: (H, W) each, brightness from 0 to 1.
        digits: (28, 28) each, from 0 (drawn white) to 1 (drawn black).
        answers: what the network said, in a few words.
        path: the PNG to write.
    """
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4.4 * columns, 2.6 * rows), layout="constrained")
    panels = figure.subplots(rows, 2 * columns, squeeze=False)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[])
    for axes in panels.flat[2 * len(names) :]:
        axes.axis("off")
    for i, (name, picture, digit, answer) in enumerate(zip(names, pictures, digits, answers, strict=True)):
        left, right = panels[i // columns, 2 * (i % columns) : 2 * (i % columns) + 2]
        left.imshow(picture.numpy(), cmap="gray", vmin=0, vmax=1)
        left.set_title(name if len(name) < 24 else f"{name[:20]}...", size=9)
        right.imshow(digit.numpy(), cmap="gray_r", vmin=0, vmax=1)
        right.set_title(answer.replace(", ", "\n"), size=9)
    figure.savefig(path, dpi=120)


def draw_digits(rows: Mapping[Any, Tensor], path: Path, title: str) -> None:
    """Draw rows of digits, each with its name if that is a string.

    Args:
        rows: (N, 1, H, W) brightness from 0 (drawn white) to 1 (drawn black), for each name.
        path: the PNG to write.
        title: of the picture.
    """
    sheet = torch.cat([torch.cat(list(images[:, 0]), dim=1) for images in rows.values()])
    height, width = sheet.shape[0] / 28, sheet.shape[1] / 28
    figure = Figure(figsize=(width * 0.8 + 1.4, height * 0.8 + 0.6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(sheet.numpy(), cmap="gray_r", vmin=0, vmax=1)
    names = [name if isinstance(name, str) else "" for name in rows]
    axes.set(xticks=[], yticks=[28 * i + 14 for i in range(len(rows))], yticklabels=names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(title, size=11)
    figure.savefig(path, dpi=120)


def _series(rows: list[dict[str, str]], name: str) -> tuple[np.ndarray, np.ndarray]:
    points = [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]
    steps, values = zip(*points, strict=True) if points else ((), ())
    return np.array(steps), np.array(values)


def _running_mean(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    width = max(1, len(values) // 20)
    means = np.convolve(values, np.ones(width) / width, mode="valid") if len(values) else values
    return steps[(width - 1) // 2 :][: len(means)], means
