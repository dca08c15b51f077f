"""A small convolutional network: the speed recipe."""

from itertools import pairwise
from typing import Any

from torch import nn

from recipes.classifier import Classifier

__all__ = ["CNN"]


class CNN(Classifier):
    """Convolutional: per width, 3x3 convolution, batch norm, ReLU, 2x2 max-pool; then a linear map.

    Args:
        widths: channels of each block, which halves height and width: 28, 14, 7, 3.
        options: see :class:`~recipes.classifier.Classifier`.
    """

    def __init__(self, widths: list[int] = [8, 16, 32], **options: Any) -> None:  # noqa: B006
        super().__init__(**options)
        if len(widths) > 4 or any(width < 1 for width in widths):
            raise ValueError(f"--model.widths {widths}: up to 4 widths of at least 1 fit 28 pixels")
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
        self.net = nn.Sequential(*blocks, nn.Flatten(), nn.Linear([1, *widths][-1] * side * side, 10))
