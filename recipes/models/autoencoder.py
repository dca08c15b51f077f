"""An autoencoder: a digit squeezed through a few numbers, and drawn again from them."""

from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from recipes.redrawer import Redrawer

__all__ = ["Autoencoder", "perceptron"]


def perceptron(sizes: list[int]) -> nn.Sequential:
    """Linear maps between layers of these sizes, with ReLU between them."""
    layers = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


class Autoencoder(Redrawer):
    """784 pixels in [0, 1] to a code of a few numbers, and back; trained by mean squared error.

    Hinton, Salakhutdinov 2006, doi:10.1126/science.1127647.

    Args:
        widths: neurons of the encoder's hidden layers; the decoder's are the same, backward.
        code: numbers that a digit is squeezed into.
        options: see :class:`~recipes.recipe.Recipe`.
    """

    unit = "mean squared error (of white = 1)"

    def __init__(self, widths: list[int] = [512, 256], code: int = 16, **options: Any) -> None:  # noqa: B006
        super().__init__(**options)
        if code < 1 or any(width < 1 for width in widths):
            raise ValueError(f"--model.widths {widths} --model.code {code}: give numbers of at least 1")
        sizes = [28 * 28, *widths, code]
        self.encoder = nn.Sequential(nn.Flatten(), *perceptron(sizes))
        self.decoder = nn.Sequential(*perceptron(sizes[::-1]), nn.Sigmoid(), nn.Unflatten(1, (1, 28, 28)))
        self.net = nn.Sequential(self.encoder, self.decoder)
        self.loss = nn.MSELoss()

    def headline(self, split: str, metrics: dict[str, Tensor]) -> str:
        """The error, and as a root, which has the unit of a pixel."""
        mse = float(metrics[f"{split}/loss"])
        return f"{split} mean squared error {mse:.5f} (root: {mse**0.5:.3f} of the brightness of white)"

    def draw(self, folder: Path) -> None:
        """Draw some digits and what came back."""
        from recipes import pictures

        assert self.shown is not None
        x, y = self.shown
        rows = {"digit": x, "drawn again": y, "difference": (y - x).abs()}
        title = f"Digits, squeezed into {self.hparams['code']} numbers and drawn again"
        pictures.draw_digits(rows, folder / "reconstructions.png", title)

    def _step(self, stage: str, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, _ = batch
        loss = self.loss(self(x), x.to(self.dtype))
        self.record(stage, {"loss": loss}, len(x))
        return loss
