"""Networks that are trained on digits, in torch.nn, so that each contender gets a copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["NETWORKS", "Network"]


class Network(NamedTuple):
    """How a network is built, a batch's shape, the optimizer and its options, how far losses may differ."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...] = (128, 1, 28, 28)
    optimizer: str = "SGD"
    options: dict = {"lr": 0.01, "momentum": 0.9}  # noqa: RUF012  (never written to)
    agree: float = 1e-4


class Rows(nn.Module):
    """A recurrent network that reads an image row by row, and classifies by its last state."""

    def __init__(self, cell: Callable[..., nn.Module]):
        super().__init__()
        self.cell = cell(28, 128, batch_first=True)
        self.head = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.cell(x.squeeze(1))
        return self.head(states[:, -1])


class ViT(nn.Module):
    """A transformer on patches of 7x7 pixels."""

    def __init__(self, width: int = 64, heads: int = 4, depth: int = 4):
        super().__init__()
        self.patches = nn.Conv2d(1, width, 7, stride=7)
        self.position = nn.Parameter(torch.randn(16, width) * 0.02)
        layers = [
            nn.TransformerEncoderLayer(
                width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        ]
        self.layers = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.layers(tokens)).mean(1))


def mlp() -> nn.Module:
    """784-512-256-10 with ReLU."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10)
    )


def lenet5() -> nn.Module:
    """LeCun et al. 1998: tanh and average pooling."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10)),
    )


def cnn() -> nn.Module:
    """Two blocks of convolution, batch norm, ReLU and max-pool; as in ``recipes/models.py``."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * 7 * 7, 10)),
    )


def resnet18() -> nn.Module:
    """torchvision's.

    Raises:
        ImportError: if torchvision cannot be imported.
    """
    try:
        from recipes.compat import import_torchvision

        import_torchvision()
    except ImportError:
        pass
    try:
        from torchvision.models import resnet18
    except RuntimeError as error:
        raise ImportError(f"torchvision does not fit this torch: {error}") from error
    return resnet18(num_classes=10)


ADAM = {"lr": 1e-3}

NETWORKS: dict[str, Network] = {
    "mlp": Network(mlp, optimizer="Adam", options=ADAM),
    "lenet5": Network(lenet5),
    "cnn": Network(cnn),
    "lstm": Network(lambda: Rows(nn.LSTM), optimizer="Adam", options=ADAM),
    "gru": Network(lambda: Rows(nn.GRU), optimizer="Adam", options=ADAM),
    "vit": Network(ViT, optimizer="AdamW", options=ADAM),
    # Rounding alone parts torch.compile from torch in float64 by 1e-4, in the second update.
    "resnet18": Network(resnet18, (8, 3, 224, 224), agree=1e-3),
}
