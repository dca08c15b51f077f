"""A small residual network: the accuracy recipe."""

from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from recipes.classifier import Classifier

__all__ = ["ResNet", "ResidualBlock"]


class ResidualBlock(nn.Module):
    """y = ReLU(x' + BN(conv(ReLU(BN(conv(x)))))), where x' is x, or its projection if the shape changes.

    The gradient reaches x' undiminished, past whatever the convolutions do to it: He et al. 2015,
    arXiv:1512.03385.

    Args:
        inputs: channels of x.
        outputs: channels of y.
        stride: of the first convolution: y has 1/stride of the height and width of x.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        same = inputs == outputs and stride == 1
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(
                nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """y of x."""
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu2(y + self.shortcut(x))


class ResNet(Classifier):
    """Residual: a convolution, 2x2 max-pool, stages of residual blocks, the mean of each map, a linear map.

    Args:
        widths: channels of each stage, which has 14, 7, 4, 2, 1 pixels in height and width.
        blocks: residual blocks of a stage.
        options: see :class:`~recipes.classifier.Classifier`.
    """

    def __init__(self, widths: list[int] = [24, 48, 96], blocks: int = 1, **options: Any) -> None:  # noqa: B006
        super().__init__(**options)
        if not 1 <= len(widths) <= 5 or any(width < 1 for width in widths) or blocks < 1:
            raise ValueError(
                f"--model.widths {widths} --model.blocks {blocks}: give 1 to 5 widths of at least 1, and at "
                "least 1 block"
            )
        stages = [
            ResidualBlock(inputs if i == 0 else outputs, outputs, stride=2 if i == 0 and stage else 1)
            for stage, (inputs, outputs) in enumerate(pairwise([widths[0], *widths]))
            for i in range(blocks)
        ]
        self.net = nn.Sequential(
            nn.Conv2d(1, widths[0], kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
            nn.MaxPool2d(2),
            *stages,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(widths[-1], 10),
        )
