"""Random shapes, strides, options and special numbers: every kernel against its formula."""

import importlib
import pkgutil
import random

import kernels as draws
import pytest
import torch
from rows import gradients, wanted_tensors
from test_kernels import used  # noqa: F401  (a fixture)
from torch.testing import assert_close

import manualgrad
from manualgrad.catalog import tensors_of

pytestmark = pytest.mark.kernels

FUZZ = {
    name: draw
    for page in pkgutil.iter_modules(draws.__path__)
    for name, draw in importlib.import_module(f"kernels.{page.name}").FUZZ.items()
}


DRAWS = 200
TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-5}


def outcome(draw, seed: int, dtype: torch.dtype, mode: str):
    """Outputs, gradients and buffers of a draw, or the error that it raises."""
    with manualgrad.kernels(mode):
        torch.manual_seed(seed)
        build, inputs = draw(random.Random(seed))
        module = build().to(dtype)
        inputs = [t.to(dtype).detach().requires_grad_() if t.is_floating_point() else t for t in inputs]
        try:
            outputs = tensors_of(module(*inputs))
        except (RuntimeError, ValueError, IndexError) as error:
            return type(error), str(error)
        found = gradients(outputs, wanted_tensors(module, inputs), spaced=seed % 3 == 0)
        return [t.detach() for t in (*outputs, *found, *module.buffers())]


@pytest.mark.parametrize("name", sorted(FUZZ))
def test_fuzz(name):
    for seed in range(DRAWS):
        for dtype, tolerance in TOLERANCES.items():
            got, expected = (outcome(FUZZ[name], seed, dtype, mode) for mode in ("auto", "formula"))
            if isinstance(expected, tuple):
                assert got == expected
                continue
            for g, e in zip(got, expected, strict=True):
                finite = e[e.isfinite()].abs()
                scale = max(1.0, float(finite.max())) if finite.numel() else 1.0
                assert_close(
                    g,
                    e,
                    rtol=tolerance,
                    atol=tolerance * scale,
                    equal_nan=True,
                    msg=lambda m, seed=seed: f"{name}, seed {seed}: {m}",
                )
