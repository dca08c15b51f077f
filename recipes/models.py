"""The networks, and the LightningModule that trains them with either backend."""

import math
from importlib import import_module
from itertools import pairwise
from types import ModuleType
from typing import Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

__all__ = ["NETWORKS", "Classifier", "cnn", "mlp"]


def mlp(nn: ModuleType, widths: list[int]) -> torch.nn.Module:
    """Fully connected: per width, a linear map, batch norm, ReLU; then a linear map to 10 logits.

    Args:
        nn: torch.nn, or a namespace with its names.
        widths: neurons of each hidden layer.
    """
    blocks = [
        layer
        for inputs, outputs in pairwise([28 * 28, *widths])
        for layer in (nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU())
    ]
    return nn.Sequential(nn.Flatten(), *blocks, nn.Linear(([28 * 28, *widths])[-1], 10))


def cnn(nn: ModuleType, widths: list[int]) -> torch.nn.Module:
    """Convolutional: per width, 3x3 convolution, batch norm, ReLU, 2x2 max-pool; then a linear map.

    Args:
        nn: torch.nn, or a namespace with its names.
        widths: channels of each block, which halves height and width: 28, 14, 7, 3.
    """
    # Batch norm subtracts any bias the convolution would add.
    blocks = [
        layer
        for inputs, outputs in pairwise([1, *widths])
        for layer in (
            nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
    ]
    side = 28 >> len(widths)
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(([1, *widths])[-1] * side * side, 10))


def _namespace(backend: str, name: str) -> ModuleType:
    # An import that draws random numbers must not change the weights that are drawn next.
    with torch.random.fork_rng(devices=[]):
        return import_module(f"{backend}.{name}")


NETWORKS = {"cnn": cnn, "mlp": mlp}


class Classifier(LightningModule):
    """A digit classifier, trained by AdamW under a one-cycle learning rate.

    Args:
        network: which of the networks in recipes/models.py.
        widths: channels (cnn) or neurons (mlp) of each hidden block.
        backend: the package of layers, loss and optimizer: manualgrad, or torch as the control.
        lr: highest learning rate, per step.
        weight_decay: decoupled weight decay, per step and unit of learning rate.
        eps: added to the root of the mean squared gradient; a weight whose gradient is much smaller takes
            smaller steps, instead of steps as large as any whose direction is a matter of rounding.
        warmup: fraction of the steps in which the learning rate rises; in the rest it falls to zero.
        label_smoothing: probability taken from the right class and spread over all ten.
    """

    def __init__(
        self,
        network: Literal["cnn", "mlp"] = "cnn",
        widths: list[int] = [8, 16, 32],  # noqa: B006 (shown in --help; never written to)
        backend: Literal["manualgrad", "torch"] = "manualgrad",
        lr: float = 0.02,
        weight_decay: float = 0.01,
        eps: float = 1e-8,
        warmup: float = 0.2,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        most = 4 if network == "cnn" else len(widths)
        if len(widths) > most or any(width < 1 for width in widths):
            raise ValueError(f"--model.widths {widths}: {network} takes up to {most} widths of at least 1")
        if not (lr > 0 and weight_decay >= 0 and eps > 0 and 0 <= warmup <= 1 and 0 <= label_smoothing <= 1):
            raise ValueError(
                f"--model.lr {lr} --model.weight_decay {weight_decay} --model.eps {eps} "
                f"--model.warmup {warmup} --model.label_smoothing {label_smoothing}: lr and eps must be "
                "positive, weight_decay not negative, the other two fractions"
            )
        self.save_hyperparameters()
        nn = _namespace(backend, "nn")
        self.net = NETWORKS[network](nn, widths)
        self.loss = nn.CrossEntropyLoss(label_smoothing=label_smoothing)
        self.confusion = torch.zeros(10, 10, dtype=torch.long)
        self.mistakes: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, 10) of images (B, 1, 28, 28)."""
        # The digits come as float32; under --trainer.precision 64-true the weights are float64.
        return self.net(x.to(self.dtype))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch; logs it and the accuracy of the step."""
        loss, _ = self._step("train", batch)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Logs loss and accuracy over the validation set."""
        self._step("val", batch)

    def on_test_start(self) -> None:
        """Forget an earlier test."""
        self.confusion = torch.zeros(10, 10, dtype=torch.long, device=self.device)
        self.mistakes = []

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Logs loss and accuracy over the test set; keeps what the pictures show."""
        _, predicted = self._step("test", batch)
        x, y = batch
        self.confusion += torch.bincount(10 * y + predicted, minlength=100).view(10, 10)
        wrong = predicted != y
        self.mistakes.append((x[wrong].cpu(), y[wrong].cpu(), predicted[wrong].cpu()))

    def on_test_end(self) -> None:
        """Sum the confusion matrix (rows: true digit, columns: predicted) over all processes."""
        self.confusion = self.trainer.strategy.reduce(self.confusion, reduce_op="sum")

    def _step(self, stage: str, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x, y = batch
        logits = self(x)
        loss = self.loss(logits, y)
        predicted = logits.detach().argmax(dim=1)
        metrics = {f"{stage}/loss": loss, f"{stage}/accuracy": (predicted == y).float().mean()}
        self.log_dict(metrics, prog_bar=True, batch_size=len(y), sync_dist=stage != "train")
        return loss, predicted

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW, its learning rate set anew at every step."""
        optim = _namespace(self.hparams["backend"], "optim")
        options = {name: self.hparams[name] for name in ("lr", "weight_decay", "eps")}
        optimizer = optim.AdamW(self.parameters(), **options)
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
        options = {name: self.hparams[name] for name in ("weight_decay", "eps")}
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group.update(initial_lr=self.hparams["lr"], **options)
