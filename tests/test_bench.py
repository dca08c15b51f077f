"""python -m manualgrad bench and kernels."""

import csv
import sys

import pytest
import torch

import manualgrad
from manualgrad.__main__ import main
from manualgrad.bench import layers, recipes
from manualgrad.bench.layers import bench_case, is_block
from manualgrad.bench.measure import interleaved, peak_bytes, saved_bytes
from manualgrad.bench.networks import NETWORKS
from manualgrad.bench.recipes import bench_network
from manualgrad.bench.result import Result, picture, summary
from manualgrad.catalog import CATALOG, find
from manualgrad.kernels import twins
from manualgrad.kernels.overview import overview


@pytest.fixture
def few_rounds(monkeypatch):
    """Each contender once."""

    def once(contenders, *, seconds):
        return {name: 0.001 * (1 + k) for k, name in enumerate(contenders) if call(contenders[name])}

    def call(contender):
        contender()
        return True

    monkeypatch.setattr(layers, "interleaved", once)
    monkeypatch.setattr(recipes, "interleaved", once)


def test_layer(capsys, tmp_path):
    assert main(["bench", "LayerNorm", "--seconds", "0.001", "--output", str(tmp_path / "new")]) == 0
    out = capsys.readouterr().out
    assert f"torch {torch.__version__}" in out
    assert "against eager: geometric mean of 3: " in out
    assert "LayerNorm ((64,)) 128x64" in out
    with open(tmp_path / "new" / "layers.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["contender"]) for row in rows] == [
        (str(case), contender) for case in find("LayerNorm").sizes for contender in ("ours", "eager")
    ]
    for ours, eager in zip(rows[::2], rows[1::2]):
        assert float(ours["times_faster"]) == 1
        ratio = float(eager["milliseconds"]) / float(ours["milliseconds"])
        assert float(eager["times_faster"]) == pytest.approx(ratio, rel=0.02)
        assert 0 < int(ours["saved_bytes"]) <= int(ours["peak_bytes"])
    assert (tmp_path / "new" / "layers.png").read_bytes().startswith(b"\x89PNG")


def test_kind_of_names(capsys, tmp_path, few_rounds):
    assert main(["bench", "layers", "ReLU", "--threads", "1", "--output", str(tmp_path)]) == 0
    assert "1 threads" in capsys.readouterr().out
    assert main(["bench", "recipes", "mlp", "--output", str(tmp_path)]) == 0
    assert "losses agree to" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {
        "layers.csv", "layers.png", "recipes.csv", "recipes.png"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["LayerNrm"], "no layer named 'LayerNrm' in the catalog; close: AddLayerNorm, LayerNorm"),
        (["layers", "Identity"], "Identity has no sizes in the catalog"),
        (["recipes", "alexnet"], "no network named 'alexnet'; there are: mlp, lenet5"),
    ],
)
def test_bad_name(arguments, message, capsys, tmp_path):
    assert main(["bench", *arguments, "--output", str(tmp_path / "none")]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("threads", ["0", "-1", "two"])
def test_bad_threads(threads, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["bench", "ReLU", "--threads", threads])
    assert stop.value.code == 2
    assert "--threads" in capsys.readouterr().err


def test_interrupted(capsys, tmp_path, monkeypatch):
    """What was measured is written."""
    result = Result("ReLU", "()", *({"ours": 1, "eager": 2} for _ in range(3)))

    def interrupted(*args):
        yield result
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["manualgrad.__main__"], "bench_layers", interrupted)
    assert main(["bench", "ReLU", "--output", str(tmp_path)]) == 130
    assert len((tmp_path / "layers.csv").read_text().splitlines()) == 3
    assert "geometric mean of 1: 2.00 times faster" in capsys.readouterr().out


def test_interleaved_takes_contenders_in_turn():
    calls = []
    times = interleaved({name: lambda name=name: calls.append(name) for name in "ab"}, seconds=0, rounds=8)
    assert set(times) == {"a", "b"}
    assert calls[:6] == [*"aaabbb"]  # warm-up
    assert calls[6:14] == [*"baabbaab"]
    assert calls.count("a") == calls.count("b")


def test_saved_bytes():
    """A ReLU saves its output, a linear layer its input."""
    x = torch.randn(64, 32, requires_grad=True)
    for module in (manualgrad.nn.ReLU(), torch.nn.ReLU()):
        assert saved_bytes(lambda module=module: module(x), ()) == 64 * 32 * 4
    linear = manualgrad.nn.Linear(32, 8)
    assert saved_bytes(lambda: linear(x), linear.parameters()) == 64 * 32 * 4


def test_peak_bytes():
    """Two intermediates at a time: the third takes the place of the first."""
    x = torch.randn(1000)
    assert peak_bytes(lambda: None) == 0
    assert 8000 <= peak_bytes(lambda: ((x + 1) * 2).neg()) < 9000  # and the numbers, as tensors


def test_blocks_are_what_torch_has_not():
    assert not is_block(find("LayerNorm"))
    assert not is_block(find("conv_tbc"))


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name, few_rounds):
    """One step of each; the losses of ours and torch's are compared inside."""
    result = bench_network(name, batch_size=2)
    assert result.saved.keys() == result.peak.keys() == {"ours", "eager"}
    assert "losses agree" in result.note


def test_network_with_other_losses(few_rounds, monkeypatch):
    forward = manualgrad.nn.AvgPool2d.forward
    monkeypatch.setattr(manualgrad.nn.AvgPool2d, "forward", lambda self, x: 1.1 * forward(self, x))
    with pytest.raises(RuntimeError, match="lenet5: the loss of ours is"):
        bench_network("lenet5", batch_size=2)


def test_missing_torchvision(capsys, tmp_path, few_rounds, monkeypatch):
    def missing():
        raise ImportError("no torchvision")

    monkeypatch.setitem(NETWORKS, "resnet18", NETWORKS["resnet18"]._replace(build=missing))
    assert main(["bench", "recipes", "resnet18", "--output", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert captured.err == "resnet18: left out: no torchvision\n"
    assert "nothing was measured" in captured.out


def test_no_matplotlib(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "matplotlib is not installed" in picture([], ["eager"], tmp_path / "none.png")


def test_summary():
    def result(name, ours, eager):
        return Result(name, "()", {"ours": ours, "eager": eager}, {}, {})

    text = summary([result("A", 1, 4), result("B", 2, 1), result("C", 1, 4)], ["eager", "compile"])
    assert text.splitlines() == [
        "against eager: geometric mean of 3: 2.00 times faster",
        "  slower: 0.50 B ()",
    ]


def test_one_case():
    row = find("ReLU")
    result = bench_case(row, row.cases[0], seconds=0)
    assert result.ratio("ours") == 1
    assert result.milliseconds.keys() == {"ours", "eager"}


@pytest.mark.kernels
def test_kernels(capsys):
    assert main(["kernels"]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = {line.split()[0]: line for line in lines if line}
    for function in {f for row in CATALOG for f in row.functions}:
        line = table[function.__name__]
        twin = twins().get(function)
        if twin is None:
            assert "no kernel for it" in line
        else:
            assert twin.kernel.__name__ in line
            assert f" {twin.smallest} " in line
            assert twin.asks in line
    assert "  LayerNorm, " in table["LayerNormFunction"]


@pytest.mark.kernels
def test_kernels_says_why_none_is_taken(monkeypatch):
    with manualgrad.kernels("formula"):
        assert "not taken: the setting is 'formula'" in overview()
    module = sys.modules["manualgrad.kernels"]
    monkeypatch.setattr(module, "_table", {})
    monkeypatch.setattr(module, "_unavailable", "the kernels for the CPU need Numba")
    text = overview()
    assert "Numba is not installed" in text
    assert "the kernels for the CPU need Numba" in text
