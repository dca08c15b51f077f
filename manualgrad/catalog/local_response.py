"""The rows of ``layers/local_response.py``."""

from __future__ import annotations

import torch

from ..layers import local_response
from .row import Layer
from .samples import INF, NAN, case, constant, real

__all__ = ["ROWS"]

EXTREME = constant(torch.tensor([0, 0, 0, 1, 1e200, 0, 0, INF, 1, 1, 1, NAN]).reshape(1, 12, 1))

ROWS: tuple[Layer, ...] = (
    Layer(
        local_response.LocalResponseNorm,
        (local_response.LocalResponseNormFunction,),
        local_response.local_response_norm,
        (
            case(3, alpha=0.9, inputs=real(2, 4, 2)),
            case(2, alpha=0.9, beta=1.5, k=0.5, inputs=real(1, 3, 2, 1)),
            case(4, 0.7, 0.6, 2.0, inputs=real(1, 5, 1, 1, 1)),
            case(1, alpha=1, beta=1, k=1, inputs=real(2, 2, 1)),
            case(9, inputs=real(1, 3, 2)),
            case(3, inputs=real(0, 3, 2)),
        ),
        edges=(case(3, inputs=EXTREME), case(3, k=0.0, inputs=EXTREME)),
        sizes=(
            case(5, inputs=real(16, 32, 14, 14)),
            case(5, inputs=real(8, 64, 55, 55)),
            case(5, inputs=real(16, 96, 55, 55)),
        ),
    ),
    Layer(
        local_response.CrossMapLRN2d,
        (local_response.CrossMapLRN2dFunction,),
        local_response.cross_map_lrn2d,
        (
            case(5, alpha=0.9, inputs=real(2, 2, 2, 1)),
            case(4, alpha=0.9, beta=1.5, k=0.5, inputs=real(1, 2, 1, 2)),
            case(3, 0.7, 0.6, 2.0, inputs=real(2, 1, 1, 2)),
            case(5, inputs=real(0, 2, 1, 2)),
        ),
        sizes=(
            case(5, inputs=real(16, 32, 14, 14)),
            case(5, inputs=real(8, 64, 55, 55)),
            case(5, inputs=real(16, 96, 55, 55)),
        ),
        note="with more than size // 2 channels torch's gradient is not the derivative of its forward",
    ),
)
