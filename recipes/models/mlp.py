"""A multilayer perceptron: the network of the textbook."""

from itertools import pairwise
from typing import Any

from torch import nn

from recipes.classifier import Classifier

__all__ = ["MLP"]


class MLP(Classifier):
    """Fully connected: per width, a linear map, batch norm, ReLU; then a linear map to 10 logits.

    Args:
        widths: neurons of each hidden layer.
        options: see :class:`~recipes.classifier.Classifier`.
    """

    def __init__(self, widths: list[int] = [256, 128], **options: Any) -> None:  # noqa: B006
        super().__init__(**options)
        if any(width < 1 for width in widths):
            raise ValueError(f"--model.widths {widths}: a layer has at least 1 neuron")
        # Batch norm subtracts any bias the linear map would add.
        blocks = [
            layer
            for inputs, outputs in pairwise([28 * 28, *widths])
            for layer in (nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU())
        ]
        self.net = nn.Sequential(nn.Flatten(), *blocks, nn.Linear([28 * 28, *widths][-1], 10))
