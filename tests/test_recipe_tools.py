"""The commands that train no recipe by themselves: list, results, compare, export, predict, find_lr."""

import contextlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from manualgrad.bench.result import Result
from recipes import cli, mnist, results
from recipes.cli import RECIPES, main
from recipes.compare import Comparison, report
from recipes.export import export
from recipes.overview import descriptions
from recipes.predict import prepare, read_gray
from recipes.recipe import Recipe
from recipes.results import BEGIN, END, FILE, README, Row, put, reached, read, table, write_table
from recipes.tool import load

REPOSITORY = Path(__file__).parent.parent
ROOT = REPOSITORY / "data"
PNG = b"\x89PNG"
SHORT = ["--trainer.limit_val_batches", "1", "--trainer.limit_test_batches", "1"]


def call(*argv: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command line."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(list(argv))
    return status, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of an MLP that had seen 19,200 digits."""
    mnist.ensure(ROOT)
    root = tmp_path_factory.mktemp("trained")
    limits = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "150", *SHORT]
    limits += ["--trainer.default_root_dir", str(root)]
    status, _, err = call("fit", "--config", "mlp", "--backend", "torch", "--data.root", str(ROOT), *limits)
    assert status == 0, err
    (folder,) = root.glob("mlp/*")
    return folder


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    """The first 30 test digits, from 0 to 1, and what they are."""
    folder, _ = mnist.ensure(ROOT)
    images, labels = mnist.load(folder, "t10k")
    return images[:30] / 255, labels[:30].long()


def test_summary_of_a_run(trained: Path) -> None:
    summary = json.loads((trained / "summary.json").read_text())
    assert summary["value"] == summary["metrics"]["test/accuracy"] > 0.8
    assert summary["training_seconds"] > 0
    expected = {"recipe": "MLP", "backend": "torch", "seed": 1, "metric": "accuracy", "steps": 150}
    assert {name: summary[name] for name in expected} == expected
    assert summary["parameters"] == 235_530


def test_list_is_every_recipe_without_lightning() -> None:
    code = (
        "import sys, runpy; sys.argv = ['recipes', 'list']\n"
        "sys.modules['lightning'] = None\n"
        "runpy.run_module('recipes', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    names = [*RECIPES, "sgd_from_scratch"]
    assert [line.split()[0] for line in lines[: len(names)]] == names
    rows = read(FILE)
    for name, line in zip(names, lines, strict=False):
        own = [row for row in rows if row.recipe == name]
        assert (reached(own) if own else "not measured") in line
        assert descriptions()[name] in line
    assert call("list")[1] == done.stdout


def row(recipe: str, seed: int, value: float, metric: str = "accuracy", seconds: float = 20.0) -> Row:
    return Row(recipe, seed, metric, value, seconds, 1000, "a machine", "2.13")


def test_rows_are_kept_replaced_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    first, second, other = row("mlp", 1, 0.97), row("mlp", 2, 0.98), row("cnn", 1, 0.99)
    for each in (first, second, other, second._replace(value=0.985)):
        put(each, path)
    assert read(path) == [other, first, second._replace(value=0.985)]


@pytest.mark.parametrize(
    ("values", "metric", "expected"),
    [
        ((0.98, 0.984, 0.985), "accuracy", "accuracy 98.30 ± 0.25 %"),
        ((0.98,), "accuracy", "accuracy 98.00 %"),
        ((99.0, 98.0), "-ELBO (nats a digit)", "-ELBO 98.5 ± 0.5 nats"),
        ((0.004, 0.005), "mean squared error (of white = 1)", "mean squared error 0.0045 ± 0.0005"),
    ],
)
def test_mean_and_half_the_range(values: tuple[float, ...], metric: str, expected: str) -> None:
    assert reached([row("x", seed, value, metric) for seed, value in enumerate(values)]) == expected


def test_table_goes_between_its_markers(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    rows = [row("vae", 1, 99.0, "-ELBO (nats a digit)", 130.0), row("cnn", 2, 0.99), row("cnn", 1, 0.98)]
    write_table(rows, readme)
    text = readme.read_text()
    assert text == f"before\n{BEGIN}\n{table(rows)}\n{END}\nafter\n"
    cnn, vae = (line for line in text.splitlines() if line.startswith("| `"))
    assert cnn.split(" | ")[2:] == ["accuracy 98.50 ± 0.50 %", "20 s", "1,000", "2 |"]
    assert vae.split(" | ")[2:] == ["-ELBO 99 nats", "2.2 min", "1,000", "1 |"]
    (tmp_path / "other.md").write_text("no markers")
    with pytest.raises(cli.RecipeError, match=r"other.md has no lines <!-- results: begin"):
        write_table(rows, tmp_path / "other.md")


def test_table_of_the_readme_is_what_the_rows_give() -> None:
    _, _, rest = README.read_text().partition(BEGIN)
    assert rest.partition(END)[0].strip() == table(read(FILE))


def test_results_trains_tests_the_last_epoch_and_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def in_process(command: list[str]) -> int:
        ran.append(command)
        return call(*command)[0]

    monkeypatch.setattr(results, "call", in_process)
    Path("README.md").write_text(f"{BEGIN}\n{END}\n")
    place = ["--file", "rows.csv", "--readme", "README.md", "--root", str(ROOT)]
    short = ["--", "--trainer.limit_train_batches", "5", "--trainer.max_epochs", "2", "--backend", "torch"]
    command = ["results", "--recipes", "mlp", *place]
    status, out, err = call(*command, "--seeds", "3", *short)
    assert status == 0, err
    (found,) = read(Path("rows.csv"))
    fit, test = ran
    assert test[test.index("--ckpt_path") + 1].endswith("last.ckpt")
    tested = [json.loads(path.read_text()) for path in Path("runs").rglob("test/*/*/summary.json")]
    assert [(summary["value"], summary["seed"]) for summary in tested] == [(pytest.approx(found.value), 3)]
    fitted = [json.loads(path.read_text()) for path in Path("runs").rglob("fit/*/*/summary.json")]
    assert [summary["split"] for summary in fitted] == ["val"]
    assert "--trainer.limit_test_batches" in fit
    assert found[:3] == ("mlp", 3, "accuracy")
    assert f"mlp, seed 3: accuracy {100 * found.value:.2f} %" in out
    assert table([found]) in Path("README.md").read_text()

    monkeypatch.setattr(results, "call", lambda command: 1)
    status, _, err = call(*command, "--seeds", "4", "5", *short)
    assert (status, err) == (1, "failed: mlp with seed 4, mlp with seed 5\n")
    assert read(Path("rows.csv")) == [found]


def test_textbook_has_a_row_like_any(monkeypatch: pytest.MonkeyPatch) -> None:
    def printing(root: Path, seed: int) -> None:
        print("epoch 1/2  loss 0.1  test accuracy 90.00 %\nepoch 2/2  loss 0.1  test accuracy 97.12 %")

    monkeypatch.setattr("recipes.sgd_from_scratch.main", printing)
    found = results.textbook("sgd_from_scratch", 2, "data", [])
    assert found is not None
    assert found[:4] == ("sgd_from_scratch", 2, "accuracy", 0.9712)
    assert found.parameters == 101_770


def test_torch_compared_with_itself_differs_nowhere() -> None:
    options = ["--config", "mlp", "--backend", "torch", "--data.root", str(ROOT), *SHORT]
    status, out, err = call("compare", *options, "--steps", "12", "--seconds", "0.01")
    assert status == 0, err
    assert re.search(r"up to step 10 +0.0e\+00\n  up to step 12 +0.0e\+00\n", out), out
    assert "no chaos in 12 steps" in out
    accuracies = re.search(r"test accuracy +([\d.]+) % +([\d.]+) %", out)
    assert accuracies
    assert accuracies[1] == accuracies[2]
    assert re.search(r"saved for backward +([\d.]+ MB) +\1   1.00 of torch.nn's", out)
    assert re.search(r"peak memory of a step +[\d.]+ MB +[\d.]+ MB   [\d.]+ of torch.nn's", out)
    (folder,) = Path("runs/compare").iterdir()
    assert {path.name for path in folder.iterdir()} == {"ours", "eager", "compare.png", "compare.txt"}
    assert (folder / "compare.png").read_bytes().startswith(PNG)


def made(milliseconds: dict[str, float], saved: dict[str, int], peak: dict[str, int]) -> Result:
    return Result("mlp", "batch 128", milliseconds, saved, peak)


def comparison(ours: list[float], theirs: list[float]) -> Comparison:
    summary = {"backend": "manualgrad", "metric": "accuracy", "value": 0.5, "split": "test"}
    summaries = {name: {**summary, "training_seconds": 1.0} for name in ("ours", "eager")}
    losses = {"ours": torch.tensor(ours), "eager": torch.tensor(theirs)}
    costs = made({"ours": 3.0, "eager": 2.0}, {"ours": 10, "eager": 20}, {"ours": 30, "eager": 20})
    return Comparison("mlp", "nats", summaries, losses, costs)


def test_report_says_where_chaos_begins_and_where_ours_loses() -> None:
    found = comparison([1.0, 1.0005, 1.002, 1.0], [1.0, 1.0, 1.0, 1.0])
    assert found.chaos() == 3
    text = report(found)
    assert "chaos sets in at step 3: the first whose losses differ by more than 0.001" in text
    assert re.search(r"up to step 4 +2.0e-03", text)
    assert "manualgrad loses: a step (1.50 of torch.nn's), peak memory of a step (1.50 of torch.nn's)" in text
    assert comparison([1.0, float("nan")], [1.0, 1.0]).chaos() == 2
    assert comparison([1.0, 1.0], [1.0, 1.0]).chaos() is None


def test_export_needs_no_manualgrad(trained: Path) -> None:
    status, out, err = call("export", "--ckpt_path", f"{trained}/best.ckpt", "--out", "exported")
    assert status == 0, err
    assert 'torch.load("exported/weights.pt", weights_only=True)' in out
    assert "(pixel / 255 - 0.1307) / 0.3081" in out
    recipe, _ = load(f"{trained}/best.ckpt")
    x = torch.randn(7, 1, 28, 28)
    with torch.no_grad():
        torch.save((x, recipe(x)), "expected.pt")
    code = """
import sys, torch
from torch import nn
sys.modules["manualgrad"] = sys.modules["recipes"] = sys.modules["lightning"] = None
blocks = [nn.Linear(784, 256, bias=False), nn.BatchNorm1d(256), nn.ReLU()]
blocks += [nn.Linear(256, 128, bias=False), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 10)]
net = nn.Sequential(nn.Flatten(), *blocks)
net.load_state_dict(torch.load("exported/weights.pt", weights_only=True))
x, y = torch.load("expected.pt")
torch.testing.assert_close(net.eval()(x), y)
torch.testing.assert_close(torch.export.load("exported/program.pt2").module()(x), y)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def save(recipe: Recipe, path: str) -> None:
    """Save a checkpoint as Lightning would, in what a checkpoint is read for."""
    weights, options = recipe.state_dict(), dict(recipe.hparams)
    checkpoint = {"state_dict": weights, "hyper_parameters": options, "global_step": 1}
    recipe.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, path)


@pytest.mark.parametrize("name", ["GRU", "ViT", "VAE", "Autoencoder", "ResNet"])
def test_export_of_other_networks(name: str) -> None:
    from recipes import models

    recipe = getattr(models, name)(backend="torch")
    save(recipe, "a.ckpt")
    assert export(load("a.ckpt")[0], Path("out")) < 1e-5
    weights = torch.load("out/weights.pt", weights_only=True)
    assert set(weights) == set(getattr(recipe, "net", recipe).state_dict())


def enlarged(digit: Tensor, scale: int, border: tuple[int, ...]) -> Tensor:
    """A digit on a page, white on black."""
    big = F.interpolate(digit[None, None], scale_factor=scale, mode="bicubic", align_corners=False)[0, 0]
    return F.pad(big.clamp(0, 1), border)


def pages(digit: Tensor) -> dict[str, Image.Image]:
    """The digit as people would send it."""
    ink = enlarged(digit, 6, (60, 20, 10, 45))
    clear = torch.zeros_like(ink)
    light = torch.linspace(0.55, 0.95, ink.shape[1]).expand_as(ink)
    noise = 0.02 * torch.randn(ink.shape, generator=torch.Generator().manual_seed(0))
    photo = (light * (1 - 0.8 * ink) + noise).clamp(0, 1)
    photo[:6] = photo[:, -6:] = 0.1  # the table beneath
    planes = {
        "white_on_black": [ink],
        "black_on_white": [1 - ink],
        "small": [1 - F.pad(digit, (9, 3, 0, 5))],
        "cropped": [1 - digit[digit.amax(dim=1) > 0][:, digit.amax(dim=0) > 0]],
        "blue": [1 - ink, 1 - ink, 1 - 0.4 * ink],
        "transparent_page": [clear, clear, clear, ink],
        "white_ink_on_transparent_page": [clear + 1, clear + 1, clear + 1, ink],
        "photo": [photo],
    }
    return {name: picture(parts) for name, parts in planes.items()}


def picture(planes: list[Tensor]) -> Image.Image:
    array = (torch.stack(planes, dim=-1) * 255).round().to(torch.uint8).numpy()
    return Image.fromarray(array[..., 0] if len(planes) == 1 else array)


def apart(prepared: Tensor, digit: Tensor) -> float:
    """How much of the ink differs, at the best of shifts by at most a pixel."""
    shifts = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    return min(float((prepared.roll(s, (0, 1)) - digit).abs().sum() / digit.sum()) for s in shifts)


def test_pictures_become_mnist_digits(digits: tuple[Tensor, Tensor]) -> None:
    places = torch.arange(28.0)
    found: dict[str, list[float]] = {}
    for digit in digits[0][:12]:
        for name, page in pages(digit).items():
            page.save("page.png")
            prepared = prepare(read_gray("page.png"))
            assert prepared is not None
            assert prepared.shape == (28, 28)
            assert prepared.min() == 0
            assert 0.99 < prepared.max() <= 1
            sides = [len(prepared.sum(dim=axis).nonzero()) for axis in (0, 1)]
            assert max(sides) == 20, name
            centers = [float((prepared.sum(dim=axis) * places).sum() / prepared.sum()) for axis in (0, 1)]
            assert all(13.4 < center < 14.6 for center in centers), (name, centers)
            found.setdefault(name, []).append(apart(prepared, digit))
    means = {name: sum(values) / len(values) for name, values in found.items()}
    assert all(mean < 0.3 for mean in means.values()), means
    assert means["cropped"] < 0.05


def test_prediction_of_pictures(trained: Path, digits: tuple[Tensor, Tensor]) -> None:
    recipe, _ = load(f"{trained}/best.ckpt")
    with torch.no_grad():
        expected = recipe((digits[0].unsqueeze(1) - 0.1307) / 0.3081).argmax(dim=1)
    files = []
    for i, digit in enumerate(digits[0]):
        kinds = pages(digit)
        files.append(f"{i}.png")
        kinds[list(kinds)[i % len(kinds)]].save(files[-1])
    status, out, err = call("predict", "--ckpt_path", f"{trained}/best.ckpt", "--image", *files)
    assert status == 0, err
    *lines, last = out.splitlines()
    answer = re.compile(r"(\d+).png: (\d) \((\d+\.\d) %\), then (\d) \((\d+\.\d) %\)")
    read = [answer.fullmatch(line) for line in lines]
    assert all(read)
    assert [int(line[1]) for line in read if line] == list(range(30))
    assert all(float(line[3]) >= float(line[5]) for line in read if line)
    assert sum(int(line[2]) == want for line, want in zip(read, expected.tolist(), strict=True) if line) >= 27
    assert last == f"what the network saw: {trained}/predict.png"
    assert (trained / "predict.png").read_bytes().startswith(PNG)


def test_learning_rate_finder_leaves_a_picture_and_nothing_else() -> None:
    options = ["--config", "mlp", "--backend", "torch", "--data.root", str(ROOT)]
    status, out, err = call("find_lr", *options, "--steps", "40", "--min_lr", "1e-5", "--max_lr", "10")
    assert status == 0, err
    found = re.match(
        r"mlp: suggested learning rate (\S+), .*on a linear one: (\S+); .* highest: 0.005\)\n", out
    )
    assert found, out
    assert all(1e-5 < float(rate) < 10 for rate in found.groups())
    (written,) = (path for path in Path(".").rglob("*") if path.is_file())
    assert re.fullmatch(r"runs/find_lr/[^/]+/find_lr.png", str(written))
    assert written.read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        ("predict --ckpt_path CKPT --image none.png", 1, "--image none.png: no such file"),
        (
            "predict --ckpt_path CKPT --image text.png",
            1,
            "--image text.png is no picture that Pillow",
        ),
        ("predict --ckpt_path CKPT --image .", 1, "--image .: Is a directory"),
        ("predict --ckpt_path CKPT --image blank.png", 1, "--image blank.png is blank"),
        ("predict --ckpt_path vae.ckpt --image blank.png", 1, "vae.ckpt is of VAE, which is no classifier"),
        ("predict --ckpt_path none.ckpt --image blank.png", 1, "--ckpt_path none.ckpt: no such file"),
        ("predict --ckpt_path CKPT", 2, "the following arguments are required: --image"),
        ("export --ckpt_path none.ckpt", 1, "--ckpt_path none.ckpt: no such file"),
        ("export --ckpt_path CKPT --out text.png", 1, "--out text.png: File exists"),
        ("export", 2, "the following arguments are required: --ckpt_path"),
        ("results --recipes alexnet", 2, "argument --recipes: invalid choice: 'alexnet'"),
        ("results --seeds one", 2, "argument --seeds: invalid int value: 'one'"),
        ("compare --config nowhere", 2, "--config nowhere: no such file"),
        ("compare --steps 0", 2, "--steps 0: give at least 1"),
        ("compare --config mlp --model.nosuch 1", 2, "--model.nosuch"),
        ("find_lr --min_lr 1 --max_lr 0.1", 2, "--min_lr 1.0 --max_lr 0.1 --steps 200: give two rates"),
        ("find_lr --config nowhere", 2, "--config nowhere: no such file"),
        ("list all", 2, "unrecognized arguments: all"),
    ],
)
def test_mistakes_are_one_line(argv: str, status: int, message: str, trained: Path) -> None:
    from recipes.models import VAE

    Path("text.png").write_text("no picture")
    Image.new("L", (40, 30), 200).save("blank.png")
    vae = VAE(backend="torch", widths=[2], latent=1)
    save(vae, "vae.ckpt")
    before = set(Path(".").rglob("*"))
    found, out, err = call(*argv.replace("CKPT", f"{trained}/best.ckpt").split())
    assert (found, out) == (status, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert {path for path in set(Path(".").rglob("*")) - before if path.is_file()} == set()
    assert not list(Path(".").glob("runs/*/*"))
