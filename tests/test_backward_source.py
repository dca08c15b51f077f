"""No backward calls a derivative of PyTorch's: read in the source, and seen while it runs."""

import ast
import inspect
import textwrap
from types import FunctionType

import pytest
import torch
from rows import DERIVED, build, call, cases, gradients, wanted_tensors
from torch.autograd import grad as differentiate
from torch.utils._python_dispatch import TorchDispatchMode

FUNCTIONS = sorted({f for row in DERIVED for f in row.functions}, key=lambda f: f.__name__)
FORBIDDEN = {
    "autograd",
    "enable_grad",
    "func",
    "functorch",
    "_functorch",
    "vjp",
    "jvp",
    "jacrev",
    "jacfwd",
    "backward",
}
FORBIDDEN |= {"grad", "requires_grad_", "vmap"}


def called_functions(function: FunctionType, seen: set) -> set:
    """``function`` and every function of this package that it names, and so on."""
    if function in seen:
        return seen
    seen.add(function)
    for node in ast.walk(syntax(function)):
        if isinstance(node, ast.Name):
            target = function.__globals__.get(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            target = getattr(function.__globals__.get(node.value.id), node.attr, None)
        else:
            continue
        if isinstance(target, FunctionType) and target.__module__.startswith("manualgrad."):
            called_functions(target, seen)
    return seen


def syntax(function: FunctionType) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(function)))


def derivatives_called(function: FunctionType) -> list[str]:
    """The names of PyTorch's derivatives that ``function``, or what it calls, uses."""
    found = []
    for reached in called_functions(function, set()):
        for node in ast.walk(syntax(reached)):
            if isinstance(node, ast.Attribute):
                name, forbidden = node.attr, node.attr in FORBIDDEN
            elif isinstance(node, ast.Name):  # a global from torch's machinery, whatever it is called
                name, home = node.id, getattr(reached.__globals__.get(node.id), "__module__", None) or ""
                forbidden = home.startswith(("torch.autograd", "torch.func", "torch._functorch"))
            else:
                continue
            if forbidden or name.endswith(("_backward", "_backward_data", "_backward_input")):
                found.append(f"{reached.__qualname__}: {name}")
    return found


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_source(function):
    assert derivatives_called(function.backward) == []


def test_source_test_finds_what_it_looks_for():
    def through_autograd(ctx, grad_y):
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            return torch.autograd.grad(x.sin(), x, grad_y)

    def through_aten(ctx, grad_y):
        return torch.ops.aten.threshold_backward(grad_y, ctx.saved_tensors[0], 0)

    def through_an_imported_name(ctx, grad_y):
        return differentiate(ctx.saved_tensors[0].sin(), ctx.saved_tensors[0], grad_y)

    def names(function):
        return {entry.rpartition(" ")[2] for entry in derivatives_called(function)}

    assert names(through_autograd) == {"enable_grad", "autograd", "grad"}
    assert names(through_aten) == {"threshold_backward"}
    assert names(through_an_imported_name) == {"differentiate"}


class Operators(TorchDispatchMode):
    """The names of the ATen operators that run inside."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.name())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("row", "case"), cases(wanted=lambda row, case: bool(row.functions)))
def test_operators(row, case):
    module, inputs = build(case, row.ours)
    outputs = call(module, inputs, case)
    with Operators() as seen:
        gradients(outputs, wanted_tensors(module, inputs))
    assert [name for name in seen.names if "backward" in name] == []


def test_operators_test_finds_what_it_looks_for():
    x = torch.randn(3, requires_grad=True)
    with Operators() as seen:
        torch.relu(x).sum().backward()
    assert "aten::threshold_backward" in seen.names
