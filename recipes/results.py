"""``python -m recipes results``: train recipes with several seeds, and write what they reach.

Into ``recipes/results.csv`` goes a row for each recipe and seed, as soon as its run ends; from it the table
in README.md is written anew. Options after -- go to fit.
"""

import contextlib
import csv
import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["FILE", "README", "Row", "main", "reached", "read", "seconds", "table", "write_table"]

FILE = Path(__file__).parent / "results.csv"
README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
# One run of it takes as long as three of all others.
ONE_SEED = ("resnet",)


class Row(NamedTuple):
    """What a run reached: on the full test set, after its last epoch."""

    recipe: str
    seed: int
    metric: str
    value: float
    seconds: float
    parameters: int
    machine: str
    torch: str


def read(path: Path) -> list[Row]:
    """The rows of the file; none if there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [
            Row(
                **{
                    **row,
                    "seed": int(row["seed"]),
                    "value": float(row["value"]),
                    "seconds": float(row["seconds"]),
                    "parameters": int(row["parameters"]),
                }
            )
            for row in csv.DictReader(file)
        ]


def put(row: Row, path: Path) -> None:
    """Write a row into the file, in place of an earlier one of the same recipe and seed."""
    # Here, because the list of recipes reads the file without Lightning.
    from recipes.callbacks import replace

    rows = {(old.recipe, old.seed): old for old in read(path)}
    rows[row.recipe, row.seed] = row
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    writer.writerows(rows[key] for key in sorted(rows))
    replace(path, text.getvalue().encode())


def reached(rows: Sequence[Row]) -> str:
    """Mean ± half the range of the rows of a recipe, with the metric's name and unit."""
    metric, values = rows[0].metric, [row.value for row in rows]
    scale, form, unit = (100, ".2f", " %") if metric == "accuracy" else (1, ".5g", "")
    mean, half = scale * sum(values) / len(values), scale * (max(values) - min(values)) / 2
    spread = f" ± {half:{form if unit else '.2g'}}" if len(values) > 1 else ""
    return f"{metric.partition(' (')[0]} {mean:{form}}{spread}{_unit(metric, unit)}"


def _unit(metric: str, unit: str) -> str:
    given = re.search(r"\((\w+)", metric)
    return f" {given[1]}" if given and not unit and given[1] != "of" else unit


def seconds(rows: Sequence[Row]) -> str:
    """Mean training time."""
    mean = sum(row.seconds for row in rows) / len(rows)
    return f"{mean:.0f} s" if mean < 120 else f"{mean / 60:.1f} min"


def table(rows: Sequence[Row]) -> str:
    """The rows as a table in Markdown, a line for each recipe: as it stands in the README."""
    from recipes.overview import descriptions

    lines = [
        "| recipe | what | test, last epoch | training time | parameters | seeds |",
        "|---|---|---|---|---|---|",
    ]
    for recipe, what in descriptions().items():
        if own := [row for row in rows if row.recipe == recipe]:
            cells = (f"`{recipe}`", what, reached(own), seconds(own), f"{own[0].parameters:,}", f"{len(own)}")
            lines.append(f"| {' | '.join(cells)} |")
    for machine, version in dict.fromkeys((row.machine, row.torch) for row in rows):
        lines += ["", f"Measured on {machine}, torch {version}; mean of the seeds ± half their range."]
    return "\n".join(lines if rows else ["Not measured yet: `python -m recipes results`"])


def write_table(rows: Sequence[Row], readme: Path) -> None:
    """Put the table between the two markers of the file.

    Raises:
        RecipeError: it has no such markers.
    """
    from recipes.errors import RecipeError

    before, begin, rest = readme.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise RecipeError(f"{readme} has no lines {BEGIN} and {END} for the table to stand between")
    readme.write_text(f"{before}{begin}\n{table(rows)}\n{end}{after}")


def main(argv: Sequence[str]) -> int:
    """Train, and write rows and table; the exit status is 1 if a run failed."""
    from recipes.cli import RECIPES
    from recipes.tool import Parser

    known = [*RECIPES, "sgd_from_scratch"]
    parser = Parser("results", __doc__)
    parser.add_argument(
        "--recipes", nargs="+", choices=known, default=known, metavar="NAME", help="(default: all)"
    )
    parser.add_argument(
        "--seeds",
        nargs="+",
        type=int,
        default=None,
        metavar="SEED",
        help=f"(default: 1 2 3; of {', '.join(ONE_SEED)}: 1)",
    )
    parser.add_argument("--root", default="data", help="folder with MNIST/raw (%(default)s)")
    parser.add_argument("--file", type=Path, default=FILE, help="where the rows go (%(default)s)")
    parser.add_argument("--readme", type=Path, default=README, help="where the table goes (%(default)s)")
    cut = list(argv).index("--") if "--" in argv else len(argv)
    arguments = parser.parse_args(list(argv[:cut]))
    failed = []
    for recipe in arguments.recipes:
        for seed in arguments.seeds or ([1] if recipe in ONE_SEED else [1, 2, 3]):
            train = textbook if recipe == "sgd_from_scratch" else fit_and_test
            row = train(recipe, seed, arguments.root, list(argv[cut + 1 :]))
            if row is None:
                failed.append(f"{recipe} with seed {seed}")
                continue
            put(row, arguments.file)
            write_table(read(arguments.file), arguments.readme)
            print(f"{recipe}, seed {seed}: {reached([row])}, {row.seconds:.1f} s training", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def call(command: Sequence[str]) -> int:
    """Run ``python -m recipes`` in a process of its own; the exit status."""
    return subprocess.run([sys.executable, "-m", "recipes", *command]).returncode


def fit_and_test(recipe: str, seed: int, root: str, options: Sequence[str]) -> Row | None:
    """Train a recipe and test its last epoch; None if that failed."""
    from recipes.run import new_folder

    # A folder of its own, so that the runs that follow are the only ones in it.
    folder = new_folder(Path("runs", "results"), recipe)
    place = ["--trainer.default_root_dir"]
    common = ["--data.root", root]
    trained = [
        "--seed_everything",
        str(seed),
        *place,
        str(folder / "fit"),
        "--trainer.limit_test_batches",
        "0",
    ]
    if call(["fit", "--config", recipe, *common, *trained, *options]):
        return None
    (fitted,) = (folder / "fit").glob("*/*/summary.json")
    tested = ["--ckpt_path", str(fitted.parent / "last.ckpt"), *place, str(folder / "test")]
    if call(["test", *tested, *common, "--trainer.limit_test_batches", "null"]):
        return None
    (path,) = (folder / "test").glob("*/*/summary.json")
    fit, test = json.loads(fitted.read_text()), json.loads(path.read_text())
    return Row(
        recipe,
        seed,
        test["metric"],
        round(test["value"], 6),
        round(fit["training_seconds"], 1),
        test["parameters"],
        machine(),
        test["torch"],
    )


def textbook(recipe: str, seed: int, root: str, options: Sequence[str]) -> Row | None:
    """Run ``sgd_from_scratch``, which has neither a Trainer nor fit's options; its time is that of it all."""
    import torch

    from recipes import sgd_from_scratch

    printed, start = io.StringIO(), time.perf_counter()
    with contextlib.redirect_stdout(printed):
        sgd_from_scratch.main(root=Path(root), seed=seed)
    taken = time.perf_counter() - start
    accuracy = float(re.findall(r"test accuracy ([\d.]+) %", printed.getvalue())[-1]) / 100
    parameters = 784 * 128 + 128 + 128 * 10 + 10
    return Row(
        recipe,
        seed,
        "accuracy",
        round(accuracy, 6),
        round(taken, 1),
        parameters,
        machine(),
        torch.__version__,
    )


def machine() -> str:
    """The processor, and how many threads torch has there."""
    import torch

    from manualgrad.bench.result import processor

    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{processor()}, {torch.get_num_threads()} threads{gpu}"
