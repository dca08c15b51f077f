"""The row of ``layers/normalize.py``."""

from __future__ import annotations

import torch

from ..layers import normalize
from .row import Layer
from .samples import INF, NAN, call, constant, positive, real

__all__ = ["ROWS"]

ZEROS_AND_TIES = constant(torch.tensor([[0.0, 0, 0], [1, -1, 0], [2, 0, 0], [3, -3, 3]]))
EXACTLY_EPS = constant(torch.tensor([[2.0, 0], [1, -1], [0, -2]]))
NOT_FINITE = constant(torch.tensor([[INF, 1.0], [-INF, INF], [NAN, 2.0]]))

ROWS: tuple[Layer, ...] = (
    Layer(
        None,
        (normalize.NormalizeFunction,),
        normalize.normalize,
        (
            call(real(3, 4)),
            call(real(3, 4), p=1.0, dim=-1, eps=4.0),
            call(real(2, 3, 2), p=3, dim=(0, 2)),
            call(real(5), p=INF, dim=0),
            call(real(2, 3), p=-INF, dim=1, eps=1e-3),
            call(positive(2, 3), p=0.5, dim=None),
            call(positive(2, 3), p=-1.5, dim=()),
            call(real(2, 3), p=0.0, dim=0),
            call(real(2, 2), p=1.5, eps=0.0),
            call(real(0, 3)),
        ),
        edges=(
            *(call(ZEROS_AND_TIES, p=p) for p in (2.0, 1.0, 0.5, 0.0, 1.5, 3.0, INF, -INF, -1.0)),
            *(call(EXACTLY_EPS, p=p, eps=2.0) for p in (2.0, 1.0, INF)),
            *(call(NOT_FINITE, p=p) for p in (2.0, 1.0, INF)),
            call(real(3, 0)),
            call(real(), dim=0),
        ),
        sizes=(
            call(real(128, 64)),
            call(real(1024, 512), dim=-1),
            call(real(32, 64, 56, 56)),
        ),
    ),
)
