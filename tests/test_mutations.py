"""The test of the tests: each Function's backward is broken on purpose, and check must say so every time."""

from collections.abc import Callable

import pytest
import torch
from rows import DERIVED, build, call

import manualgrad
from manualgrad.check.graph import python_functions

Backward = Callable[..., tuple]


def on_gradients(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Backward], Backward]:
    """A mutation of the gradients that backward returns."""

    def mutate(backward: Backward) -> Backward:
        def mutated(ctx, *grad_outputs):
            grads = backward(ctx, *grad_outputs)
            if not isinstance(grads, tuple):
                return change(grads)
            return tuple(g if g is None else change(g) for g in grads)

        return mutated

    return mutate


def on_grad_outputs(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Backward], Backward]:
    """A mutation of the grad_outputs that backward sees."""

    def mutate(backward: Backward) -> Backward:
        def mutated(ctx, *grad_outputs):
            return backward(ctx, *(g if g is None else change(g) for g in grad_outputs))

        return mutated

    return mutate


def transposed(g: torch.Tensor) -> torch.Tensor:
    """The elements in the order of the transposed tensor; reversed where there is one axis."""
    return (g.transpose(0, -1) if g.dim() > 1 else g.flip(0)).reshape(g.shape)


def first_only(g: torch.Tensor) -> torch.Tensor:
    """Zero but for the first sample: a sum over samples that is forgotten."""
    kept = torch.zeros(g.shape[:1], dtype=g.dtype)
    kept[0] = 1
    return g * kept.reshape(-1, *(1,) * (g.dim() - 1))


MUTATIONS = {
    "sign": on_gradients(torch.neg),
    "factor": on_gradients(lambda g: g * 1.001),
    "transposition": on_gradients(transposed),
    "missing sum": on_grad_outputs(first_only),
    "ignored grad_output": on_grad_outputs(torch.ones_like),
    "constant to the second derivative": on_gradients(torch.Tensor.detach),
}


# What check may call a mutation. Of a transposition nothing is said: with axes of other lengths it is none.
NAMES = {
    "sign": {"sign"},
    "factor": {"constant factor"},
    "missing sum": {"missing sum", "raises"},  # one backward refuses such a grad_output
    "ignored grad_output": {"upstream gradient ignored"},
    "constant to the second derivative": {"saved intermediate", "not for vmap"},  # which knows no detach
}


def usage(function: type) -> tuple:
    """The first case whose graph holds ``function``, with an output and a gradient of several rows."""
    for row in DERIVED:
        if function not in row.functions:
            continue
        for case in row.cases:
            if case.no_derivative:
                continue
            module, inputs = build(case, row.ours)
            outputs = [o for o in call(module, inputs, case) if o.requires_grad]
            if outputs[0].dim() and outputs[0].numel() > 1 and function in python_functions(outputs):
                return row, case
    raise AssertionError(f"no case of the catalog uses {function.__name__}")


FUNCTIONS = sorted({f for row in DERIVED for f in row.functions}, key=lambda f: f.__name__)


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_check_catches(function, mutation, monkeypatch):
    row, case = usage(function)
    module, inputs = build(case, row.ours)
    monkeypatch.setattr(function, "backward", staticmethod(MUTATIONS[mutation](function.backward)))
    report = manualgrad.check(module, *inputs, **case.forward)
    assert not report, report
    derivative_rows = {"gradient", "double gradient"}
    assert derivative_rows & {failure.property for failure in report.failures}, report
    if mutation in NAMES:
        assert {diagnosis.kind for diagnosis in report.diagnoses} <= NAMES[mutation], report
