"""Layers at ordinary sizes, forward and backward: the ``sizes`` of the catalog's rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from ..catalog import Case, Layer, tensors_of
from .measure import interleaved, saved_bytes

__all__ = ["Result", "bench_case", "bench_layers"]


class Result(NamedTuple):
    """One layer at one size: median milliseconds of a forward and backward, and bytes kept between them."""

    name: str
    case: str
    milliseconds: dict[str, float]
    saved: dict[str, int]

    def ratio(self, against: str) -> float:
        """How many times faster ours is."""
        return self.milliseconds[against] / self.milliseconds["ours"]


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
    for name in against:
        steps[name] = step(case, row.torchs, compiled=name == "compile")
    times = interleaved({name: both for name, (both, _, _) in steps.items()}, seconds=seconds)
    saved = {name: saved_bytes(forward, parameters) for name, (_, forward, parameters) in steps.items()}
    return Result(row.name, str(case), {name: 1e3 * t for name, t in times.items()}, saved)


def bench_layers(rows: Sequence[Layer], against: Sequence[str], seconds: float = 0.5):
    """Measure all sizes of ``rows``, one after the other."""
    for row in rows:
        for case in row.sizes:
            yield bench_case(row, case, against, seconds)
