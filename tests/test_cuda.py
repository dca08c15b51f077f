"""The same cases on a GPU. They skip without one."""

import pytest
import torch
from rows import build, call, cases, gradients, run, wanted_tensors
from torch.testing import assert_close

from manualgrad import nn

pytestmark = pytest.mark.cuda


@pytest.mark.parametrize(("row", "case"), cases(wanted=lambda row, case: not row.random))
def test_parity(row, case):
    ours, theirs = run(case, row.ours, device="cuda"), run(case, row.torchs, device="cuda")
    for got, expected in zip(ours, theirs):
        assert_close(got, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("row", "case"), cases(wanted=lambda row, case: not row.random))
def test_same_as_on_the_cpu(row, case):
    for got, expected in zip(run(case, row.ours, device="cuda"), run(case, row.ours)):
        assert_close(torch.utils._pytree.tree_map(lambda t: t.cpu(), got), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("p", [0.3, 0.5])
def test_dropout(p):
    """torch draws masks inside a kernel on this device, so ours are others; but masks, scaled, both ways."""
    x = (1 + torch.rand(100, 200, device="cuda")).requires_grad_()
    y = nn.Dropout(p)(x)
    kept = y != 0
    assert abs(kept.float().mean().item() - (1 - p)) < 0.02
    assert_close(y, torch.where(kept, x / (1 - p), 0))
    assert_close(torch.autograd.grad(y.sum(), x)[0], kept / (1 - p))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("row", "case"),
    cases(wanted=lambda r, c: not (r.random or c.kwargs.get("sparse") or c.kwargs.get("max_norm"))),
)
def test_autocast(row, case, dtype):
    """Under CUDA's autocast, whose lists are not the CPU's: torch's dtypes and values."""
    found = []
    for cls in (row.ours, row.torchs):
        module, inputs = build(case, cls, torch.float32, "cuda")
        try:
            with torch.autocast("cuda", dtype):
                outputs = call(module, inputs, case)
            found.append((outputs, gradients(outputs, wanted_tensors(module, inputs))))
        except RuntimeError as error:
            found.append(type(error))
    if isinstance(found[1], type):
        assert found[0] is found[1]
        return
    for got, expected in zip((*found[0][0], *found[0][1]), (*found[1][0], *found[1][1])):
        scale = 1 + expected.float().abs().max().item() if expected.numel() else 1
        assert_close(got, expected, rtol=0, atol=3e-2 * scale)
