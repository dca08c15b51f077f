"""The catalog is complete, and what is derived from it is up to date."""

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conformance import COLUMNS
from rows import ROWS

import manualgrad
from manualgrad import functional, layers, nn
from manualgrad.catalog import CATALOG, find, reexports
from manualgrad.function import Function
from manualgrad.layers import lazy

ROOT = Path(__file__).parent.parent


def pages():
    return [
        importlib.import_module(f"manualgrad.layers.{m.name}") for m in pkgutil.iter_modules(layers.__path__)
    ]


def classes(namespace) -> set[str]:
    """The public classes of a namespace."""
    return {n for n, v in vars(namespace).items() if inspect.isclass(v) and not n.startswith("_")}


def test_every_exported_module_has_a_row():
    """Every class of torch.nn is in ours: with a row, or lazy, or torch's own for a reason that is told."""
    rows = {row.name for row in CATALOG if row.module and row.functions}
    assert rows | set(lazy.__all__) | reexports.MODULES.keys() == classes(nn) == set(nn.__all__) & classes(nn)
    assert classes(torch.nn) - classes(nn) == set()
    assert {
        n for n in classes(nn) if getattr(nn, n) is getattr(torch.nn, n, None)
    } == reexports.MODULES.keys()


def test_every_name_of_torch_nn_is_here():
    """``import manualgrad.nn as nn`` takes the place of ``import torch.nn as nn``."""
    public = {name for name in dir(torch.nn) if not name.startswith("_")}
    assert public <= set(nn.__all__)
    assert nn.functional is functional


def test_every_function_of_torch_is_here():
    """Every function of torch.nn.functional is hand-written, or torch's own for a reason that is told."""
    public = {n for n, v in vars(torch.nn.functional).items() if callable(v) and not n.startswith("_")}
    assert set(functional.__all__) == public - reexports.INTERNAL
    same = {n for n in functional.__all__ if getattr(functional, n) is getattr(torch.nn.functional, n)}
    assert same == reexports.FUNCTIONS.keys()


def test_every_function_has_a_row():
    defined = {
        v for page in pages() for v in vars(page).values() if inspect.isclass(v) and issubclass(v, Function)
    }
    in_rows = {f for row in CATALOG for f in row.functions}
    shared = {c for f in in_rows for c in f.__mro__ if c not in in_rows}  # bases of several Functions
    assert defined - shared == in_rows


def test_every_functional_is_exported():
    of_rows = {row.functional.__name__ for row in CATALOG if row.functions}
    assert {name for name in of_rows if hasattr(torch.nn.functional, name)} <= set(functional.__all__)
    for name in functional.__all__:
        assert hasattr(torch.nn.functional, name), name


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.__name__.rpartition(".")[2])
def test_pages_export_what_they_define(page):
    defined = {
        name
        for name, value in vars(page).items()
        if getattr(value, "__module__", "") == page.__name__
        and inspect.isclass(value)
        and issubclass(value, (torch.nn.Module, Function))
        and not name.startswith("_")
    }
    assert defined - set(page.__all__) <= {"DifferenceLossFunction"}
    assert not [name for name in page.__all__ if not hasattr(page, name)]


@pytest.mark.parametrize("row", ROWS)
def test_row(row):
    """A layer is a subclass of its namesake that overrides forward alone, and its Functions are derived."""
    assert row.cases
    if not row.functions:
        assert row.module is row.torch_module
        assert row.note
        return
    if row.module is None:
        assert row.torch_functional is not row.functional
    else:
        check_class(row)
    for function in row.functions:
        doc = function.__doc__ or ""
        for section in ("Forward", "Backward"):
            assert section in doc, f"{function.__name__} does not say {section}"
        assert "Saves" in doc or "Function" in doc


# What a class overrides besides forward: a constructor that makes layers, which are to be ours, as are those
# that convert_sync_batchnorm makes.
BESIDES_FORWARD = {
    "AdaptiveLogSoftmaxWithLoss": {"log_prob", "predict"},
    "BatchNormActivation": {"__init__"},
    "ConvBatchNorm": {"__init__"},
    "LinearActivation": {"__init__"},
    "SyncBatchNorm": {"convert_sync_batchnorm"},
    "MultiheadAttention": {"__init__"},
    "Transformer": {"__init__"},
    "TransformerDecoder": {"__init__"},
    "TransformerDecoderLayer": {"__init__"},
    "TransformerEncoder": {"__init__"},
    "TransformerEncoderLayer": {"__init__"},
}


def check_class(row):
    theirs = row.torch_module
    assert issubclass(row.module, theirs if theirs.__module__.startswith("torch.") else theirs.__base__)
    own = {n for c in row.module.__mro__ if c.__module__.startswith("manualgrad.") for n in vars(c)}
    extra = own - {
        "forward",
        "ndim",
        "__module__",
        "__doc__",
        "__annotations__",
        "__static_attributes__",
        "__firstlineno__",
    }
    assert extra == BESIDES_FORWARD.get(row.name, set())
    if hasattr(torch.nn.functional, row.functional.__name__):
        assert row.torch_functional is not row.functional


@pytest.mark.parametrize("row", [r for r in ROWS if r.values[0].functions])
def test_signatures(row):
    """Same arguments, order and defaults as torch's, where torch's can be read."""
    try:
        theirs = inspect.signature(row.torch_functional)
    except ValueError:
        theirs = None  # a builtin
    ours = inspect.signature(row.functional)
    if theirs is not None and "args" not in theirs.parameters:
        assert list(ours.parameters) == list(theirs.parameters)
        for name, parameter in theirs.parameters.items():
            assert ours.parameters[name].default == parameter.default, name
    if row.module is None:
        return
    assert list(inspect.signature(row.module.forward).parameters) == list(
        inspect.signature(row.torch_module.forward).parameters
    )


def test_readme_has_the_table_of_layers():
    from manualgrad.__main__ import summary, table

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    printed = f"{table(CATALOG)}\n\n{summary(CATALOG)}"
    assert printed in readme, "the README's table is old: python -m manualgrad list prints the new one"


def test_conformance_has_every_layer():
    """The matrix was written since the last layer came; every cell in it is full."""
    matrix = (ROOT / "CONFORMANCE.md").read_text(encoding="utf-8")
    cells = {line.split("`")[1]: line.split("|")[2:-1] for line in matrix.splitlines() if line[:3] == "| `"}
    assert list(cells) == [row.name for row in CATALOG if row.functions]
    for name, line in cells.items():
        for test, cell in zip(COLUMNS, line, strict=True):
            passed, _, asked = cell.strip().partition("/")
            known = any(test in case.cannot for case in find(name).cases)
            assert passed == asked or not asked or known, f"{name}, {test}: {cell}"


def test_readme_examples(capsys):
    """The README's examples run as they stand there, and print what it says."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    swap, fast, check, rules, _, callbacks = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    user = {}
    exec(swap, user)
    assert capsys.readouterr().out.startswith("swapped 52 layers\n")
    exec(fast, user)
    assert capsys.readouterr().out.startswith("fused 17 ")
    exec(rules, user)
    assert capsys.readouterr().out == "swapped 9 layers\n     9 GuidedReLU\n"
    assert not any(type(module).__name__ == "GuidedReLU" for module in user["model"].modules())
    callbacks = callbacks.replace("Trainer(", "Trainer(logger=False, accelerator='cpu', ")
    exec(callbacks, user)
    names = {type(callback).__name__ for callback in user["trainer"].callbacks}
    assert names > {"SwapLayers", "GradientFlow", "ParityMonitor"}
    exec(check, {})
    said = readme.split("    check Square: FAILED\n")[1].split("\n\n")[0].splitlines()
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "check Square: FAILED"
    assert [line[:44] for line in printed[1:]] == [line[4:48] for line in said]  # the numbers are random


def test_find():
    assert find("layernorm").module is nn.LayerNorm
    assert find("LayerNormFunction").module is nn.LayerNorm
    assert find("conv2d").module is nn.Conv2d
    with pytest.raises(KeyError, match=r"no layer named 'LayerNrm'.*LayerNorm"):
        find("LayerNrm")


def test_import_draws_no_random_numbers():
    """Somebody who seeds, imports and initializes gets the weights that torch.nn would give."""
    code = (
        "import torch; torch.manual_seed(0); before = torch.get_rng_state(); import manualgrad;"
        "print(torch.equal(before, torch.get_rng_state()))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.strip() == "True"


def test_core_imports_torch_alone():
    """The package needs nothing but torch."""
    code = (
        "import sys, torch; before = set(sys.modules); import manualgrad;"
        "new = {m.partition('.')[0] for m in set(sys.modules) - before};"
        "print(sorted(m for m in new if m not in sys.stdlib_module_names | {'manualgrad', 'torch'}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.strip() == "[]"
    assert manualgrad.__version__
