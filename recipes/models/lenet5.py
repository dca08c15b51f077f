"""LeNet-5, the network that read the cheques of 1998."""

from typing import Any

from torch import nn

from recipes.classifier import Classifier

__all__ = ["LeNet5"]


class LeNet5(Classifier):
    """The network of 1998: convolutions and average pooling under tanh (LeCun et al., doi:10.1109/5.726791).

    Two simplifications, as nearly everywhere: pooling has no weights of its own, and each map of the second
    convolution sees all of the first, where the paper's leaves out some. The
    output is linear, for cross entropy.

    Args:
        options: see :class:`~recipes.classifier.Classifier`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.net = nn.Sequential(
            nn.Conv2d(1, 6, kernel_size=5, padding=2),  # the paper's images have 32 x 32 pixels
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Conv2d(6, 16, kernel_size=5),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Conv2d(16, 120, kernel_size=5),
            nn.Flatten(),
            nn.Tanh(),
            nn.Linear(120, 84),
            nn.Tanh(),
            nn.Linear(84, 10),
        )
