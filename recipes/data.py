"""MNIST as batches for Lightning: digits in memory, batches by index, augmentation on the model's device."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningDataModule
from torch import Tensor

from recipes import mnist

__all__ = ["MNIST", "Batches", "jitter"]

MEAN, STD = 0.1307, 0.3081
TRAINING_DIGITS, VALIDATION_DIGITS = 55_000, 5_000


class Batches:
    """Iterate over one split, a batch being a slice of indices into tensors that stay in memory.

    All that is random is drawn here, on the CPU, from ``(seed, epoch)``: the order of the digits and, for
    each, the numbers that say how it is moved. So both backends, every device and a resumed run see the same
    batches.

    Args:
        images: (N, 28, 28), uint8.
        labels: (N,), uint8.
        batch_size: digits per batch and process.
        seed: shuffle, drop the last incomplete batch and yield random numbers; None does none of the three.
        repeat: draw the same in every epoch.
        rank, world_size: take every ``world_size``-th digit, starting at ``rank``.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        batch_size: int,
        *,
        seed: int | None = None,
        repeat: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.images, self.labels = images, labels
        self.batch_size, self.seed, self.repeat = batch_size, seed, repeat
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        self._position = {"epoch": 0, "batch": 0}

    # Lightning asks for both, as of a DataLoader.
    batch_sampler = None

    @property
    def sampler(self) -> "Batches":
        """Where Lightning looks for ``set_epoch``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration."""
        self.epoch = epoch

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its batches have been handed out."""
        return dict(self._position)

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Let the next iteration over that epoch go on where it was left."""
        self._position = dict(state_dict)

    def __len__(self) -> int:
        if self.seed is not None:
            return len(self.labels) // self.world_size // self.batch_size
        own = len(range(self.rank, len(self.labels), self.world_size))
        return -(-own // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        # A generator: this runs at the first batch, by when Lightning has set the epoch.
        if self.seed is None:
            order, moves = torch.arange(len(self.labels)), None
        else:
            epoch = 0 if self.repeat else self.epoch
            generator = torch.Generator().manual_seed(hash((self.seed, epoch)) & 0xFFFF_FFFF)
            order = torch.randperm(len(self.labels), generator=generator)
            moves = torch.rand(len(self.labels), 4, generator=generator) * 2 - 1
        order = order[self.rank :: self.world_size]
        first = self._position["batch"] if self._position["epoch"] == self.epoch else 0
        for batch in range(first, len(self)):
            self._position = {"epoch": self.epoch, "batch": batch + 1}
            index = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            digits = self.images[index], self.labels[index]
            yield digits if moves is None else (*digits, moves[index])
        self._position = {"epoch": self.epoch, "batch": 0}


def jitter(images: Tensor, moves: Tensor, *, shift: float, rotate: float, scale: float) -> Tensor:
    """Move each image of a batch a little, with bilinear interpolation; what comes in from outside is 0.

    Args:
        images: (B, 1, H, W), floating point.
        moves: (B, 4) in [-1, 1): the part of the largest shift to the right, shift down,
            counterclockwise rotation, and enlargement.
        shift: largest shift, in pixels.
        rotate: largest rotation, in degrees.
        scale: largest enlargement, as a fraction of the size.
    """
    height, width = images.shape[-2:]
    # The grid says where each pixel is taken from: the inverse of the move, in units of half a side.
    left, up = moves[:, 0] * (-2 * shift / width), moves[:, 1] * (-2 * shift / height)
    angle, size = torch.deg2rad(moves[:, 2] * rotate), 1 + moves[:, 3] * scale
    cos, sin = torch.cos(angle) / size, torch.sin(angle) / size
    # What F.affine_grid makes of the rows (cos, -sin, left) and (sin, cos, up), in less time.
    y = ((2 * torch.arange(height, device=images.device) + 1) / height - 1).to(images.dtype)[:, None]
    x = ((2 * torch.arange(width, device=images.device) + 1) / width - 1).to(images.dtype)
    cos, sin, left, up = (v[:, None, None] for v in (cos, sin, left, up))
    grid = torch.stack([cos * x - sin * y + left, sin * x + cos * y + up], dim=-1)
    return F.grid_sample(images, grid, align_corners=False)


class MNIST(LightningDataModule):
    """MNIST: 55,000 digits to train on, 5,000 to validate, 10,000 to test.

    The digits stay uint8 in memory and are normalized per batch on the model's device: a quarter of float32's
    memory and transfer, for 0.1 ms a batch.

    Args:
        root: folder with MNIST/raw, where torchvision puts it too; fetched into it when missing.
        batch_size: digits per batch and process.
        shift: augmentation: largest random shift, in pixels.
        rotate: augmentation: largest random rotation, in degrees.
        scale: augmentation: largest random scaling, as a fraction of the size.
        normalize: make the pixels' mean 0 and variance 1, instead of leaving them in [0, 1].
        seed: of order and augmentation; None takes the run's (--seed_everything).

    Raises:
        recipes.mnist.DataError: the files are missing and cannot be fetched, or are not MNIST's.
    """

    def __init__(
        self,
        root: str = "data",
        batch_size: int = 128,
        shift: float = 0.0,
        rotate: float = 0.0,
        scale: float = 0.0,
        normalize: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= batch_size <= TRAINING_DIGITS:
            raise ValueError(f"--data.batch_size {batch_size}: give a number from 1 to {TRAINING_DIGITS}")
        self.root = Path(root)
        self.batch_size = batch_size
        self.moves = {"shift": shift, "rotate": rotate, "scale": scale}
        self.normalize = normalize
        self.seed = torch.initial_seed() if seed is None else seed
        self.source = "folder"
        self.splits: dict[str, tuple[Tensor, Tensor]] = {}

    def prepare_data(self) -> None:
        """Fetch the files if they are missing (one process does)."""
        folder, source = mnist.ensure(self.root)
        # A second look, for the test after the training, does not change where they came from.
        if not self.splits:
            self.source = f"{source} {folder}"

    def setup(self, stage: str) -> None:
        """Read and verify the files of the splits that ``stage`` (fit, validate or test) needs."""
        folder = mnist.find(self.root)
        if folder is None:
            raise mnist.DataError(f"no MNIST in {self.root.resolve()}")
        if stage == "test" and "test" not in self.splits:
            self.splits["test"] = mnist.load(folder, "t10k")
        if stage != "test" and "train" not in self.splits:
            images, labels = mnist.load(folder, "train")
            # The same 5,000 whatever the run's seed, or runs could not be compared.
            order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
            for split, index in (("val", order[:VALIDATION_DIGITS]), ("train", order[VALIDATION_DIGITS:])):
                self.splits[split] = images[index], labels[index]

    def train_dataloader(self) -> Batches:
        """Shuffled batches of images, labels and random moves."""
        return self._batches("train", self.batch_size, seed=self.seed)

    def val_dataloader(self) -> Batches:
        """Batches of images and labels, in a fixed order."""
        return self._batches("val", 1000)

    def test_dataloader(self) -> Batches:
        """Batches of images and labels, in a fixed order."""
        return self._batches("test", 1000)

    def _batches(self, split: str, batch_size: int, seed: int | None = None) -> Batches:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        # Lightning repeats only batches of a DataLoader by itself.
        repeat = bool(getattr(self.trainer, "overfit_batches", 0))
        batches = Batches(
            *self.splits[split], batch_size, seed=seed, repeat=repeat, rank=rank, world_size=world_size
        )
        if not len(batches):
            raise ValueError(
                f"--data.batch_size {batch_size}: {len(batches.labels):,} digits are less than one batch for "
                f"each of {world_size} processes"
            )
        return batches

    def on_after_batch_transfer(self, batch: tuple[Tensor, ...], dataloader_idx: int) -> tuple[Tensor, ...]:
        """Make images (B, 1, 28, 28), moved in training, and int64 labels (B,)."""
        images, labels, *moves = batch
        x = images.unsqueeze(1).float().div_(255)
        if moves and any(self.moves.values()):
            x = jitter(x, moves[0].to(x.dtype), **self.moves)
        if self.normalize:
            x = x.sub_(MEAN).div_(STD)
        return x, labels.long()

    def state_dict(self) -> dict[str, Any]:
        """The seed, so that a resumed run goes on with the same order; and what the pixels are."""
        return {"seed": self.seed, "normalize": self.normalize}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the checkpoint's seed."""
        self.seed = state_dict["seed"]
