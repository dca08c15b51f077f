"""The command line with several processes: as one process with batches as large as theirs together."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import manualgrad
from recipes import mnist
from recipes.cli import main
from recipes.models import ViT

REPOSITORY = Path(__file__).parent.parent
SMALL = [
    "vit",
    "--model.width",
    "8",
    "--model.depth",
    "1",
    "--model.heads",
    "2",
    "--trainer.precision",
    "64-true",
]
LIMITS = [
    "--trainer.limit_train_batches=4",
    "--trainer.limit_val_batches=1",
    "--trainer.limit_test_batches=1",
]
TWO = ["--trainer.accelerator", "cpu", "--trainer.strategy", "ddp", "--trainer.devices", "2"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of processes that compute with formulas, as the tests do: there is no Numba to import."""
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "numba.py").write_text("raise ImportError('left out')")
    folders = f"{tmp_path / 'without'}:{REPOSITORY}:{REPOSITORY / 'tests'}"
    return {**os.environ, "PYTHONPATH": folders, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Short runs, in an empty folder."""
    mnist.ensure(REPOSITORY / "data")
    monkeypatch.chdir(tmp_path)
    return ["--data.root", str(REPOSITORY / "data"), *LIMITS, "--trainer.log_every_n_steps", "1"]


def newest(root: str) -> Path:
    return max(Path(root).glob("*/*"), key=lambda folder: folder.stat().st_mtime_ns)


@pytest.fixture
def launch(environment: dict[str, str]):
    """Start a command line; what still runs when the test ends is killed."""
    started = []

    def launch(*argv: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "recipes", *argv]
        pipe = subprocess.PIPE
        # A group of its own, of which Lightning's other processes are, too.
        options = {"text": True, "env": environment, "start_new_session": True}
        started.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, **options))
        return started[-1]

    yield launch
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def assert_same_weights(one: Path, other: Path) -> None:
    ours, theirs = (torch.load(f / "last.ckpt", weights_only=True) for f in (one, other))
    assert ours["global_step"] == theirs["global_step"]
    for name, weight in ours["state_dict"].items():
        torch.testing.assert_close(theirs["state_dict"][name], weight, rtol=1e-9, atol=1e-11)


def test_two_processes_train_as_one_with_twice_the_batch(
    options: list[str], launch: Callable[..., subprocess.Popen[str]]
) -> None:
    options += ["--trainer.max_epochs", "1", "--data.shift", "2"]
    first = launch(*SMALL, *options, *TWO, "--data.batch_size", "16", "--trainer.default_root_dir", "two")
    assert main([*SMALL, *options, "--data.batch_size", "32", "--trainer.default_root_dir", "one"]) == 0
    one = newest("one")
    out, err = first.communicate(timeout=300)
    assert first.returncode == 0, err
    # One process makes folders and speaks; its test counts the digits of both.
    (two,) = Path("two").glob("*/*")
    assert len(out.splitlines()) == 1
    assert "of 2,000 digits" in out
    assert len(re.findall("^epoch 1/1", err, re.MULTILINE)) == 1
    assert {"best.ckpt", "last.ckpt", "config.yaml", "metrics.csv", "curves.png"} <= {
        p.name for p in two.iterdir()
    }
    assert_same_weights(one, two)

    # Each goes on with what the other left.
    longer = ["--trainer.max_epochs", "2", "--trainer.limit_test_batches", "0"]
    resumed = launch(
        *["fit", "--ckpt_path", f"{one}/last.ckpt", *options, *TWO, "--data.batch_size", "16", *longer],
        *["--trainer.default_root_dir", "two_of_one", "--trainer.profiler", "simple"],
    )
    single = ["--trainer.strategy", "auto", "--trainer.devices", "1", "--data.batch_size", "32"]
    back = ["fit", "--ckpt_path", f"{two}/last.ckpt", *options, *single, *longer]
    assert main([*back, "--trainer.default_root_dir", "one_of_two"]) == 0
    _, err = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, err
    assert_same_weights(newest("one_of_two"), newest("two_of_one"))
    assert len(list(Path("two_of_one").glob("*/*"))) == 1


def test_one_process_that_is_told_to_stop_stops_both(
    options: list[str], launch: Callable[..., subprocess.Popen[str]]
) -> None:
    endless = ["--trainer.max_epochs", "10000", "--data.batch_size", "16"]
    run = launch(*SMALL, *options, *TWO, *endless)
    for _ in range(600):
        if list(Path("runs").glob("*/*/last.ckpt")):
            break
        time.sleep(0.2)
    run.send_signal(signal.SIGTERM)
    out, err = run.communicate(timeout=120)
    assert (run.returncode, out) == (143, ""), err
    command, error = err.splitlines()[-2:]
    assert error == "error: stopped by SIGTERM"
    assert torch.load(command.rpartition(" ")[2], weights_only=True)["global_step"] >= 4


def test_synchronized_batch_norm_without_gpus_is_refused(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cnn", *options, *TWO, "--trainer.sync_batchnorm", "true"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"error: --trainer.sync_batchnorm true: .*GPUs only; leave it out on the CPU\n", err)
    assert not list(Path("runs").glob("*/*"))


def test_more_processes_than_batches_is_an_error(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    from recipes.data import MNIST

    class Trainer:
        global_rank, world_size, overfit_batches = 0, 8, 0

    data = MNIST(str(REPOSITORY / "data"), batch_size=7000)
    data.setup("fit")
    data.trainer = Trainer()
    with pytest.raises(
        ValueError, match=r"--data.batch_size 7000: 55,000 digits are less than one batch for each of 8"
    ):
        data.train_dataloader()


# One of several processes that train a swapped network whose weights are sharded over them.
SHARDED = """
import sys
import torch, torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from test_recipe_processes import network, train
rank, world, store, result = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
net, mesh = network(), init_device_mesh("cpu", (world,))
for layer in net.layers:
    fully_shard(layer, mesh=mesh)
fully_shard(net, mesh=mesh)
train(net, rank, world)
weights = {name: weight.full_tensor().detach() for name, weight in net.named_parameters()}
local = sum(weight.to_local().numel() for weight in net.parameters())
if rank == 0:
    torch.save((weights, local), result)
dist.destroy_process_group()
"""


def network() -> torch.nn.Module:
    """The network of a small recipe, swapped."""
    torch.manual_seed(0)
    net = ViT(width=8, depth=2, heads=2).net.double()
    manualgrad.swap(net)
    return net


def train(net: torch.nn.Module, rank: int, world: int) -> None:
    """A few steps on this process's share of each batch."""
    optimizer = manualgrad.optim.AdamW(net.parameters(), lr=0.01, eps=1e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        x = torch.rand(8, 1, 28, 28, dtype=torch.float64, generator=generator)
        y = torch.randint(10, (8,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(net(x[rank::world]), y[rank::world]).backward()
        optimizer.step()


def test_swapped_network_trains_sharded_over_two_processes(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                SHARDED,
                str(rank),
                "2",
                str(tmp_path / "store"),
                str(tmp_path / "result"),
            ],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(2)
    ]
    alone = network()
    train(alone, 0, 1)
    for process in processes:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    weights, local = torch.load(tmp_path / "result", weights_only=True)
    total = sum(weight.numel() for weight in alone.parameters())
    assert local < 0.6 * total
    for name, weight in alone.named_parameters():
        torch.testing.assert_close(weights[name], weight.detach(), rtol=1e-9, atol=1e-11)
