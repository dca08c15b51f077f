"""Which formula has a kernel on this machine: ``python -m manualgrad kernels``."""

from __future__ import annotations

import inspect
from pathlib import Path

from ..catalog import CATALOG
from . import mode, twins, unavailable

__all__ = ["overview"]


def overview() -> str:
    """A table of all Functions of the catalog: their layers, their kernels, and when these are taken."""
    layers: dict[type, list[str]] = {}
    for row in CATALOG:
        for function in row.functions:
            layers.setdefault(function, []).append(row.name)
    lines = [("Function", "kernel", "file", "from elements", "asks for", "layers")]
    for function, names in layers.items():
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        twin = twins().get(function)
        if twin is None or mode() == "formula":
            lines.append((function.__name__, "-", "-", "-", reason(twin is not None), shown))
            continue
        file = Path(inspect.getfile(twin.kernel))
        lines.append(
            (
                function.__name__,
                twin.kernel.__name__,
                f"{file.parent.name}/{file.name}",
                str(twin.smallest),
                twin.asks or "plain tensors",
                shown,
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines)]
    table = ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths)).rstrip() for row in lines]
    counted = sum(function in twins() for function in layers)
    notes = [f"{counted} of {len(layers)} Functions have a kernel; setting: {mode()!r}"]
    if unavailable():
        notes.append(unavailable())
    notes.append("CUDA: no kernels written yet, all layers compute by their formulas there")
    return "\n".join([*table, "", *notes])


def reason(known: bool) -> str:
    """Why no kernel is taken for a Function, of which one is ``known`` or not."""
    if known:
        return "not taken: the setting is 'formula'"
    return "Numba is not installed" if unavailable() else "no kernel for it"
