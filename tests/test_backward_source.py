"""No backward calls a derivative of PyTorch's: read in the source, and seen while it runs."""

import ast
import inspect
import sys
import textwrap
from types import FunctionType

import pytest
import torch
from rows import DERIVED, build, call, cases, gradients, wanted_tensors
from torch.autograd import grad as differentiate
from torch.profiler import profile
from torch.utils._python_dispatch import TorchDispatchMode

from manualgrad.function import Function
from manualgrad.kernels import twins

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
KERNELS = sorted((twin.kernel for twin in twins().values()), key=lambda f: f.__name__)
# The exception that the design allows, and where: the contraction that a convolution's weight gradient is.
CONTRACTION = "convolution_backward"
CONTRACTING = {"ConvCPU", "ConvTransposeCPU", "ConvBatchNormCPU", "ConvBatchNormEvalCPU"}


def called_functions(function: FunctionType, seen: set) -> set:
    """``function`` and every function of this package that it names, and so on; a kernel's loops too."""
    if function in seen:
        return seen
    seen.add(function)
    for node in ast.walk(syntax(function)):
        target = written_here(named(node, function))
        if target is not None:
            called_functions(target, seen)
    return seen


def named(node: ast.AST, function: FunctionType) -> object:
    """What a name, or an attribute of a name, stands for in ``function``, as far as that is known."""
    if isinstance(node, ast.Name):
        return looked_up(node.id, function)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return getattr(looked_up(node.value.id, function), node.attr, None)
    return None


def looked_up(name: str, function: FunctionType) -> object:
    """The variable of that name, of the function around ``function`` or else of its file."""
    around = dict(zip(function.__code__.co_freevars, function.__closure__ or ()))
    return around[name].cell_contents if name in around else function.__globals__.get(name)


def written_here(target: object) -> FunctionType | None:
    """The function of this package that ``target`` is, or is compiled from."""
    target = getattr(target, "loop", getattr(target, "py_func", target))
    home = getattr(target, "__module__", None) or ""
    return target if isinstance(target, FunctionType) and home.startswith("manualgrad.") else None


def syntax(function: FunctionType) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(function)))


def derivatives_called(function: FunctionType) -> list[str]:
    """The names of PyTorch's derivatives that ``function``, or what it calls, uses."""
    found = []
    for reached in called_functions(function, set()):
        for node in ast.walk(syntax(reached)):
            if isinstance(node, ast.Attribute):
                name, forbidden = node.attr, node.attr in FORBIDDEN
                if is_hand_over(node, reached):
                    continue
            elif isinstance(node, ast.Name):  # a global from torch's machinery, whatever it is called
                name, home = node.id, getattr(looked_up(node.id, reached), "__module__", None) or ""
                forbidden = home.startswith(("torch.autograd", "torch.func", "torch._functorch"))
            else:
                continue
            if written_here(named(node, reached)) is not None:
                continue
            if forbidden or name.endswith(("_backward", "_backward_data", "_backward_input")):
                found.append(f"{reached.__qualname__}: {name}")
    return found


def is_hand_over(node: ast.Attribute, function: FunctionType) -> bool:
    """Whether this is ``SomeFunction.backward``, a formula of this package."""
    owner = named(node.value, function)
    return node.attr == "backward" and isinstance(owner, type) and issubclass(owner, Function)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_source(function):
    assert derivatives_called(function.backward) == []


@pytest.mark.kernels
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda f: f.__name__)
def test_source_of_kernels(kernel):
    found = {entry.rpartition(" ")[2] for entry in derivatives_called(kernel.backward)}
    assert found == ({CONTRACTION} if kernel.__name__ in CONTRACTING else set())


@pytest.mark.kernels
def test_contraction_is_asked_for_the_weight_alone():
    module = sys.modules["manualgrad.kernels.cpu.conv"]
    calls = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(CONTRACTION)
    ]
    assert len(calls) == 1
    assert ast.unparse(calls[0].args[-1]) == "WEIGHT_ALONE"
    assert module.WEIGHT_ALONE == (False, True, False)


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


@pytest.mark.kernels
@pytest.mark.parametrize(
    ("row", "case"),
    cases(wanted=lambda row, case: any(function in twins() for function in row.functions)),
)
def test_operators_of_kernels(row, case, monkeypatch):
    """Seen by the profiler: a dispatch mode would send the backward to the formula."""
    small = {function: twin._replace(smallest=0) for function, twin in twins().items()}
    monkeypatch.setattr(sys.modules["manualgrad.kernels"], "_table", small)
    module, inputs = build(case, row.ours)
    outputs = call(module, inputs, case)
    with profile() as seen:
        gradients(outputs, wanted_tensors(module, inputs))
    names = {e.key for e in seen.key_averages() if e.key.startswith("aten::") and "backward" in e.key}
    kernels = {twins()[function].kernel.__name__ for function in row.functions if function in twins()}
    if kernels & CONTRACTING:  # and what the contraction runs in float64
        names -= {f"aten::{CONTRACTION}", "aten::_slow_conv2d_backward"}
    assert names == set()


def test_operators_test_finds_what_it_looks_for():
    x = torch.randn(3, requires_grad=True)
    with Operators() as seen:
        torch.relu(x).sum().backward()
    assert "aten::threshold_backward" in seen.names
