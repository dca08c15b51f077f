"""The studies on a few digits: their numbers say what the textbook says, and their files are written."""

import csv
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from recipes.cli import main
from recipes.run import new_folder
from recipes.studies import common, depth, learning_rate
from recipes.studies.learning_rate import classify

NAN = math.nan


@pytest.fixture(autouse=True)
def _blots(monkeypatch: pytest.MonkeyPatch):
    """Ten blots, a different one for each label, instead of MNIST: no file is read."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(600) % 10
    blots = torch.randn(10, 1, 28, 28, generator=generator)
    images = blots[labels] + 0.5 * torch.randn(600, 1, 28, 28, generator=generator)
    monkeypatch.setattr(common, "digits", lambda root, split, count: (images[:count], labels[:count]))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def study(name: str, folder: Path, *options: str) -> Path:
    assert main([name, "--folder", str(folder), "--digits", "600", "--batch_size", "50", *options]) == 0
    (out,) = (folder / name).iterdir()
    for picture in out.glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size > 20_000
    return out


def test_learning_rate_crawls_learns_diverges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rates = "[1000000.0,1e-6,0.1]"
    out = study("learning_rate", tmp_path, "--rates", rates, "--steps", "25", "--width", "16")
    assert {path.name for path in out.iterdir()} == {"curves.png", "valley.png", "rates.csv", "losses.csv"}
    small, right, large = table(out / "rates.csv")
    assert [row["region"] for row in (small, right, large)] == ["too small", "right", "too large"]
    assert [row["diverged"] for row in (small, right, large)] == ["False", "False", "True"]
    losses = table(out / "losses.csv")
    assert len(losses) == 25
    first, last = ({rate: float(loss) for rate, loss in losses[i].items()} for i in (0, -1))
    assert first["1e-06"] == first["0.1"] == first["1e+06"]
    assert float(small["final_loss"]) == pytest.approx(math.log(10), rel=0.1)
    assert last["0.1"] < 0.5 * first["0.1"]
    assert not last["1e+06"] <= first["1e+06"]
    printed = capsys.readouterr().out
    assert "Right: 0.1 (best 0.1, loss" in printed
    assert "up to 1e-06 it crawls; from 1e+06 on it overshoots." in printed


@pytest.mark.parametrize(
    ("rates", "said"), [("[1e9,1e12]", "try smaller ones"), ("[1e-9,1e-8]", "try larger ones")]
)
def test_learning_rate_when_none_is_right(tmp_path: Path, capsys, rates: str, said: str) -> None:
    study("learning_rate", tmp_path, "--rates", rates, "--steps", "3", "--width", "8")
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("finals", "regions"),
    [
        ([2.3, 1.5, 0.2, 0.3, 2.0, NAN], "small small right right large large"),
        ([2.3, 2.2, 2.1, 1.0, 0.3, 0.1], "small small small small right right"),
        ([0.1, 0.5, 1.0, 2.4, NAN, math.inf], "right large large large large large"),
        ([0.2, 1.0, 0.2, 0.19, NAN, 0.2], "small small right right large large"),
        ([2.3, 2.3, 2.29, 2.2, 2.4, NAN], "small small small small large large"),
        ([NAN] * 6, "large large large large large large"),
    ],
)
def test_regions_of_synthetic_losses(finals: list[float], regions: str) -> None:
    expected = [region if region == "right" else f"too {region}" for region in regions.split()]
    assert classify([1e-3, 1e-2, 0.1, 1, 10, 100], 2.3, finals) == expected


def test_cut_is_the_loss_along_the_gradient() -> None:
    x, y = common.digits(Path(), "train", 100)
    model = learning_rate.network(8, seed=1)
    cut, slope = learning_rate.cut_along_gradient(model, x, y)
    start, _ = learning_rate.evaluate(learning_rate.network(8, seed=1), x, y)
    assert cut(0.0) == pytest.approx(start, rel=1e-6)
    # The first step of gradient descent with rate α goes to s = α.
    assert slope(0.0) == pytest.approx(-1, rel=1e-5)
    optimizer = torch.optim.SGD((model := learning_rate.network(8, seed=1)).parameters(), lr=0.3)
    torch.nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
    assert cut(0.3) == pytest.approx(learning_rate.evaluate(model, x, y)[0], rel=1e-5)


def test_depth_writes_what_it_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = study("depth", tmp_path, "--depths", "[2,12]", "--steps", "20", "--width", "16", "--lr", "0.1")
    names = {"gradients.png", "learning.png", "gradients.csv", "learning.csv"}
    assert {path.name for path in out.iterdir()} == names
    losses = {(row["kind"], row["depth"]): float(row["loss"]) for row in table(out / "learning.csv")}
    assert losses.keys() == {(kind, depth) for kind in depth.KINDS for depth in ("2", "12")}
    assert losses["residual", "12"] < 1.5 < losses["sigmoid", "12"]
    rows = table(out / "gradients.csv")
    assert len(rows) == 12 * (2 * len(depth.KINDS) + 2 * len(depth.GAINS))
    assert "batch norm × " in capsys.readouterr().out


def ratio(kind: str, gain: float = 1.0) -> float:
    """How much of the gradient of layer 20 arrives at layer 1, in networks of 20 layers of width 64."""
    x, y = common.digits(Path(), "train", 128)
    norms = depth.gradient_norms(depth.network(kind, 20, 64, seed=1, gain=gain), x, y)
    assert len(norms) == 20
    return norms[0] / norms[-1]


def test_gradient_by_depth() -> None:
    assert ratio("sigmoid") < 0.25**19 * 10
    assert 1e-2 < ratio("batch norm") < 1e2
    assert 0.5 < ratio("residual") < math.sqrt(math.e) * 1.2
    assert 0.1 < ratio("ReLU") < 10
    assert ratio("ReLU, weights × 2") > 2**19 / 10


def test_gain_moves_relu_and_not_batch_norm() -> None:
    gains = [ratio("ReLU", gain) for gain in (0.5, 1.0, 2.0)]
    assert gains[0] < 1e-4 < 0.1 < gains[1] < 10 < 1e4 < gains[2]
    gains = [ratio("batch norm", gain) for gain in (0.5, 1.0, 2.0)]
    assert max(gains) < 1.5 * min(gains)


def test_gradient_norms_are_those_of_autograd_and_leave_nothing() -> None:
    x, y = common.digits(Path(), "train", 32)
    model = depth.network("residual", 3, 8, seed=1)
    h, outputs = x, []
    for layer in model:
        h = layer(h)
        outputs.append(h)
    gradients = torch.autograd.grad(torch.nn.functional.cross_entropy(h, y), outputs[2:-1])
    assert depth.gradient_norms(model, x, y) == pytest.approx([g.norm().item() for g in gradients], rel=1e-5)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(layer._backward_hooks for layer in model)


def test_names_keep_their_order_and_their_distance() -> None:
    tips = np.array([0.1, 0.5, 0.5, 0.52, 0.9])
    places = common.spread(tips, 0.1)
    assert all(b - a >= 0.1 - 1e-12 for a, b in pairwise(places))
    assert places[0] == pytest.approx(0.1)
    assert places[1:4].mean() == pytest.approx(tips[1:4].mean())
    assert common.spread(np.array([0.1, 0.9]), 0.1) == pytest.approx([0.1, 0.9])


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("learning_rate --rates [0.1,-1]", "--rates: -1 is no learning rate"),
        ("learning_rate --rates [0.1]", "at least two"),
        ("learning_rate --rates [.nan,1]", "--rates: nan is no learning rate"),
        ("learning_rate --steps 0", "--steps 0: give a number above 0"),
        ("learning_rate --steps many", "python -m recipes learning_rate --help"),
        ("depth --depths [1]", "--depths [1]: give numbers of layers, each at least 2"),
        ("depth --gains [0]", "--gains: 0 is no gain"),
        ("depth --lr -1", "--lr -1: give a number above 0"),
        ("depth --batch_size 1", "--batch_size 1: batch norm needs at least 2 digits"),
    ],
)
def test_mistake_is_one_line(command: str, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert named in err


def test_no_place_for_the_folder_names_the_option(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeError, match=r"; name another place with --folder$"):
        new_folder(tmp_path / "file" / "runs", "depth", "--folder")
