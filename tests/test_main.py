"""python -m manualgrad: list, check, exit status."""

import pytest
import torch

from manualgrad.__main__ import main
from manualgrad.catalog import CATALOG, reexports
from manualgrad.layers.linear import LinearFunction


def test_list(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for row in CATALOG:
        assert f"`{row.name}`" in out
    for name in reexports.MODULES:
        assert f"`{name}`" in out
    counted = sum(bool(row.functions) and row.module is not None for row in CATALOG)
    assert f"{counted} layers and " in out


def test_check_passes(capsys):
    assert main(["check", "LayerNorm", "sigmoid"]) == 0
    out = capsys.readouterr().out
    assert out.count("check LayerNorm: passed") == 6
    assert "Sigmoid: 5 cases" in out
    assert out.endswith("all passed\n")


def test_check_fails(capsys, monkeypatch):
    original = LinearFunction.backward

    def doubled(ctx, grad):
        return tuple(g if g is None else 2 * g for g in original(ctx, grad))

    monkeypatch.setattr(LinearFunction, "backward", staticmethod(doubled))
    assert main(["check", "Linear"]) == 1
    out = capsys.readouterr().out
    assert "check Linear: FAILED" in out
    assert out.endswith("FAILED: Linear\n")


def test_check_of_what_has_no_derivative_says_so(capsys):
    assert main(["check", "Embedding"]) == 0
    assert "compared with torch only, in the tests: divided by frequency" in capsys.readouterr().out


def test_unknown_name(capsys):
    assert main(["check", "LayerNrm"]) == 2
    assert (
        "no layer named 'LayerNrm' in the catalog; close: AddLayerNorm, LayerNorm" in capsys.readouterr().err
    )


def test_no_command():
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
    assert torch.is_grad_enabled()
