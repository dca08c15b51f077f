"""Command line: ``python -m manualgrad list``, ``show NAME``, ``check NAME``, ``bench`` and ``kernels``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from . import show
from .bench.layers import bench_layers, rows_of
from .bench.recipes import bench_recipes, networks_of
from .bench.result import machine, picture, report
from .catalog import CATALOG, Layer, find, reexports
from .check import check
from .kernels.overview import overview
from .layers import lazy
from .terminal import coloured


def table(rows: Sequence[Layer]) -> str:
    """The layers by page, as a table in Markdown: as it stands in the README."""
    pages: dict[str, list[Layer]] = {}
    for row in rows:
        if row.functions:
            pages.setdefault(row.family, []).append(row)
    lines = [
        "| page of `manualgrad/layers/` | layers | functions without a module | cases |",
        "|---|---|---|---|",
    ]
    for page, members in pages.items():
        modules = ", ".join(f"`{row.name}`" for row in members if row.module)
        functions = ", ".join(f"`{row.name}`" for row in members if not row.module)
        cases = sum(len(row.cases) + len(row.edges) for row in members)
        lines.append(f"| [{page}](manualgrad/layers/{page}.py) | {modules} | {functions} | {cases} |")
    return "\n".join(lines)


def summary(rows: Sequence[Layer]) -> str:
    """How many layers there are, and what is torch's own, with the reason."""
    derived = [row for row in rows if row.functions]
    functions = {f for row in derived for f in row.functions}
    modules = sum(row.module is not None for row in derived)
    reasons: dict[str, list[str]] = {}
    for name, reason in {**reexports.MODULES, **reexports.FUNCTIONS}.items():
        reasons.setdefault(reason, []).append(f"`{name}`")
    lines = [
        f"{modules} layers and {len(derived) - modules} functions without a module, with {len(functions)} "
        f"hand-written backwards; {len(lazy.__all__)} lazy layers become them.",
        "Torch's own, and why:",
        "",
        *(f"- {', '.join(names)}: {reason}" for reason, names in reasons.items()),
    ]
    return "\n".join(lines)


def check_row(row: Layer) -> bool:
    """Check every case of a layer, printing a report for each."""
    print(f"{row.name}: {len(row.cases)} cases" + (f" ({row.note})" if row.note else ""))
    passed = True
    for case in row.cases:
        if case.no_derivative:
            print(f"- {case}\n  compared with torch only, in the tests: {case.no_derivative}")
            continue
        torch.manual_seed(0)
        report = check(case.build(row.ours), *case.draw(), **case.forward)
        print(f"- {case}\n{report}")
        passed = passed and report.ok
    return passed


def bench(arguments: argparse.Namespace) -> int:
    """Measure, print and write: what the command ``bench`` asks for."""
    kind, names = "layers", list(arguments.names)
    if names and names[0] in ("layers", "blocks", "recipes"):
        kind = names.pop(0)
    against = list(dict.fromkeys(arguments.against))
    try:
        if kind == "recipes":
            results = bench_recipes(networks_of(names), against, arguments.seconds)
        else:
            rows = rows_of(names, blocks=kind == "blocks")
            results = bench_layers(rows, against, arguments.seconds)
    except KeyError as error:
        print(f"manualgrad bench: {error.args[0]}", file=sys.stderr)
        return 2
    before = torch.get_num_threads()
    torch.set_num_threads(arguments.threads or before)
    try:
        print(machine())
        found = report(results, against, arguments.output / f"{kind}.csv")
        print(picture(found, against, arguments.output / f"{kind}.png"))
    except KeyboardInterrupt:
        return 130
    finally:
        torch.set_num_threads(before)
    return 0


def put(text: str) -> None:
    """Print a long text: whoever reads it through a pipe may have seen enough before its end."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its exit


def positive(text: str) -> int:
    """A whole number above 0, from the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, but is {number}")
    return number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is 1 if a check failed, 2 if the command is wrong."""
    parser = argparse.ArgumentParser(prog="python -m manualgrad", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="print the table of layers")
    showing = commands.add_parser("show", help="print derivation and code of layers, together")
    showing.add_argument("names", nargs="+", metavar="NAME", help="a layer, Function or functional")
    checking = commands.add_parser("check", help="check the derivatives of layers")
    checking.add_argument("names", nargs="+", metavar="NAME", help="a layer, Function or functional; or: all")
    benching = commands.add_parser("bench", help="time and memory against torch.nn")
    benching.add_argument(
        "names",
        nargs="*",
        metavar="[layers|blocks|recipes] NAME",
        help="layers (the default), blocks of them, or networks in training; all if none is named",
    )
    benching.add_argument(
        "--against", nargs="+", choices=("eager", "compile"), default=["eager"], help="torch's contenders"
    )
    benching.add_argument("--threads", type=positive, help="of torch, and so of all contenders")
    benching.add_argument(
        "--seconds", type=float, default=0.5, help="to measure each contender (%(default)s)"
    )
    benching.add_argument(
        "--output",
        type=Path,
        default=Path("runs/bench"),
        help="folder of the CSV file and picture (%(default)s)",
    )
    commands.add_parser("kernels", help="which formula has a kernel here, and if not, why")
    arguments = parser.parse_args(argv)
    if arguments.command == "list":
        print(table(CATALOG), summary(CATALOG), sep="\n\n")
        return 0
    if arguments.command == "bench":
        return bench(arguments)
    if arguments.command == "kernels":
        print(overview())
        return 0
    everything = arguments.command == "check" and arguments.names == ["all"]
    try:
        rows = list(CATALOG) if everything else [find(name) for name in arguments.names]
    except KeyError as error:
        print(f"manualgrad {arguments.command}: {error.args[0]}", file=sys.stderr)
        return 2
    if arguments.command == "show":
        put("\n\n\n".join(show.page(row, colour=coloured(sys.stdout)) for row in rows))
        return 0
    failed = [row.name for row in rows if not check_row(row)]
    print("all passed" if not failed else f"FAILED: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
