"""Layers at ordinary sizes, forward and backward: the ``sizes`` of the catalog's rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch

from ..catalog import CATALOG, Case, Layer, find, tensors_of
from ..catalog.row import Calls
from .measure import interleaved, peak_bytes, saved_bytes
from .result import Result

__all__ = ["bench_case", "bench_layers", "rows_of"]


def rows_of(names: Sequence[str], blocks: bool = False) -> list[Layer]:
    """The rows that are measured: those named, or all layers with sizes; or else all blocks.

    A block is a module that torch has not, several of its layers in one.

    Raises:
        KeyError: if there is no layer of a name, or it has no sizes.
    """
    if not names:
        return [row for row in CATALOG if row.sizes and is_block(row) == blocks]
    rows = [find(name) for name in names]
    for row in rows:
        if not row.sizes:
            raise KeyError(f"{row.name} has no sizes in the catalog, so there is nothing to measure")
    return rows


def is_block(row: Layer) -> bool:
    """Whether torch.nn has no such module."""
    return row.module is not None and not hasattr(torch.nn, row.name)


def step(
    case: Case, cls: Callable, compiled: bool = False
) -> tuple[Callable[[], object], Callable[[], object], list]:
    """Forward and backward of a case in float32, forward alone, and the parameters."""
    torch.manual_seed(0)
    module = case.build(cls, torch.float32)
    inputs = [t.requires_grad_(t.is_floating_point()) for t in case.draw(torch.float32)]
    wanted = [t for t in (*inputs, *module.parameters()) if t.requires_grad]
    run = torch.compile(module) if compiled else module

    def forward() -> list:
        return [o for o in tensors_of(run(*inputs, **case.forward)) if o.requires_grad]

    directions = [torch.randn_like(o) for o in forward()]

    def both() -> object:
        return torch.autograd.grad(forward(), wanted, directions, allow_unused=True)

    return both, forward, list(module.parameters())


def bench_case(row: Layer, case: Case, against: Sequence[str] = ("eager",), seconds: float = 0.5) -> Result:
    """Measure a case of a layer."""
    steps = {"ours": step(case, row.ours)}
    # In float32 torch's own can be called, where a reference stands for it in float64.
    torchs = partial(Calls, row.torch_functional) if row.reference else row.torchs
    for name in against:
        steps[name] = step(case, torchs, compiled=name == "compile")
    times = interleaved({name: both for name, (both, _, _) in steps.items()}, seconds=seconds)
    return Result(
        row.name,
        str(case),
        {name: 1e3 * t for name, t in times.items()},
        {name: saved_bytes(forward, parameters) for name, (_, forward, parameters) in steps.items()},
        {name: peak_bytes(both) for name, (both, _, _) in steps.items()},
    )


def bench_layers(rows: Sequence[Layer], against: Sequence[str], seconds: float = 0.5) -> Iterator[Result]:
    """Measure all sizes of ``rows``, one after the other."""
    for row in rows:
        for case in row.sizes:
            yield bench_case(row, case, against, seconds)
