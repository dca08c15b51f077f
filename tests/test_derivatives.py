"""Every case of the catalog: gradcheck, gradgradcheck, and the numbers of torch."""

import pytest
import torch
from rows import build, call, cases, reached, run, wanted_tensors
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from manualgrad.catalog import tensors_of

EXACT = {"rtol": 1e-5, "atol": 1e-7}  # gradcheck's default rtol 1e-3 lets a gradient 0.1 % wrong pass


def as_function(row, case):
    """A case as a pure function of its tensors, and these: what gradcheck takes."""
    module, inputs = build(case, row.ours)
    named = dict(module.named_parameters())
    real = [t for t in inputs if t.requires_grad]
    buffers = dict(module.named_buffers())

    def function(*tensors):
        parameters = dict(zip(named, tensors))
        remaining = iter(tensors[len(named) :])
        values = [next(remaining) if t.requires_grad else t for t in inputs]
        state = {**parameters, **{name: b.clone() for name, b in buffers.items()}}
        torch.manual_seed(1)
        outputs = tensors_of(torch.func.functional_call(module, state, tuple(values), dict(case.forward)))
        return tuple(o for o in outputs if o.is_floating_point())

    return function, [*named.values(), *real]


differentiable = cases(wanted=lambda row, case: not case.no_derivative)


@pytest.mark.parametrize(("row", "case"), differentiable)
def test_gradcheck(row, case):
    function, tensors = as_function(row, case)
    assert gradcheck(function, tensors, check_batched_grad=True, **EXACT)


@pytest.mark.parametrize(("row", "case"), differentiable)
def test_gradgradcheck(row, case):
    function, tensors = as_function(row, case)
    assert gradgradcheck(function, tensors, check_batched_grad=True, **EXACT)


# The layer that may give zeros where torch gives None, and why.
ZEROS = {
    "PairwiseDistance": "p = 0 counts differences, and torch's derivative of a count is None",
}


@pytest.mark.parametrize(("row", "case"), cases())
def test_parity(row, case):
    ours, theirs = run(case, row.ours), run(case, row.torchs)
    for got, expected in zip(ours, theirs):
        assert_close(got, expected, rtol=1e-10, atol=1e-10)
    assert_reached(row, case)


def assert_reached(row, case):
    """An input or a parameter gets a gradient where torch gives it one, and None elsewhere."""
    ours, theirs = reached(case, row.ours), reached(case, row.torchs)
    if row.name in ZEROS:
        assert all(got for got, wanted in zip(ours, theirs) if wanted)
    else:
        assert ours == theirs


@pytest.mark.parametrize(("row", "case"), cases(edges=True))
def test_parity_at_edges(row, case):
    # Of a loss the gradient of the input alone: torch's of a target is not always that of the loss it
    # computes. 1e-8: torch has some constants, such as the 1e-12 of binary cross entropy, in single
    # precision.
    found = []
    for cls in (row.ours, row.torchs):
        module, inputs = build(case, cls)
        outputs = call(module, inputs, case)
        tensors = wanted_tensors(module, inputs[:1])
        sums = [o.sum() for o in outputs if o.requires_grad]
        found.append((outputs, torch.autograd.grad(sums, tensors, allow_unused=True)))
    assert_close(found[0], found[1], rtol=1e-8, atol=1e-10, equal_nan=True)
    assert_reached(row, case)
