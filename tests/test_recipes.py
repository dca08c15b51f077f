"""The command line, run as a user would: artifacts, errors, resuming, and the two backends side by side."""

import csv
import errno
import os
import re
import signal
import subprocess
import sys
import urllib.error
from pathlib import Path

import pytest
import torch

from recipes import mnist, models
from recipes.callbacks import StopBetweenSteps, WholeCheckpoints
from recipes.classifier import Classifier
from recipes.cli import RECIPES, expand, main

REPOSITORY = Path(__file__).parent.parent
ARTIFACTS = {"best.ckpt", "last.ckpt", "config.yaml", "metrics.csv"}
PICTURES = {"curves.png", "confusion.png", "mistakes.png"}
ACCURACY = r"test accuracy (?P<accuracy>[\d.]+) % of (?P<digits>[\d,]+) digits"
HEADLINES = {
    "autoencoder": r"test mean squared error 0\.\d{5} \(root: 0\.\d{3} of the brightness of white\)",
    "vae": r"test -ELBO [\d.]+ nats \(Bernoulli likelihood; reconstruction [\d.]+, divergence [\d.]+\)",
}
TEST_PICTURES = {"autoencoder": {"reconstructions.png"}, "vae": {"reconstructions.png", "samples.png"}}
# Quick ones; and there is no network to fetch weights by.
SMALL = {
    "autoencoder": ["--model.widths", "[16]"],
    "cnn": ["--model.widths", "[2, 4]"],
    "gru": ["--model.hidden", "8"],
    "lstm": ["--model.hidden", "8"],
    "mlp": ["--model.widths", "[16]"],
    "resnet": ["--model.widths", "[2, 4]"],
    "swap_pretrained": ["--model.weights", "null", "--model.architecture", "squeezenet1_1"],
    "vae": ["--model.widths", "[16]"],
    "vit": ["--model.width", "8", "--model.depth", "1"],
}


def line(headline: str = ACCURACY) -> re.Pattern[str]:
    """What a run prints at its end."""
    return re.compile(
        rf"\w+ \((manualgrad|torch)\): (?P<headline>{headline}), [\d,]+ parameters, "
        r"[\d.]+ s (training|testing), cpu \(\d+ threads\), data: (folder|download|wheel) .+\n"
    )


LINE = line()
TINY = ["mlp", "--model.widths", "[16]", "--data.batch_size", "32", "--trainer.max_epochs", "1"]
NO_TEST = ["--trainer.limit_test_batches", "0"]


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Work in an empty folder; as many threads as there are test processes only get in each other's way."""
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def run(data_root: str, capsys: pytest.CaptureFixture[str]):
    """Run a command line, shortened; return its status, stdout, stderr and the newest run folder."""

    def run(*argv: str, backend: str = "torch"):
        command = [*argv, "--backend", backend, "--data.root", data_root]
        for name, batches in {"train": 4, "val": 1, "test": 1}.items():
            if (option := f"--trainer.limit_{name}_batches") not in argv:
                command += [option, str(batches)]
        capsys.readouterr()
        status = main([*command, "--trainer.log_every_n_steps", "1"])
        out, err = capsys.readouterr()
        folders = sorted(Path("runs").glob("*/*"), key=lambda path: path.stat().st_mtime_ns)
        return status, out, err, folders[-1] if folders else None

    return run


def rows(folder: Path, column: str) -> dict[int, float]:
    with (folder / "metrics.csv").open(newline="") as file:
        return {int(row["step"]): float(row[column]) for row in csv.DictReader(file) if row[column]}


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def test_bare_command_trains_tests_and_draws(data_root: str) -> None:
    limits = ["--trainer.limit_train_batches", "20", "--trainer.max_epochs", "1", "--data.root", data_root]
    command = [sys.executable, "-m", "recipes", *limits, "--backend", "torch"]
    environment = {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "PATH": ""}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert result.returncode == 0, result.stderr
    found = LINE.fullmatch(result.stdout)
    assert found, result.stdout
    assert float(found["accuracy"]) > 70
    assert found["digits"] == "10,000"
    (folder,) = Path("runs/cnn").iterdir()
    assert {path.name for path in folder.iterdir()} >= ARTIFACTS | PICTURES
    assert "Warning" not in result.stderr
    assert "epoch 1/1" in result.stderr
    for picture in folder.glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size > 10_000


@pytest.mark.parametrize("name", list(RECIPES))
def test_recipe_then_test_of_its_checkpoint(run, name: str) -> None:
    expected = line(HEADLINES.get(name, ACCURACY))
    pictures = TEST_PICTURES.get(name, {"confusion.png", "mistakes.png"})
    options = [*SMALL.get(name, []), "--trainer.max_epochs", "1", "--data.batch_size", "32"]
    status, out, err, folder = run("fit", "--config", str(RECIPES[name]), *options)
    assert (status, expected.fullmatch(out) is not None) == (0, True), out + err
    assert f"python -m recipes test --ckpt_path {folder}/best.ckpt" in err
    assert {path.name for path in folder.iterdir()} >= {*ARTIFACTS, *pictures, "curves.png"}
    assert len(rows(folder, "train/loss")) == 4
    assert len(rows(folder, "val/loss")) == len(rows(folder, "test/loss")) == 1
    before = {path: path.read_bytes() for path in folder.iterdir()}

    status, again, err, tested = run("test", "--ckpt_path", f"{folder}/best.ckpt")
    assert status == 0, err
    assert expected.fullmatch(again)["headline"] == expected.fullmatch(out)["headline"]
    assert tested != folder
    assert {path.name for path in tested.iterdir()} >= {"metrics.csv", *pictures}
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_same_seed_same_weights_other_seed_other_weights(run) -> None:
    folders = [
        run(*TINY, *NO_TEST, "--trainer.max_epochs", "1", "--seed_everything", seed)[3] for seed in "112"
    ]
    first, same, other = (weights(folder / "last.ckpt") for folder in folders)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_finished_run_can_be_trained_for_longer(run) -> None:
    _, _, _, half = run(*TINY, *NO_TEST, "--trainer.max_epochs", "1")
    status, _, err, resumed = run(
        "fit", "--ckpt_path", f"{half}/last.ckpt", *NO_TEST, "--trainer.max_epochs", "2"
    )
    assert status == 0, err
    assert f"going on from {half}/last.ckpt, step 4" in err
    assert resumed != half
    assert sorted(rows(resumed, "train/loss")) == list(range(8))
    assert torch.load(resumed / "last.ckpt", weights_only=True)["global_step"] == 8
    earlier = rows(half, "train/loss")
    assert {step: loss for step, loss in rows(resumed, "train/loss").items() if step < 4} == earlier


@pytest.mark.parametrize(
    ("number", "expected", "name"),
    [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")],
)
def test_stopped_run_loses_nothing_and_goes_on_as_an_unbroken_one(
    run, monkeypatch: pytest.MonkeyPatch, number: int, expected: int, name: str
) -> None:
    _, _, _, unbroken = run(*TINY, *NO_TEST, "--trainer.max_epochs", "2")
    batch_end = StopBetweenSteps.on_train_batch_end
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]

    def interrupted(self, trainer, *rest) -> None:
        if trainer.global_step == 6:
            signal.raise_signal(number)
        batch_end(self, trainer, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(StopBetweenSteps, "on_train_batch_end", interrupted)
        status, out, err, broken = run(*TINY, *NO_TEST, "--trainer.max_epochs", "2")
    assert (status, out) == (expected, "")
    command = re.search(r"python -m recipes (fit --ckpt_path \S+/last.ckpt)", err)
    assert command, err
    assert f"error: stopped by {name}" in err
    assert torch.load(broken / "last.ckpt", weights_only=True)["global_step"] == 6
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers
    # Lightning logs a step after its last callback, so the step that was stopped after has no row.
    assert sorted(rows(broken, "train/loss")) == list(range(5))

    status, _, err, resumed = run(*command[1].split(), *NO_TEST)
    assert status == 0, err
    whole, parts = weights(unbroken / "last.ckpt"), weights(resumed / "last.ckpt")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    expected = rows(unbroken, "train/loss")
    del expected[5]
    assert rows(resumed, "train/loss") == expected


# Kills its own process before a step, with nothing to warn it.
KILLED = """
import os, signal, sys
from recipes import cli, recipe
start = recipe.Recipe.on_train_batch_start
def kill_before_step_6(self, batch, batch_idx):
    if self.trainer.global_step == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    start(self, batch, batch_idx)
recipe.Recipe.on_train_batch_start = kill_before_step_6
cli.main(sys.argv[1:])
"""
MOVED = ["--data.shift", "2", "--data.rotate", "10", "--data.batch_size", "32", "--trainer.max_epochs", "2"]


@pytest.mark.kernels
@pytest.mark.parametrize(
    "recipe",
    [
        ["vae", "--model.widths", "[32]", "--model.latent", "4"],
        ["lstm", "--model.hidden", "8", "--model.layers", "2", "--model.dropout", "0.2"],
    ],
    ids=["vae", "lstm"],
)
def test_killed_run_loses_an_epoch_and_goes_on_as_an_unbroken_one(run, recipe: list[str]) -> None:
    # First of all: kernels that are compiled now may round otherwise than those that are loaded.
    status, _, err, _ = run(*recipe, "--trainer.fast_dev_run", "true", backend="manualgrad")
    assert status == 0, err
    _, _, _, unbroken = run(*recipe, *MOVED, *NO_TEST, backend="manualgrad")

    command = [*recipe, *MOVED, *NO_TEST, "--data.root", str(REPOSITORY / "data")]
    limits = ["--trainer.limit_train_batches", "4", "--trainer.limit_val_batches", "1"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *command, *limits, "--trainer.log_every_n_steps", "1"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (folder,) = set(Path("runs").glob("*/*")) - {unbroken}
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == 4
    assert sorted(rows(folder, "train/loss"))[:4] == list(range(4))

    status, _, err, resumed = run("fit", "--ckpt_path", f"{folder}/last.ckpt", *NO_TEST, backend="manualgrad")
    assert status == 0, err
    assert "step 4" in err
    whole, parts = (torch.load(f / "last.ckpt", weights_only=True) for f in (unbroken, resumed))
    assert whole["global_step"] == parts["global_step"] == 8
    assert all(
        torch.equal(whole["state_dict"][name], parts["state_dict"][name]) for name in whole["state_dict"]
    )
    for column in ("train/loss", "val/loss"):
        assert rows(resumed, column) == rows(unbroken, column)


def test_checkpoint_is_replaced_by_a_whole_one_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a" / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"epoch": 1}, path)
    written = []

    def killed(descriptor: int) -> None:
        # All is written by now, and where the kill comes, the earlier checkpoint is whole.
        written.append(os.fstat(descriptor).st_size)
        assert torch.load(path) == {"epoch": 1}
        raise SystemExit

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(SystemExit):
        WholeCheckpoints().save_checkpoint({"epoch": 2}, path)
    assert written == [path.stat().st_size]
    assert torch.load(path) == {"epoch": 1}
    assert list(path.parent.iterdir()) == [path]
    monkeypatch.undo()
    WholeCheckpoints().save_checkpoint({"epoch": 2}, path)
    assert torch.load(path) == {"epoch": 2}


def test_full_disk_is_one_line_and_keeps_the_last_checkpoint(run, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def full(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    status, out, err, folder = run(*TINY, *NO_TEST, "--trainer.max_epochs", "2")
    assert (status, out) == (1, "")
    *_, command, error = err.splitlines()
    assert command == f"go on with: python -m recipes fit --ckpt_path {folder}/last.ckpt"
    assert error == (
        f"error: cannot write to {folder}: No space left on device; make room, or name another place with "
        "--trainer.default_root_dir"
    )
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == 4
    assert not list(folder.glob("*.part"))
    monkeypatch.undo()


def test_best_checkpoint_survives_a_resume_that_gets_worse(run) -> None:
    _, _, _, first = run(*TINY, *NO_TEST, "--trainer.max_epochs", "2")
    last = f"{first}/last.ckpt"
    _, _, err, second = run(
        "fit", "--ckpt_path", last, *NO_TEST, "--trainer.max_epochs", "3", "--model.lr", "50"
    )
    assert "model.lr is 50.0, as given; the checkpoint was trained with 0.005" in err
    one, two = weights(first / "best.ckpt"), weights(second / "best.ckpt")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_given_learning_rate_wins_over_the_checkpoint(run) -> None:
    _, _, _, first = run(*TINY, *NO_TEST, "--trainer.max_epochs", "1")
    resumed = {}
    for lr in ("0.005", "0.05"):
        arguments = [
            *NO_TEST,
            "--ckpt_path",
            f"{first}/last.ckpt",
            "--trainer.max_epochs",
            "2",
            "--model.lr",
            lr,
        ]
        status, _, err, folder = run("fit", *arguments)
        assert status == 0
        assert ("as given" in err) == (lr == "0.05")
        (state,) = torch.load(folder / "last.ckpt", weights_only=True)["lr_schedulers"]
        resumed[lr] = state["base_lrs"]
    assert resumed == {"0.005": [0.005], "0.05": [0.05]}


def test_checkpoint_of_one_backend_runs_on_the_other(run) -> None:
    _, out, _, folder = run(*TINY)
    status, again, err, _ = run("test", "--ckpt_path", f"{folder}/best.ckpt", backend="manualgrad")
    assert status == 0, err
    assert "backend is manualgrad, as given; the checkpoint was trained with torch" in err
    assert LINE.fullmatch(again)["accuracy"] == LINE.fullmatch(out)["accuracy"]


def test_fast_dev_run_writes_nothing(run) -> None:
    status, out, err, folder = run("--trainer.fast_dev_run", "true")
    assert (status, folder) == (0, None), err
    assert LINE.fullmatch(out)


def test_test_set_can_be_left_alone(run) -> None:
    status, out, _, folder = run(*TINY, *NO_TEST)
    assert status == 0
    assert "validation accuracy" in out
    assert not (folder / "confusion.png").exists()


def test_without_validation_the_last_checkpoint_is_tested(run) -> None:
    status, out, err, folder = run(*TINY, "--trainer.limit_val_batches", "0")
    assert status == 0, err
    assert LINE.fullmatch(out)
    assert not (folder / "best.ckpt").exists()


def train(run, *options: str, backend: str = "manualgrad") -> Path:
    """A short run of a small network, without a test."""
    status, out, err, folder = run(*TINY, *NO_TEST, *options, backend=backend)
    assert status == 0, out + err
    return folder


def test_half_precision_trains_close_to_single(run) -> None:
    full = rows(train(run), "train/loss")
    half = rows(train(run, "--trainer.precision", "bf16-mixed"), "train/loss")
    assert half != full
    assert half == pytest.approx(full, rel=0.02)


def test_gradients_are_clipped(run) -> None:
    clipped = ["--trainer.gradient_clip_val", "1e-6", "--model.eps", "1.0", "--model.weight_decay", "0"]
    first, last = (
        weights(train(run, "--trainer.limit_train_batches", n, *clipped) / "last.ckpt") for n in ("1", "4")
    )
    # AdamW's step is the mean gradient over eps, here 1: too short to be seen, or the clipping failed.
    for name in ("net.1.weight", "net.4.weight"):
        assert (first[name] - last[name]).abs().max() < 1e-7
    free = weights(train(run, *clipped[2:]) / "last.ckpt")
    assert (free["net.4.weight"] - last["net.4.weight"]).abs().max() > 1e-5


def test_accumulated_gradients_equal_torchs(run) -> None:
    folders = [
        train(run, "--trainer.accumulate_grad_batches", "2", backend=b) for b in ("manualgrad", "torch")
    ]
    states = [torch.load(folder / "last.ckpt", weights_only=True) for folder in folders]
    assert [state["global_step"] for state in states] == [2, 2]
    ours, control = (state["state_dict"] for state in states)
    for name, weight in control.items():
        torch.testing.assert_close(ours[name], weight, rtol=1e-4, atol=1e-5)


def test_profile_lies_in_the_run_folder(run) -> None:
    (profile,) = train(run, "--trainer.profiler", "simple").glob("*profile*.txt")
    assert "run_training_epoch" in profile.read_text()


def test_patience_ends_a_run_that_gets_no_better_also_after_a_resume(run) -> None:
    still = ["--trainer.max_epochs", "9", "--patience", "2", "--model.lr", "1e-12"]
    status, _, err, folder = run(*TINY, *NO_TEST, *still, "--model.weight_decay", "0")
    assert status == 0, err
    steps = len(rows(folder, "val/loss"))
    assert steps < 9
    assert f"stopped early, after epoch {steps}: see --patience" in err
    _, _, _, begun = run(*TINY, *NO_TEST, *still, "--model.weight_decay", "0", "--trainer.max_epochs", "2")
    status, _, err, resumed = run(
        "fit", *NO_TEST, "--ckpt_path", f"{begun}/last.ckpt", "--trainer.max_epochs", "9"
    )
    assert status == 0, err
    assert rows(resumed, "val/loss") == rows(folder, "val/loss")


def test_without_tensorboard_one_line_says_so(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setattr("lightning.fabric.loggers.tensorboard._TENSORBOARD_AVAILABLE", False)
    monkeypatch.setattr("lightning.fabric.loggers.tensorboard._TENSORBOARDX_AVAILABLE", False)
    status, out, err, folder = run(*TINY, "--tensorboard", "true")
    assert (status, out, folder) == (1, "", None)
    assert err == "error: --tensorboard true: pip install tensorboard\n"


def test_tensorboard_events_lie_in_the_run_folder(run) -> None:
    pytest.importorskip("tensorboard")
    folder = train(run, "--tensorboard", "true")
    assert [path.stat().st_size > 100 for path in folder.glob("events.out.tfevents.*")] == [True]
    assert len(rows(folder, "train/loss")) == 4


def test_own_logger_and_callback_come_beside_the_others(run, tmp_path: Path) -> None:
    folder = train(
        run,
        f"--trainer.logger={{class_path: CSVLogger, init_args: {{save_dir: {tmp_path}/mine}}}}",
        "--trainer.callbacks+=LearningRateMonitor",
        "--trainer.callbacks.logging_interval=step",
    )
    assert len(rows(folder, "lr-AdamW")) == len(rows(folder, "train/loss")) == 4
    (mine,) = (tmp_path / "mine").rglob("metrics.csv")
    assert rows(mine.parent, "train/loss") == rows(folder, "train/loss")
    assert {"best.ckpt", "last.ckpt"} <= {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("batches", ["1", "3"])
def test_overfitting_repeats_the_same_batches_moved_alike(
    run, batches: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    step = Classifier.training_step

    def watched(self: Classifier, batch, batch_idx: int) -> torch.Tensor:
        seen.append(batch[0].clone())
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Classifier, "training_step", watched)
    options = ["--trainer.overfit_batches", batches, "--trainer.max_epochs", "3"]
    status, _, err, _ = run(*TINY, *NO_TEST, *options)
    assert status == 0, err
    n = int(batches)
    assert len(seen) == 3 * n
    assert "Warning" not in err
    assert all(torch.equal(seen[i], seen[i + n]) for i in range(2 * n))
    assert len({float(x.sum()) for x in seen}) == n


def test_run_ends_when_its_time_is_over(run) -> None:
    status, _, err, folder = run(
        *TINY, *NO_TEST, "--trainer.max_epochs", "100000", "--trainer.max_time", "00:00:00:02"
    )
    assert status == 0, err
    assert (folder / "last.ckpt").is_file()


@pytest.mark.parametrize("option", ["deterministic", "detect_anomaly"])
def test_checks_of_torch_change_nothing(run, option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # torch's own tables of tests, if this process has imported them, forbid what the Trainer does.
    flags = torch.backends.flags_frozen.__globals__
    monkeypatch.setitem(flags, "__allow_nonbracketed_mutation_flag", True)
    checked, plain = (weights(train(run, *o) / "last.ckpt") for o in ([f"--trainer.{option}", "true"], []))
    torch.use_deterministic_algorithms(False)
    assert all(torch.equal(checked[name], plain[name]) for name in plain)


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out, _ = capsys.readouterr()
    assert all(f"python -m recipes {part}" in out for part in ("mlp", "fit --config", "test --ckpt_path"))
    assert main(["fit", "--help"]) == 0
    out, _ = capsys.readouterr()
    assert all(
        o in out for o in ("--model", "--data.root", "--trainer.max_epochs", "--backend", "--patience")
    )


@pytest.fixture
def files(tmp_path: Path, data_root: str) -> None:
    """Things to be wrong about, in the current folder."""
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "typo.yaml").write_text("model: {learning_rate: 3}")
    (tmp_path / "no.yaml").write_text("model: [1\ndata: }")
    (tmp_path / "binary.yaml").write_bytes(bytes(range(256)))
    (tmp_path / "garbage.ckpt").write_bytes(b"garbage")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "foreign.ckpt")
    whole = (tmp_path / "foreign.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    raw = tmp_path / "corrupt" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in mnist.FILES:
        (raw / name).write_bytes(b"corrupt")


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        ("lenet", 2, r"'lenet' is no command and no recipe; did you mean lenet5\? .*recipes: .*cnn, gru"),
        ("tset", 2, r"'tset' is no command and no recipe; did you mean test\?"),
        ("fit --config nowhere.yaml", 2, r"--config nowhere.yaml: no such file; recipes .*cnn, gru"),
        ("fit --config resnett", 2, r"--config resnett: no such file; did you mean resnet\?"),
        ("fit --config typo.yaml", 2, r"learning_rate"),
        ("fit --config no.yaml", 2, r"--config no.yaml is no YAML: .*line 1"),
        ("fit --config binary.yaml", 2, r"--config binary.yaml is no YAML"),
        ("fit --config file", 2, r"--config file has no options like model, data, trainer"),
        ("fit --config /proc", 2, r"--config /proc is no YAML: .*Is a directory"),
        ("--model.nosuch 1", 2, r"--model.nosuch: recipes.models.CNN has no such option.*--model.help"),
        ("--model.widht 1", 2, r"--model.widht: .*CNN has no such option.*did you mean --model.widths\?"),
        ("mlp --model.labelsmoothing 1", 2, r"did you mean --model.label_smoothing\?"),
        ("--backend jax", 2, r"--backend: expected one of .*manualgrad.*torch.*jax"),
        ("--model.lr high", 2, r"--model.lr of recipes.models.CNN: expected float.*high"),
        ("--model.lr -1", 2, r"--model.lr -1.0.*lr and eps must be positive"),
        ("--model.widths [8,0]", 2, r"--model.widths \[8, 0\]: up to 4 widths of at least 1 fit 28 pixels"),
        ("--model.widths [1,1,1,1,1]", 2, r"--model.widths .* up to 4 widths"),
        ("--model.widths 8", 2, r"--model.widths of recipes.models.CNN: expected list. Got value: 8"),
        ("mlp --model.widths [3,x]", 2, r"--model.widths of recipes.models.MLP: expected int. Got value: x"),
        ("vit --model.patch 5", 2, r"--model.patch 5: give a divisor of 28"),
        ("vit --model.heads 5", 2, r"--model.width 64 .*--model.heads 5 .* a width that heads divides"),
        ("swap_pretrained --model.architecture resnet5", 2, r"--model.architecture resnet5: give one of"),
        ("--model.class_path recipes.models.CCN", 2, r"recipes.models.CCN"),
        ("--data.batch_size 0", 2, r"--data.batch_size 0: give a number from 1 to 55000"),
        ("--data.batch_size 55001", 2, r"--data.batch_size 55001: give a number from 1 to 55000"),
        ("--data.shift far", 2, r"--data.shift: expected float. Got value: far"),
        ("--modell.lr 1", 2, r"unrecognized arguments: --modell.lr"),
        ("--trainer.max_epocs 1", 2, r"--trainer.max_epocs 1; did you mean --trainer.max_epochs\?"),
        ("--seed_everything x", 2, r"--seed_everything: expected .*int.*x"),
        ("--seed_everything -1", 2, r"--seed_everything -1: give a number from 0 to 4294967295"),
        ("--trainer.max_epochs many", 2, r"--trainer.max_epochs: expected int"),
        ("--trainer.max_time later", 2, r"--trainer.max_time later: give days, hours, minutes, seconds"),
        ("--trainer.devices two", 1, r"--trainer.devices two: .* --trainer.accelerator cpu works everywhere"),
        ("--trainer.devices 0", 1, r"--trainer.devices 0: .* --trainer.accelerator cpu works everywhere"),
        ("--trainer.accelerator tpu", 1, r"--trainer.accelerator tpu: .*torch_xla"),
        ("--trainer.strategy dpp", 1, r"--trainer: .*invalid strategy name"),
        ("--trainer.profiler watch", 1, r"--trainer: .*`profiler` .*simple"),
        ("--trainer.precision 12", 2, r"--trainer.precision: expected .*bf16-mixed"),
        ("--trainer.callbacks+=Nosuch", 2, r"--trainer.callbacks: .*Nosuch"),
        ("--patience 0", 2, r"--patience 0: give a number of epochs, at least 1"),
        (
            "--trainer.strategy fsdp --trainer.accelerator cpu",
            1,
            r"--trainer.strategy fsdp: Lightning's FSDP needs GPUs; --trainer.strategy ddp works without",
        ),
        (
            "--trainer.default_root_dir file",
            1,
            r"cannot make the run folder file/.*--trainer.default_root_dir",
        ),
        (
            "--trainer.default_root_dir /proc",
            1,
            r"cannot make the run folder /proc/cnn/.*No such file.*--trainer.default_root_dir",
        ),
        ("--data.root corrupt", 1, r"corrupt/MNIST/raw/train-images-idx3-ubyte is not MNIST's: its sha256"),
        ("--data.root file", 1, r"cannot make the folder file/MNIST/raw.*--data.root"),
        ("--data.root /proc", 1, r"cannot make the folder /proc/MNIST/raw.*--data.root"),
        ("--data.root empty", 1, r"no MNIST in .*/empty/MNIST/raw.*train-images.*--data.root"),
        ("test", 2, r"test needs --ckpt_path RUN/best.ckpt"),
        ("test --config cnn", 2, r"test needs --ckpt_path RUN/best.ckpt"),
        ("test --ckpt_path", 2, r"--ckpt_path: expected one argument"),
        ("test --ckpt_path best", 1, r"--ckpt_path best: no such file; give a path like runs/"),
        ("test --ckpt_path garbage.ckpt", 1, r"--ckpt_path garbage.ckpt is no checkpoint"),
        ("fit --ckpt_path cut.ckpt", 1, r"--ckpt_path cut.ckpt is no checkpoint, or a broken one"),
        ("fit --ckpt_path foreign.ckpt", 1, r"--ckpt_path foreign.ckpt is no checkpoint of these recipes"),
        ("fit --config cnn --ckpt_path foreign.ckpt", 1, r"foreign.ckpt is no checkpoint of these recipes"),
    ],
)
def test_error_is_one_line_that_says_what_and_the_mend(
    argv: str, status: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mnist, "FETCHERS", {})
    before = sorted(path for path in Path(".").rglob("*"))
    assert main(argv.split()) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"error: .*{message}.*\n", err), err
    after = sorted(path for path in Path(".").rglob("*"))
    assert set(after) >= set(before)
    assert not [path for path in Path(".").glob("runs/*/*") if not any(path.iterdir())]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--trainer.accelerator", "gpu"]) == 1
    _, err = capsys.readouterr()
    assert re.fullmatch(
        r"error: --trainer.accelerator gpu: .*--trainer.accelerator cpu works everywhere\n", err
    )


def test_weights_come_from_the_hub_folder_or_are_refused(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    import torchvision

    monkeypatch.setattr("torch.hub.urlopen", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    options = ["--model.architecture", "squeezenet1_1", "--trainer.fast_dev_run", "true"]
    status, _, err, _ = run("swap_pretrained", *options)
    assert status == 2
    message = "cannot fetch the weights of squeezenet1_1 (<urlopen error no network>)"
    assert f"--model.weights DEFAULT: {message}; --model.weights null begins with random ones\n" in err

    original = torchvision.models.squeezenet1_1()
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True, exist_ok=True)
    # The name ends with the start of its sha256, which torchvision leaves unchecked for a file that is there.
    url = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.url
    torch.save(original.state_dict(), tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2])
    adapted = models.Pretrained(architecture="squeezenet1_1", size=64).net
    assert adapted.net.classifier[1].out_channels == 10
    gray = torch.rand(2, 1, 64, 64)
    expected = original.eval().features(gray.expand(-1, 3, -1, -1))
    torch.testing.assert_close(adapted.eval().net.features(gray), expected)


@pytest.mark.parametrize(("option", "value"), [("--config", "mlp"), ("--model.widths", "[4]")])
def test_checkpoint_of_another_model_is_refused(run, option: str, value: str) -> None:
    _, _, _, folder = run("cnn", "--model.widths", "[2]", "--data.batch_size", "32", *NO_TEST)
    status, out, err, _ = run("test", "--ckpt_path", f"{folder}/best.ckpt", option, value)
    assert (status, out) == (1, "")
    assert re.fullmatch(
        r"error: .*best.ckpt is another model's: (CNN, not MLP|its model.widths is .* not \[4\]).*\n", err
    )


def test_crash_keeps_the_checkpoint_and_says_how_to_go_on(run, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Classifier.training_step

    def failing(self: Classifier, batch, batch_idx: int) -> torch.Tensor:
        if self.global_step == 5:
            raise FloatingPointError("out of luck")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Classifier, "training_step", failing)
    with pytest.raises(FloatingPointError):
        run(*TINY, "--trainer.max_epochs", "2")
    (folder,) = Path("runs/mlp").iterdir()
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == 5
    assert len(rows(folder, "train/loss")) >= 4


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], ["fit", f"--config={RECIPES['cnn']}"]),
        (["--model.lr", "1"], ["fit", f"--config={RECIPES['cnn']}", "--model.lr", "1"]),
        (["mlp"], ["fit", f"--config={RECIPES['mlp']}"]),
        (["fit", "-c", "mlp"], ["fit", f"--config={RECIPES['mlp']}"]),
        (
            ["fit", "--config=cnn", "--config=mlp"],
            ["fit", *(f"--config={RECIPES[n]}" for n in ("cnn", "mlp"))],
        ),
        (
            ["test", "--ckpt_path", "foreign.ckpt"],
            ["test", "--model=recipes.models.mlp.MLP", "--ckpt_path", "foreign.ckpt"],
        ),
        (
            ["test", "--ckpt_path=run/b.ckpt"],
            ["test", "--config=run/config.yaml", "--ckpt_path", "run/b.ckpt"],
        ),
    ],
)
def test_short_command_lines(argv: list[str], expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    keys = ("global_step", "hyper_parameters", "state_dict")
    torch.save({"class_path": "recipes.models.mlp.MLP", **dict.fromkeys(keys)}, tmp_path / "foreign.ckpt")
    assert expand(argv) == expected
