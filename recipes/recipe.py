"""What all recipes share: one optimizer and schedule, two backends, randomness that can be resumed."""

import math
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from manualgrad import optim
from manualgrad.lightning import SwapLayers

__all__ = ["Backend", "Recipe"]

Backend = Literal["manualgrad", "torch"]


class Recipe(LightningModule):
    """A network ``self.net``, trained by AdamW under a one-cycle learning rate.

    The network is written with torch.nn; with the backend manualgrad its layers are swapped before the
    training begins, and the update is manualgrad's.

    Args:
        backend: where derivatives and updates come from: manualgrad, or torch as the control.
        lr: highest learning rate, per step.
        weight_decay: decoupled weight decay, per step and unit of learning rate.
        eps: added to the root of the mean squared gradient; a weight whose gradient is much smaller takes
            smaller steps, instead of steps as large as any whose direction is a matter of rounding.
        warmup: fraction of the steps in which the learning rate rises; in the rest it falls to zero.
    """

    net: torch.nn.Module
    # What the best epoch is best in.
    monitor = "val/loss"
    mode: Literal["min", "max"] = "min"
    # Of the loss, for the picture.
    unit = "loss"

    def __init__(
        self,
        backend: Backend = "manualgrad",
        lr: float = 0.002,
        weight_decay: float = 0.01,
        eps: float = 1e-8,
        warmup: float = 0.2,
    ) -> None:
        super().__init__()
        if not (lr > 0 and weight_decay >= 0 and eps > 0 and 0 <= warmup <= 1):
            raise ValueError(
                f"--model.lr {lr} --model.weight_decay {weight_decay} --model.eps {eps} "
                f"--model.warmup {warmup}: lr and eps must be positive, weight_decay not negative, warmup a "
                "fraction"
            )
        self.save_hyperparameters()
        self.seed = torch.initial_seed()

    def forward(self, x: Tensor) -> Any:
        """The network's output for images (B, 1, 28, 28)."""
        # The digits come as float32; under --trainer.precision 64-true the weights are float64.
        return self.net(x.to(self.dtype))

    def headline(self, split: str, metrics: dict[str, Tensor]) -> str:
        """What the run reached, in a few words, from the metrics of ``split`` (test or val)."""
        return f"{split} loss {metrics[f'{split}/loss']:.4f}"

    def draw(self, folder: Path) -> None:
        """Draw what the test showed into ``folder``."""

    def configure_callbacks(self) -> list[Callback]:
        """The swap, if the backend is manualgrad."""
        return [SwapLayers()] if self.hparams["backend"] == "manualgrad" else []

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW, its learning rate set anew at every step."""
        adamw = optim.AdamW if self.hparams["backend"] == "manualgrad" else torch.optim.AdamW
        optimizer = adamw(self.parameters(), **{name: self.hparams[name] for name in ("lr", *OPTIONS)})
        # Not OneCycleLR: its state holds the number of steps, and a resumed run may have more of them.
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._one_cycle)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _one_cycle(self, step: int) -> float:
        """Factor of the learning rate: a line up from 0.1 to 1, a cosine down to 0; 1 if there is no end."""
        if step == 0:
            # Asked before a resumed run's state is there: the Trainer must not set up batches yet.
            return 0.1 if self.hparams["warmup"] else 1.0
        total = self.trainer.estimated_stepping_batches
        if math.isinf(total):
            return 1.0
        rise = self.hparams["warmup"] * total
        if step < rise:
            return 0.1 + 0.9 * step / rise
        return 0.5 + 0.5 * math.cos(math.pi * min(1.0, (step - rise) / max(1.0, total - rise)))

    def on_train_start(self) -> None:
        """Let the hyperparameters of this run win over those a resumed optimizer brings along."""
        for config in self.trainer.lr_scheduler_configs:
            config.scheduler.base_lrs = [self.hparams["lr"] for _ in config.scheduler.base_lrs]
        options = {name: self.hparams[name] for name in OPTIONS}
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group.update(initial_lr=self.hparams["lr"], **options)

    # What a step draws (dropout, noise) depends on the run's seed and the step alone, so that a resumed run
    # draws it again, whatever was drawn before.

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed the step."""
        self._seed(self.current_epoch, batch_idx)

    def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Seed the step: every epoch is judged by the same draws."""
        self._seed(-1, batch_idx)

    def on_test_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Seed the step."""
        self._seed(-2, batch_idx)

    def _seed(self, *step: int) -> None:
        seed = hash((self.seed, *step, self.global_rank)) & 0xFFFF_FFFF
        # torch.manual_seed does this for all devices, with a traceback for each that is not in use: 0.2 ms.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def record(self, stage: str, metrics: dict[str, Tensor], batch_size: int) -> None:
        """Log ``metrics`` of a batch as ``stage/name``: means over validation or test set, and while training
        those of the steps that the loggers take, since a call takes Lightning 1 ms.
        """
        training = stage == "train"
        every = self.trainer.log_every_n_steps  # pyright: ignore[reportAttributeAccessIssue]
        if training and (self.global_step + 1) % every:
            return
        named = {f"{stage}/{name}": value.detach() for name, value in metrics.items()}
        self.log_dict(named, prog_bar=True, batch_size=batch_size, sync_dist=not training)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the seed, and whose checkpoint it is."""
        checkpoint["seed"] = self.seed
        checkpoint["class_path"] = f"{type(self).__module__}.{type(self).__qualname__}"

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the checkpoint's seed."""
        self.seed = checkpoint["seed"]


# Options of the optimizer that keep their value through a run.
OPTIONS = ("weight_decay", "eps")
