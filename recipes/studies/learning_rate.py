"""The learning rate: too small crawls, too large overshoots.

Training repeats one line,

    w ← w − α ∂L/∂w

The derivative says which way is down, and how steep it is here. How far to go is nobody's to derive: that
is the learning rate α, a number to choose. This study trains one small network from the same weights on the
same batches with many rates, a factor of about 3 apart, and draws what becomes of it.

**What to expect.** Near a minimum w* a loss is a parabola, L(w) = L* + ½ κ (w − w*)², whose derivative is κ
(w − w*). Put it into the line above, and the distance to the minimum is multiplied by the same number every
step:

    w − w*  ←  (1 − ακ) (w − w*)

    ακ ≪ 1      1 − ακ is almost 1. After T steps (1 − ακ)ᵀ ≈ exp(−ακT) of the distance is left: almost
                all of it, unless α is at least about 1/(κT). **Too small: it crawls.**
    ακ ≈ 1      the minimum in one step. **Right.**
    1 < ακ < 2  the sign changes: every step lands on the other side, but nearer.
    ακ > 2      |1 − ακ| > 1: every step lands on the other side, higher up. **Too large: it overshoots**,
                and since the wall is steeper up there, the next step is larger still.

A network has a κ for every direction, and they change on the way. The largest sets the limit, α < 2/κ_max;
the small ones need T steps of the size that this limit leaves. Therefore the best rate is as a rule a
little below the one that diverges, and rates are tried on a logarithmic scale: what matters is the factor.

**What is computed.** L₀ is the loss on validation digits before the first step, L_α the one after the last
step with rate α, and L_best the smallest of them. A rate is

    right       if it has made at least 90 % of the best rate's progress: L₀ − L_α ≥ 0.9 (L₀ − L_best), and
                so have all rates between it and the best one
    too small   if it is below these,  too large  if it is above
    diverged    besides, if its loss ended as NaN or inf, or above L₀, where it had begun

If even the best made less than 10 % of the way from L₀ down to 0, none is right: a rate is then too large
if it diverged, else too small. "Best" means after so many steps: with more of them smaller rates become
right.

**What to look for in the pictures.**

- ``curves.png``, left: the loss over the steps, a line for each rate. The blue lines crawl: the smallest
  rates hardly move. The green ones fall. A red one jumps up in its first steps; it comes back late, or
  becomes NaN, or stays at ln 10 ≈ 2.3, the loss of a network that says "each digit with probability 1/10"
  whatever it is shown: it was thrown where all its ReLUs are 0, and no derivative comes through them any
  more.
- ``curves.png``, right: the loss and the accuracy they end with. From the left: no progress, then more with
  every rate; then a valley, not sharp (a factor of 3 matters little there); then a wall.
- ``valley.png``: a cut through the landscape. From weights w₁ early in training we look along g = ∂L/∂w, at
  φ(s) = L(w₁ − s g). Gradient descent on this line is s ← s − α φ'(s)/|g|², and its first step goes to s =
  α. Three rates walk on it: one stays where it is, one gets down, one steps over the valley, up the other
  wall.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from torch import Tensor

from manualgrad import nn, optim
from recipes.run import new_folder
from recipes.studies import common
from recipes.studies.common import CHANCE, require, show

__all__ = ["Run", "classify", "main"]

PROGRESS, LEARNED = 0.9, 0.1
CUT_AFTER = 20
VALIDATION = 2000
WORDS = {"too small": "crawls", "right": "gets down", "too large": "overshoots"}
COLORS = {"too small": "#1f5fa8", "right": "#1a7f37", "too large": "#c62828"}
RATES = [1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]


class Run(NamedTuple):
    """What became of one learning rate.

    Args:
        rate: α.
        losses: of each step's batch, nats; NaN after a step that was none.
        loss: of the validation digits after the last step; NaN if it diverged to that.
        accuracy: of the validation digits after the last step, from 0 to 1.
    """

    rate: float
    losses: list[float]
    loss: float
    accuracy: float


def main(
    root: Path = Path("data"),
    rates: list[float] = RATES,
    steps: int = 300,
    batch_size: int = 100,
    digits: int = 5000,
    width: int = 64,
    seed: int = 1,
    folder: Path = Path("runs"),
) -> None:
    """Train a network with many learning rates, and draw: too small, right, overshooting.

    Args:
        root: folder with MNIST/raw; fetched into it when missing.
        rates: the learning rates α, at least two.
        steps: updates with each of them.
        batch_size: digits whose mean loss gives one gradient.
        digits: how many to train on.
        width: neurons of each of the two hidden layers.
        seed: of the weights and of the batches.
        folder: where to make learning_rate/DATE_TIME, with the pictures and tables.
    """
    for rate in rates:
        require(
            math.isfinite(rate) and rate > 0, f"--rates: {rate:g} is no learning rate; give numbers above 0"
        )
    rates = sorted(set(rates))
    require(len(rates) > 1, f"--rates {rates}: give at least two different ones, such as [0.01,0.1,1]")
    for name, value in {"steps": steps, "batch_size": batch_size, "width": width}.items():
        require(value > 0, f"--{name} {value}: give a number above 0")

    train, val = common.digits(root, "train", digits), common.digits(root, "val", VALIDATION)
    chosen = common.batches(digits, batch_size, steps, seed)
    with common.formulas():
        start, _ = evaluate(network(width, seed), *val)
        print(f"{steps} steps of {batch_size} digits with each rate; before the first: loss {start:.4g}")
        print("      rate   final loss   accuracy", flush=True)
        runs = []
        for rate in rates:
            runs.append(train_with(rate, network(width, seed), *train, chosen, val))
            accuracy = f"{100 * runs[-1].accuracy:7.2f} %"
            print(f"{rate:10.4g} {show(runs[-1].loss):>12}  {accuracy}", flush=True)
        regions = classify(rates, start, [run.loss for run in runs])
        best = min(runs, key=lambda run: run.loss if math.isfinite(run.loss) else math.inf)
        guide = network(width, seed)
        if not diverged(best.loss, start):
            train_with(best.rate, guide, *train, chosen[:CUT_AFTER], val)
        cut, slope = cut_along_gradient(guide, *train)
        out = new_folder(folder, "learning_rate", "--folder")
        draw_curves(runs, regions, start, out / "curves.png")
        draw_valley(cut, slope, dict(zip(rates, regions)), out / "valley.png")

    header = ["rate", "region", "diverged", "final_loss", "accuracy"]
    rows = [(r.rate, region, diverged(r.loss, start), r.loss, r.accuracy) for r, region in zip(runs, regions)]
    common.write_csv(out / "rates.csv", header, rows)
    header = ["step", *(f"{rate:.6g}" for rate in rates)]
    common.write_csv(out / "losses.csv", header, zip(range(1, steps + 1), *(run.losses for run in runs)))
    print(conclusion(rates, regions, best))
    print(f"{out}: {', '.join(sorted(path.name for path in out.iterdir()))}", flush=True)


def network(width: int, seed: int) -> nn.Sequential:
    """Two hidden layers; the same weights for the same seed."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 10),
    )


def train_with(
    rate: float, model: nn.Module, x: Tensor, y: Tensor, batches: Tensor, val: tuple[Tensor, Tensor]
) -> Run:
    """Train ``model`` with plain stochastic gradient descent, until the loss is no number or batches end."""
    optimizer, loss_of = optim.SGD(model.parameters(), lr=rate), nn.CrossEntropyLoss()
    losses = [math.nan] * len(batches)
    for step, batch in enumerate(batches):
        loss = loss_of(model(x[batch]), y[batch])
        losses[step] = loss.item()
        if not math.isfinite(losses[step]):
            return Run(rate, losses, math.nan, evaluate(model, *val)[1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Run(rate, losses, *evaluate(model, *val))


@torch.no_grad()
def evaluate(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Mean cross-entropy in nats (NaN if it is infinite), and the part of the digits read right."""
    logits = model(x)
    loss = nn.CrossEntropyLoss()(logits, y).item()
    return loss if math.isfinite(loss) else math.nan, (logits.argmax(dim=1) == y).float().mean().item()


def diverged(loss: float, start: float) -> bool:
    """Whether a final loss is no number, or above the one before the first step."""
    return not loss <= start


def classify(rates: Sequence[float], start: float, finals: Sequence[float]) -> list[str]:
    """Say of each rate whether it is ``too small``, ``right`` or ``too large``.

    Args:
        rates: in increasing order.
        start: loss before the first step.
        finals: loss after the last step with each rate; NaN or inf where it diverged.

    Returns:
        The three words, by the rule in this module's docstring.
    """
    best = min(range(len(rates)), key=lambda i: finals[i] if math.isfinite(finals[i]) else math.inf)
    progress = start - finals[best]
    if not progress >= LEARNED * start:
        return ["too large" if diverged(final, start) else "too small" for final in finals]
    good = [start - final >= PROGRESS * progress for final in finals]
    low = high = best
    while low > 0 and good[low - 1]:
        low -= 1
    while high < len(rates) - 1 and good[high + 1]:
        high += 1
    return ["too small" if i < low else "too large" if i > high else "right" for i in range(len(rates))]


def representatives(runs: Sequence[Run], regions: Sequence[str]) -> list[int]:
    """Which run stands for each region that there is: a middling small one, the best, the first too large."""
    places = {region: [i for i, r in enumerate(regions) if r == region] for region in COLORS}
    small, right, large = places.values()
    return [
        *small[len(small) // 2 : len(small) // 2 + 1],
        *sorted(right, key=lambda i: runs[i].loss)[:1],
        *large[:1],
    ]


def cut_along_gradient(
    model: nn.Module, x: Tensor, y: Tensor
) -> tuple[Callable[[float], float], Callable[[float], float]]:
    """The loss along its gradient at the model's weights w₁, and the step that gradient descent takes there.

    Returns:
        s → φ(s) = L(w₁ − s g), and s → φ'(s)/|g|², where g = ∂L/∂w at w₁.
    """
    loss_of, weights = nn.CrossEntropyLoss(), list(model.parameters())
    origin = [w.detach().clone() for w in weights]

    def at(s: float) -> tuple[float, list[Tensor]]:
        with torch.no_grad():
            for w, w1, direction in zip(weights, origin, g):
                w.copy_(w1 - s * direction)
        loss = loss_of(model(x), y)
        return loss.item(), list(torch.autograd.grad(loss, weights))

    g = [torch.zeros_like(w) for w in weights]
    g = at(0.0)[1]
    square = sum((direction * direction).sum().item() for direction in g)

    def slope(s: float) -> float:
        return -sum((here * direction).sum().item() for here, direction in zip(at(s)[1], g)) / square

    return lambda s: at(s)[0], slope


def conclusion(rates: Sequence[float], regions: Sequence[str], best: Run) -> str:
    """What the study found, in a sentence or two."""
    right = [rate for rate, region in zip(rates, regions) if region == "right"]
    if not right:
        side = "smaller" if set(regions) == {"too large"} else "larger"
        if len(set(regions)) == 2:
            side = "between the small and the large"
        return f"None of these rates is right: try {side} ones, or more steps."
    ends = f"{right[0]:g}" if len(right) == 1 else f"{right[0]:g} to {right[-1]:g}"
    words = [f"Right: {ends} (best {best.rate:g}, loss {best.loss:.3g}, {100 * best.accuracy:.1f} %)"]
    small = [rate for rate, region in zip(rates, regions) if region == "too small"]
    large = [rate for rate, region in zip(rates, regions) if region == "too large"]
    words.append(f"up to {small[-1]:g} it crawls" if small else "none is too small: try smaller ones, too")
    words.append(
        f"from {large[0]:g} on it overshoots" if large else "none is too large: try larger ones, too"
    )
    return "; ".join(words) + "."


def draw_curves(runs: Sequence[Run], regions: Sequence[str], start: float, path: Path) -> None:
    """Draw the loss over the steps, and the final loss and accuracy over the rates."""
    figure = Figure(figsize=(16, 7.6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.12, 1), squeeze=False)[0]
    _draw_losses(left.subplots(), runs, regions, start)
    top, bottom = right.subplots(2, 1, sharex=True)
    rates = np.array([run.rate for run in runs])
    shades = [_shade(run, runs, regions) for run in runs]
    bad = [diverged(run.loss, start) for run in runs]

    roof = 4 * max(start, CHANCE)
    heights = [min(run.loss, 0.75 * roof) if math.isfinite(run.loss) else 0.75 * roof for run in runs]
    top.plot(rates, heights, color="0.6", linewidth=1, zorder=1)
    bottom.plot(rates, [100 * run.accuracy for run in runs], color="0.6", linewidth=1, zorder=1)
    for run, height, shade, lost in zip(runs, heights, shades, bad):
        marker = {"marker": "X" if lost else "o", "s": 110 if lost else 90, "color": shade, "zorder": 3}
        top.scatter(run.rate, height, **marker)
        bottom.scatter(run.rate, 100 * run.accuracy, **marker)
        if not math.isfinite(run.loss):
            top.annotate(
                "NaN", (run.rate, height), (0, -17), textcoords="offset points", ha="center", size=10
            )
    if any(bad):
        top.scatter([], [], marker="X", s=110, color=COLORS["too large"], label="diverged")
        top.legend(loc="lower left")
    least = min(run.loss for run in runs if math.isfinite(run.loss)) if not all(bad) else CHANCE
    top.set(yscale="log", ylim=(0.6 * least, roof), ylabel="final loss (nats)")
    _plain_log(top)
    bottom.set(xscale="log", ylim=(0, 104), ylabel="final accuracy (%)", xlabel="learning rate α")
    for axes, chance, text in ((top, CHANCE, "chance: ln 10"), (bottom, 10, "chance: 10 %")):
        axes.axhline(chance, color="0.35", linestyle=":", zorder=1)
        axes.annotate(text, (rates[0], chance), (-6, -5), textcoords="offset points", va="top", size=10)
        axes.grid(alpha=0.25)
        _shade_regions(axes, rates, regions, name=axes is top)
    top.set_title(f"After {len(runs[0].losses)} steps (validation digits)", pad=26)
    figure.savefig(path, dpi=120)


def _draw_losses(axes: Axes, runs: Sequence[Run], regions: Sequence[str], start: float) -> None:
    window = max(1, len(runs[0].losses) // 30)
    named, ends, lowest = set(representatives(runs, regions)), [], start
    named |= set([i for i, run in enumerate(runs) if diverged(run.loss, start)][:1])
    for i, (run, region) in enumerate(zip(runs, regions)):
        # A mean over what there is of the last steps, so that the first jumps are not cut off.
        losses = np.array(run.losses)
        means = np.array([losses[max(0, k + 1 - window) : k + 1].mean() for k in range(len(losses))])
        finite = means[np.isfinite(means)]
        lowest = min(lowest, *finite) if len(finite) else lowest
        style: dict[str, Any] = (
            {"linewidth": 2.8, "zorder": 3} if i in named else {"linewidth": 1.1, "alpha": 0.75}
        )
        color = _shade(run, runs, regions)
        axes.plot(range(1, len(losses) + 1), means, color=color, **style)
        name = f"α = {run.rate:g}"
        if i in named:
            word = "diverges" if diverged(run.loss, start) else WORDS[region]
            name += f"  {region}: {word}"
        ends.append((means[-1], name, color))
    axes.axhline(CHANCE, color="0.35", linestyle=":", zorder=1, label="chance: ln 10")
    axes.set(yscale="log", xlim=(0, len(runs[0].losses)), ylim=(0.75 * lowest, 10 * max(start, CHANCE)))
    axes.set(xlabel="training step", ylabel="loss of the batch (nats), running mean")
    axes.set_title("w ← w − α ∂L/∂w: the loss while training")
    axes.legend(loc="lower left")
    _plain_log(axes)
    axes.grid(alpha=0.25)
    common.label_lines(axes, ends, gap=0.043)


def draw_valley(
    cut: Callable[[float], float],
    slope: Callable[[float], float],
    regions: Mapping[float, str],
    path: Path,
    steps: int = 5,
) -> None:
    """Draw φ(s), and the steps on it of a rate of each region, a panel for each.

    The middle one of the small rates, the right one that gets lowest on this line, the first too large.
    """
    places = {name: [rate for rate, region in regions.items() if region == name] for name in COLORS}
    small, right, large = places.values()
    ends = {rate: cut(_walk(slope, rate, steps)[-1]) for rate in right}
    walkers = [*small[len(small) // 2 :][:1], *sorted(right, key=ends.__getitem__)[:1], *large[:1]]
    far = max(walkers)
    grid = np.linspace(-0.35 * far, 1.2 * far, 121)
    values = np.array([cut(s) for s in grid])
    start, bottom = cut(0.0), np.nanmin(values)
    figure = Figure(figsize=(5.4 * len(walkers), 5.6), layout="constrained")
    for axes, rate in zip(figure.subplots(1, len(walkers), sharey=True, squeeze=False)[0], walkers):
        color, walk = COLORS[regions[rate]], _walk(slope, rate, steps)
        axes.plot(grid, values, color="0.25", linewidth=2.2)
        seen = [(s, cut(s)) for s in walk]
        seen = seen[: next((k for k, (s, _) in enumerate(seen) if not grid[0] <= s <= grid[-1]), len(seen))]
        for here, there in pairwise(seen):
            arrow = {"arrowstyle": "-|>", "color": color, "linewidth": 2, "shrinkA": 4, "shrinkB": 4}
            if abs(there[0] - here[0]) > 0.03 * far:
                axes.annotate("", there, here, arrowprops=arrow, zorder=4)
        axes.plot(*zip(*seen), "o", color=color, markersize=9, alpha=0.8, zorder=5)
        axes.annotate("start", seen[0], (-8, -6), textcoords="offset points", ha="right", va="top", size=11)
        gone = 0 if abs(start - bottom) == 0 else (start - seen[-1][1]) / (start - bottom)
        word = f"after {len(seen) - 1} steps {100 * gone:.0f} % of the way down"
        if seen[-1][1] > start:
            word = "over the valley, up the other wall"
            if len(walk) > len(seen):
                style = {"ha": "right", "va": "center", "color": color, "size": 11}
                text = f"the next step goes to s = {walk[len(seen)]:.2g}"
                axes.annotate(text, seen[-1], (-16, 0), textcoords="offset points", **style)
        axes.set_title(f"α = {rate:g}, {regions[rate]}:\n{word}", color=color, weight="bold")
        axes.set(xlabel="s: how far against the gradient, in units of g", ylim=_room(values))
        axes.grid(alpha=0.25)
    figure.axes[0].set_ylabel("loss φ(s) = L(w₁ − s g)  (nats)")
    figure.savefig(path, dpi=120)


def _walk(slope: Callable[[float], float], rate: float, steps: int) -> list[float]:
    # Gradient descent on the line.
    walk = [0.0]
    for _ in range(steps):
        walk.append(walk[-1] - rate * slope(walk[-1]))
        if not math.isfinite(walk[-1]):
            return walk[:-1]
    return walk


def _room(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    low, high = finite.min(), finite.max()
    # Never an empty axis: where all rates are tiny, the loss is one number.
    height = max(high - low, 1e-6 * abs(high))
    return low - 0.12 * height, high + 0.05 * height


def _shade(run: Run, runs: Sequence[Run], regions: Sequence[str]) -> tuple[float, ...]:
    """The colour of the run's region, stronger for rates further from the right ones."""
    region = next(r for other, r in zip(runs, regions) if other.rate == run.rate)
    members = [other.rate for other, r in zip(runs, regions) if r == region]
    place = (members.index(run.rate) + 1) / len(members)
    strength = 1.0 - 0.5 * place if region == "too small" else 0.5 + 0.5 * place
    return LinearSegmentedColormap.from_list(region, ["white", COLORS[region]])(strength)


def _shade_regions(axes: Axes, rates: np.ndarray, regions: Sequence[str], name: bool) -> None:
    # From half-way (on the logarithmic axis) to the rate before, to half-way to the rate after.
    edges = np.sqrt(rates[:-1] * rates[1:])
    edges = np.array([rates[0] ** 2 / edges[0], *edges, rates[-1] ** 2 / edges[-1]])
    for region, color in COLORS.items():
        places = [i for i, r in enumerate(regions) if r == region]
        if places:
            low, high = edges[places[0]], edges[places[-1] + 1]
            axes.axvspan(low, high, color=color, alpha=0.09, zorder=0)
            if name:
                style = {"ha": "center", "va": "bottom", "color": color, "size": 12, "weight": "bold"}
                axes.text(math.sqrt(low * high), 1.015, region, transform=axes.get_xaxis_transform(), **style)
    axes.set_xlim(edges[0], edges[-1])


def _plain_log(axes: Axes) -> None:
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
