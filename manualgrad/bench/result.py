"""What was measured: as a table while it goes, as a CSV file, as a picture."""

from __future__ import annotations

import csv
import math
import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import torch

from ..kernels import mode, unavailable

__all__ = ["Result", "machine", "picture", "report"]


class Result(NamedTuple):
    """Of one step, by contender: median milliseconds, bytes kept for backward, most bytes at a time."""

    name: str
    case: str
    milliseconds: dict[str, float]
    saved: dict[str, int]
    peak: dict[str, int]
    note: str = ""

    def ratio(self, against: str) -> float:
        """How many times faster ours is."""
        return self.milliseconds[against] / self.milliseconds["ours"]


def machine() -> str:
    """What the numbers were measured on."""
    try:
        numba = version("numba")
    except PackageNotFoundError:
        numba = "not installed"
    lines = [
        f"{processor()}, {os.cpu_count()} cores, {platform.platform(terse=True)}",
        f"Python {platform.python_version()}, torch {torch.__version__}, numba {numba}, "
        f"{torch.get_num_threads()} threads, kernels: {mode()}"
        + (f" ({unavailable()})" * bool(unavailable())),
    ]
    if torch.cuda.is_available():
        lines.append(torch.cuda.get_device_name())
    return "\n".join(lines)


def processor() -> str:
    """The name of the CPU, where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def report(results: Iterable[Result], against: Sequence[str], path: Path) -> list[Result]:
    """Print a line for every result as it comes, and write it to the CSV file ``path``; then a summary."""
    found: list[Result] = []
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("w", newline="") as file:
            write = csv.writer(file)
            write.writerow(
                ["name", "case", "contender", "milliseconds", "times_faster", "saved_bytes", "peak_bytes"]
            )
            print(heading(against), flush=True)
            for result in results:
                found.append(result)
                print(line(result, against), flush=True)
                for name in ("ours", *against):
                    if name in result.milliseconds:
                        numbers = (f"{result.milliseconds[name]:.4f}", f"{result.ratio(name):.3f}")
                        write.writerow(
                            [result.name, result.case, name, *numbers, result.saved[name], result.peak[name]]
                        )
                file.flush()
    finally:
        print(summary(found, against), f"written to {path}", sep="\n", flush=True)
    return found


def heading(against: Sequence[str]) -> str:
    """The names of the columns."""
    columns = ["ours ms", *(f"{name} ms" for name in against), *(f"x {name}" for name in against)]
    columns += [f"saved {name}" for name in ("ours", *against)] + [
        f"peak {name}" for name in ("ours", *against)
    ]
    return "".join([f"{'':60}", *(f"{column:>14}" for column in columns)])


def line(result: Result, against: Sequence[str]) -> str:
    """A result: times, how many times faster ours is, and memory in megabytes."""
    contenders = ("ours", *against)
    columns = [_number(result.milliseconds, name, "{:.3f}") for name in contenders]
    columns += [f"{result.ratio(name):.2f}" if name in result.milliseconds else "-" for name in against]
    columns += [
        _number(table, name, "{:.2f} MB", 1e-6)
        for table in (result.saved, result.peak)
        for name in contenders
    ]
    title = f"{result.name} {result.case}"
    title = title if len(title) < 60 else title[:57] + "..."
    return "".join([f"{title:60}", *(f"{column:>14}" for column in columns), f"  {result.note}".rstrip()])


def _number(table: dict, name: str, form: str, scale: float = 1.0) -> str:
    return form.format(scale * table[name]) if name in table else "-"


def summary(results: Sequence[Result], against: Sequence[str]) -> str:
    """The geometric mean of the ratios, and the rows that lose."""
    lines = []
    for name in against:
        measured = [r for r in results if name in r.milliseconds]
        if not measured:
            continue
        mean = math.exp(sum(math.log(r.ratio(name)) for r in measured) / len(measured))
        lines.append(f"against {name}: geometric mean of {len(measured)}: {mean:.2f} times faster")
        slower = sorted((r.ratio(name), f"{r.name} {r.case}") for r in measured if r.ratio(name) < 1)
        lines += [f"  slower: {ratio:.2f} {title}" for ratio, title in slower]
    return "\n".join(lines) or "nothing was measured"


def picture(results: Sequence[Result], against: Sequence[str], path: Path) -> str:
    """Draw the ratios as bars on a logarithmic axis; returns a line that says where, or why not."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import FuncFormatter, NullFormatter
    except ImportError:
        return "no picture: matplotlib is not installed (pip install 'manualgrad[recipes]')"
    if not results:
        return "no picture: nothing was measured"
    height = 0.8 / len(against)
    figure = Figure(
        figsize=(10, 1.6 + 0.3 * len(results) * max(1.0, 0.6 * len(against))), layout="constrained"
    )
    axes = figure.subplots()
    values = []
    for k, name in enumerate(against):
        pairs = [(i, r.ratio(name)) for i, r in enumerate(results) if name in r.milliseconds]
        places = [i + (k - (len(against) - 1) / 2) * height for i, _ in pairs]
        ratios = [ratio for _, ratio in pairs]
        bars = axes.barh(
            places, [r - 1 for r in ratios], height, left=1, label=f"against {name}", color=f"C{k}"
        )
        axes.bar_label(bars, [f"{r:.2f}" for r in ratios], padding=2, fontsize=8)
        values += ratios
    axes.set_xscale("log")
    axes.set_xlim(min(0.8, *values) / 1.25, max(1.25, *values) * 1.25)
    axes.axvline(1, color="black", linewidth=1)
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if axes.get_xlim()[0] < t < axes.get_xlim()[1]]
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    titles = [f"{r.name} {r.case}" for r in results]
    axes.set_yticks(range(len(results)), [t if len(t) < 70 else t[:67] + "..." for t in titles], fontsize=8)
    axes.set_ylim(len(results) - 0.5, -0.5)
    axes.set_xlabel("times faster than torch.nn (median; right of the line manualgrad is faster)")
    figure.legend(loc="outside upper right", ncols=len(against), fontsize=8)
    figure.suptitle(f"{processor()}, {torch.get_num_threads()} threads", x=0.01, ha="left", fontsize=8)
    figure.savefig(path, dpi=120)
    return f"drawn in {path}"
