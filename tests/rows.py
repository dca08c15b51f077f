"""The catalog as test parameters, and the one way in which tests run a case."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from manualgrad.catalog import CATALOG, Case, Layer, tensors_of

ROWS = [pytest.param(row, id=row.name) for row in CATALOG]
DERIVED = [row for row in CATALOG if row.functions]
DERIVED_ROWS = [pytest.param(row, id=row.name) for row in DERIVED]


def cases(*, edges: bool = False, wanted: Callable[[Layer, Case], bool] = lambda row, case: True) -> list:
    """(row, case) for every case, or every edge, that is wanted."""

    def pairs() -> Iterator[tuple[Layer, Case]]:
        for row in CATALOG:
            for case in row.edges if edges else row.cases:
                if wanted(row, case):
                    yield row, case

    return [pytest.param(row, case, id=f"{row.name}{case}") for row, case in pairs()]


def build(case: Case, cls: type, dtype: torch.dtype = torch.float64, device: str = "cpu"):
    """The module and the inputs of a case, the same numbers for every class that is given."""
    torch.manual_seed(0)
    module = case.build(cls, dtype).to(device)
    inputs = tuple(t.to(device).requires_grad_(t.is_floating_point()) for t in case.draw(dtype))
    return module, inputs


def call(module, inputs, case: Case) -> tuple[Tensor, ...]:
    """The outputs, with the same random numbers at every call."""
    torch.manual_seed(1)
    return tensors_of(module(*inputs, **case.forward))


def wanted_tensors(module, inputs) -> list[Tensor]:
    """What a gradient is asked for."""
    return [t for t in (*inputs, *module.parameters()) if t.requires_grad]


def gradients(outputs, tensors, spaced: bool = False) -> list[Tensor]:
    """Gradients of all outputs along one random direction, dense; a ``spaced`` one is not contiguous."""
    outputs = [o for o in outputs if o.requires_grad]
    if not outputs:
        return []
    generator = torch.Generator().manual_seed(2)
    directions = [torch.randn(o.shape, generator=generator, dtype=torch.float64).to(o) for o in outputs]
    if spaced:
        directions = [torch.stack([d, d], -1)[..., 0] for d in directions]
    found = torch.autograd.grad(outputs, tensors, directions, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g.to_dense() for t, g in zip(tensors, found)]


def reached(case: Case, cls: type) -> list[bool]:
    """Which inputs and parameters get a gradient at all, where :func:`gradients` has zeros."""
    module, inputs = build(case, cls)
    outputs = [o for o in call(module, inputs, case) if o.requires_grad]
    wanted = wanted_tensors(module, inputs)
    if not outputs or not wanted:
        return [False] * len(wanted)
    found = torch.autograd.grad([o.sum() for o in outputs], wanted, allow_unused=True)
    return [g is not None for g in found]


def run(case: Case, cls: type, dtype: torch.dtype = torch.float64, device: str = "cpu"):
    """Outputs, gradients and buffers of a case under one class."""
    module, inputs = build(case, cls, dtype, device)
    outputs = call(module, inputs, case)
    return outputs, gradients(outputs, wanted_tensors(module, inputs)), dict(module.named_buffers())
