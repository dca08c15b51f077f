"""``python -m recipes compare``: a recipe, trained with manualgrad and with torch.nn, side by side.

Both start from the same weights and see the same batches. Time and memory of a training step (forward, loss,
backward, update) are measured afterwards, on one batch, in turn, as medians. More options are those of fit;
--backend torch compares torch.nn with itself.
"""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from manualgrad.bench.recipes import Contender, measure
from manualgrad.bench.result import Result
from recipes.errors import RecipeError, UsageError
from recipes.recipe import OPTIONS, Recipe
from recipes.tool import Parser, Placed, Prepared, folder_for

__all__ = ["Comparison", "compare", "main"]

# Where the loss curves are compared, in steps; and by how much they may differ, as a fraction.
MARKS = (10, 50, 200)
CHAOS = 1e-3
# The contenders of a measurement, as they are called in what is printed.
CONTENDERS = {"ours": "manualgrad", "eager": "torch.nn", "compile": "torch.compile"}


class Comparison(NamedTuple):
    """A recipe trained with two backends, and what its steps cost; tables by contender."""

    name: str
    unit: str
    summaries: dict[str, dict[str, Any]]
    losses: dict[str, Tensor]
    costs: Result

    def differences(self) -> Tensor:
        """|ours − torch.nn's| / |torch.nn's| of the loss, step by step."""
        ours, theirs = (self.losses[name].double() for name in ("ours", "eager"))
        return (ours - theirs).abs() / theirs.abs().clamp(min=1e-30)

    def chaos(self) -> int | None:
        """The first step, counted from 1, whose losses differ by more than a thousandth."""
        # Not <=, so that a loss that is not a number counts.
        beyond = (~(self.differences() <= CHAOS)).nonzero()
        return int(beyond[0]) + 1 if len(beyond) else None


class Step(nn.Module):
    """The training step of a recipe without a Trainer: its output is the loss, and nothing is logged.

    Args:
        recipe: the recipe.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        recipe.record = _log_nothing

    def forward(self, *batch: Tensor) -> Tensor:
        """The loss of a batch."""
        loss = self.recipe.training_step(batch, 0)
        assert isinstance(loss, Tensor)
        return loss


def _log_nothing(*_: Any, **__: Any) -> None:
    pass


def compare(options: Sequence[str], folder: Path, seconds: float = 2.0, compiled: bool = False) -> Comparison:
    """Train with both backends and measure a step of each.

    Args:
        options: of ``fit``; its backend is the one compared with torch.nn.
        folder: where the two runs go.
        seconds: to measure each contender.
        compiled: whether to measure torch.compile, too.
    """
    summaries, losses, steps = {}, {}, {}
    every_step = ["--trainer.log_every_n_steps", "1"]
    for name, backend in {"ours": [], "eager": ["--backend", "torch"]}.items():
        run = Placed([*options, *every_step, *backend], folder / name)
        path = run.folder / "summary.json"
        if not path.is_file():
            raise RecipeError(
                f"{CONTENDERS[name]}: the run left no {path}; leave out what keeps fit from a run"
            )
        summaries[name] = json.loads(path.read_text())
        losses[name] = _losses(run.folder / "metrics.csv")
        steps[name] = Prepared([*options, *backend], folder / "untrained")
    if len(losses["ours"]) != len(losses["eager"]):
        raise RecipeError(
            f"{len(losses['ours'])} steps with {summaries['ours']['backend']}, {len(losses['eager'])} with "
            "torch: leave out what ends a run early, such as --patience"
        )
    trained = steps["ours"]
    torch.manual_seed(0)
    contenders, batch = {}, _batch(trained)
    device = trained.trainer.strategy.root_device
    for name in CONTENDERS if compiled else ("ours", "eager"):
        recipe = steps["ours" if name == "ours" else "eager"].model.to(device)
        # Of the schedule, the rate at its beginning.
        rates = {**{option: recipe.hparams[option] for option in OPTIONS}, "lr": 0.1 * recipe.hparams["lr"]}
        # Ours are as given: with the backend torch they are not swapped.
        backend = "eager" if recipe.hparams["backend"] == "torch" and name == "ours" else name
        contenders[name] = Contender(backend, Step(recipe), "AdamW", rates, batch)
    recipe, size = type(trained.model).__name__.lower(), len(batch[0])
    costs = measure(recipe, f"batch {size}", contenders, seconds)
    return Comparison(recipe, trained.model.unit, summaries, losses, costs)


def _losses(metrics: Path) -> Tensor:
    with metrics.open(newline="") as file:
        return torch.tensor(
            [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]
        )


def _batch(prepared: Prepared) -> tuple[Tensor, ...]:
    data, device = prepared.datamodule, prepared.trainer.strategy.root_device
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    return data.on_after_batch_transfer(tuple(part.to(device) for part in batch), 0)


def report(found: Comparison) -> str:
    """The comparison as a table in plain text, and where ours loses."""
    names = list(found.costs.milliseconds)
    titles = {**CONTENDERS, "ours": found.summaries["ours"]["backend"]}
    lines = [f"{'':34}" + "".join(f"{titles[name]:>16}" for name in names)]

    def row(title: str, cells: Sequence[str], note: str = "") -> None:
        lines.append(f"{title:34}" + "".join(f"{cell:>16}" for cell in cells) + f"   {note}".rstrip())

    summaries = found.summaries
    metric = str(summaries["ours"]["metric"])
    values = [summaries[name]["value"] for name in ("ours", "eager")]
    percent = metric == "accuracy"
    title = f"{'test' if summaries['ours']['split'] == 'test' else 'validation'} {metric}"
    shown = [
        "-" if value is None else f"{100 * value:.2f} %" if percent else f"{value:.5g}" for value in values
    ]
    row(title, shown)
    row("training", [f"{summaries[name]['training_seconds']:.1f} s" for name in ("ours", "eager")])
    behind = []
    for title, table, form, scale in (
        ("a step", found.costs.milliseconds, "{:.2f} ms", 1.0),
        ("saved for backward", found.costs.saved, "{:.2f} MB", 1e-6),
        ("peak memory of a step", found.costs.peak, "{:.2f} MB", 1e-6),
    ):
        ratios = {name: table["ours"] / max(table[name], 1e-9) for name in names if name != "ours"}
        shares = ", ".join(f"{ratio:.2f} of {titles[name]}'s" for name, ratio in ratios.items())
        row(title, [form.format(scale * table[name]) for name in names], shares)
        behind += [f"{title} ({r:.2f} of {titles[name]}'s)" for name, r in ratios.items() if r > 1.005]
    differences, chaos = found.differences(), found.chaos()
    steps = len(differences)
    lines.append("largest relative difference of the loss")
    for mark in (*(m for m in MARKS if m < steps), steps):
        lines.append(f"  up to step {mark:<21} {float(differences[:mark].max()):16.1e}")
    lines.append(
        f"chaos sets in at step {chaos}: the first whose losses differ by more than {CHAOS:g} of torch.nn's"
        if chaos
        else f"no chaos in {steps} steps: losses differ by at most {CHAOS:g} of torch.nn's"
    )
    lines.append(f"{titles['ours']} loses: {', '.join(behind) or 'nowhere'}")
    return "\n".join(lines)


def main(argv: Sequence[str]) -> None:
    """Compare, print and draw."""
    parser = Parser("compare", __doc__)
    parser.add_argument("--steps", type=int, help="train so many, instead of as long as the recipe says")
    parser.add_argument("--seconds", type=float, default=2.0, help="to measure each contender (%(default)s)")
    parser.add_argument("--compile", action="store_true", help="measure torch.compile too (takes a minute)")
    arguments, options = parser.parse_known_args(argv)
    if arguments.steps is not None and arguments.steps < 1:
        raise UsageError(f"--steps {arguments.steps}: give at least 1")
    if arguments.steps:
        options += ["--trainer.max_steps", str(arguments.steps), "--trainer.max_epochs", "-1"]
    with folder_for("compare") as folder:
        found = compare(options, folder, arguments.seconds, arguments.compile)
    text = report(found)
    (folder / "compare.txt").write_text(text + "\n")
    from recipes import pictures

    titles = {**CONTENDERS, "ours": found.summaries["ours"]["backend"]}
    pictures.draw_comparison(found, titles, CHAOS, folder / "compare.png")
    print(f"{found.name}, seed {found.summaries['ours']['seed']}, {found.costs.case}", text, sep="\n")
    print(f"{folder}: compare.png, compare.txt")
