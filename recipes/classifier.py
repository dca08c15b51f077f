"""What the recipes that read digits share: cross entropy, accuracy, and who was mistaken for whom."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recipes.recipe import Recipe

__all__ = ["Classifier"]


class Classifier(Recipe):
    """A network from images (B, 1, 28, 28) to logits (B, 10), trained by cross entropy.

    Args:
        label_smoothing: probability taken from the right class and spread over all ten.
        options: see :class:`~recipes.recipe.Recipe`.
    """

    monitor, mode = "val/accuracy", "max"
    unit = "cross-entropy (nats)"

    def __init__(self, label_smoothing: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"--model.label_smoothing {label_smoothing}: give a fraction, 0 to 1")
        self.loss = nn.CrossEntropyLoss(label_smoothing=label_smoothing)
        self.confusion = torch.zeros(10, 10, dtype=torch.long)
        self.mistakes: list[tuple[Tensor, Tensor, Tensor]] = []

    def headline(self, split: str, metrics: dict[str, Tensor]) -> str:
        """The accuracy, and on how many test digits."""
        digits = f" of {self.confusion.sum():,} digits" if split == "test" else ""
        name = {"val": "validation"}.get(split, split)
        return f"{name} accuracy {100 * metrics[f'{split}/accuracy']:.2f} %{digits}"

    def draw(self, folder: Path) -> None:
        """Draw the confusion matrix and the misread digits."""
        # Matplotlib takes half a second to import, and only here it is needed.
        from recipes import pictures

        pictures.draw_confusion(self.confusion, folder / "confusion.png")
        images, true, predicted = (torch.cat(parts) for parts in zip(*self.mistakes, strict=True))
        pictures.draw_mistakes(images, true, predicted, folder / "mistakes.png")

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

    def predict_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        """Probabilities (B, 10) of the digits."""
        return self(batch[0]).softmax(dim=1)

    def _step(self, stage: str, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x, y = batch
        logits = self(x)
        loss = self.loss(logits, y)
        predicted = logits.detach().argmax(dim=1)
        self.record(stage, {"loss": loss, "accuracy": (predicted == y).float().mean()}, len(y))
        return loss, predicted
