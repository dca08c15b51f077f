"""The rows of ``layers/gating.py``."""

from __future__ import annotations

import torch

from ..layers import gating
from .activation import elementwise
from .row import Layer
from .samples import INF, NAN, case, constant, real

__all__ = ["ROWS"]

ENDS = constant(torch.cartesian_prod(*2 * (torch.tensor([-INF, -200.0, -1.0, 0.0, 1.0, 200.0, INF, NAN]),)))

ROWS: tuple[Layer, ...] = (
    elementwise(gating.SiLU, gating.SiLUFunction, gating.silu),
    elementwise(gating.GELU, gating.GELUFunction, gating.gelu, {"approximate": "tanh"}),
    elementwise(gating.Mish, gating.MishFunction, gating.mish),
    Layer(
        gating.GLU,
        (gating.GLUFunction,),
        gating.glu,
        (
            case(inputs=real(4, 6)),
            case(inputs=real(6)),
            case(inputs=real(0, 4)),
            case(0, inputs=real(4, 3)),
            case(dim=1, inputs=real(2, 4, 2, 2)),
            case(-2, inputs=real(2, 2, 3)),
            case(0, inputs=real(0, 3)),
        ),
        edges=(case(inputs=ENDS),),
        sizes=(
            case(inputs=real(128, 512)),
            case(inputs=real(16, 196, 768)),
            case(1, inputs=real(8, 64, 112, 112)),
        ),
    ),
)
