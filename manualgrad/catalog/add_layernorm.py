"""The row of ``layers/add_layernorm.py``."""

from __future__ import annotations

from torch import Tensor, nn

from ..layers import add_layernorm
from .row import Layer
from .samples import case, real

__all__ = ["ROWS"]


class Norm(nn.LayerNorm):
    """Torch's sum, and its LayerNorm of it."""

    def forward(self, input: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        s = input + residual
        return super().forward(s), s


def twice(*shape: int) -> tuple:
    return real(*shape), real(*shape)


ROWS: tuple[Layer, ...] = (
    Layer(
        add_layernorm.AddLayerNorm,
        (add_layernorm.AddLayerNormFunction,),
        add_layernorm.add_layer_norm,
        (
            case(5, inputs=twice(2, 3, 5)),
            case((3, 5), inputs=twice(2, 3, 5)),
            case(5, elementwise_affine=False, inputs=twice(4, 5)),
            case(5, bias=False, eps=1e-2, inputs=twice(4, 5)),
            case(5, inputs=twice(5)),
            case(5, inputs=twice(0, 5)),
        ),
        counterpart=Norm,
        sizes=(
            case(64, inputs=twice(128, 49, 64)),
            case(384, inputs=twice(16, 196, 384)),
            case(768, inputs=twice(8, 1024, 768)),
        ),
    ),
)
