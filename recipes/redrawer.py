"""What the recipes that draw digits again share: their steps, and the digits that the picture shows."""

from abc import abstractmethod

from torch import Tensor

from recipes.recipe import Recipe

__all__ = ["Redrawer"]


class Redrawer(Recipe):
    """Images (B, 1, 28, 28) of pixels in [0, 1], to the same, drawn again."""

    # Some digits of the test set, and what came back.
    shown: tuple[Tensor, Tensor] | None = None

    @abstractmethod
    def _step(self, stage: str, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The loss of a batch; logs it."""

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of one batch; logs it."""
        return self._step("train", batch)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Logs the loss over the validation set."""
        self._step("val", batch)

    def on_test_start(self) -> None:
        """Forget an earlier test."""
        self.shown = None

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Logs the loss over the test set; keeps what the picture shows."""
        self._step("test", batch)
        if self.shown is None:
            some = batch[0][:10]
            self.shown = some.cpu(), self(some).cpu()
