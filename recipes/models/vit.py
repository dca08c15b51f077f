"""A vision transformer: the image as a sentence of patches."""

from typing import Any

import torch
from torch import Tensor, nn

from recipes.classifier import Classifier

__all__ = ["ViT", "VisionTransformer"]


class VisionTransformer(nn.Module):
    """Patches, each mapped to a vector that knows its place; layers of attention; their mean; a linear map.

    Dosovitskiy et al. 2020, arXiv:2010.11929, with the mean of all tokens in place of a class token.

    Args:
        patch: height and width of a patch, in pixels; must divide 28.
        width: size of a token.
        depth: layers of attention.
        heads: of each; must divide width.
        dropout: probability of dropping a number, in training.
    """

    def __init__(self, patch: int, width: int, depth: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, kernel_size=patch, stride=patch)
        self.position = nn.Parameter(0.02 * torch.randn((28 // patch) ** 2, width))
        self.layers = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    width, heads, 2 * width, dropout, activation="gelu", batch_first=True, norm_first=True
                )
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, 10) of images (B, 1, 28, 28)."""
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.layers(tokens)).mean(dim=1))


class ViT(Classifier):
    """A small vision transformer: the image as a sentence of patches, read by layers of attention.

    Args:
        patch: height and width of a patch, in pixels; must divide 28.
        width: size of a token.
        depth: layers of attention.
        heads: of each; must divide width.
        dropout: probability of dropping a number, in training.
        options: see :class:`~recipes.classifier.Classifier`.
    """

    def __init__(
        self,
        patch: int = 7,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        dropout: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if patch < 1 or 28 % patch:
            raise ValueError(f"--model.patch {patch}: give a divisor of 28, such as 4 or 7")
        if width < 1 or depth < 1 or heads < 1 or width % heads or not 0 <= dropout <= 1:
            raise ValueError(
                f"--model.width {width} --model.depth {depth} --model.heads {heads} --model.dropout "
                f"{dropout}: give at least 1 of each, a width that heads divides, and a probability"
            )
        self.net = VisionTransformer(patch, width, depth, heads, dropout)
