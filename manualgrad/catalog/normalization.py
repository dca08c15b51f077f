"""The rows of ``layers/normalization.py``."""

from __future__ import annotations

import torch

from ..layers import normalization
from .row import Layer
from .samples import INF, NAN, call, case, constant, positive, real

__all__ = ["ROWS"]

ZEROS_AND_TIES = constant(torch.tensor([[0.0, 0, 0], [1, -1, 0], [2, 0, 0], [3, -3, 3]]))
EXACTLY_EPS = constant(torch.tensor([[2.0, 0], [1, -1], [0, -2]]))
NOT_FINITE = constant(torch.tensor([[INF, 1.0], [-INF, INF], [NAN, 2.0]]))

ROWS: tuple[Layer, ...] = (
    Layer(
        normalization.LayerNorm,
        (normalization.LayerNormFunction,),
        normalization.layer_norm,
        (
            case((5,), inputs=real(4, 5)),
            case((3, 5), eps=1e-2, inputs=real(2, 3, 5)),
            case((5,), bias=False, inputs=real(2, 3, 5)),
            case((5,), elementwise_affine=False, inputs=real(4, 5)),
            case((5,), inputs=real(5)),
            case((5,), inputs=real(0, 5)),
        ),
    ),
    Layer(
        normalization.GroupNorm,
        (normalization.GroupNormFunction,),
        normalization.group_norm,
        (
            case(2, 4, inputs=real(3, 4, 2, 2)),
            case(1, 4, eps=1e-2, inputs=real(3, 4, 3)),
            case(4, 4, affine=False, inputs=real(3, 4, 3)),
            case(2, 4, inputs=real(3, 4)),
            case(2, 4, inputs=real(0, 4, 3)),
        ),
    ),
    Layer(
        normalization.RMSNorm,
        (normalization.RMSNormFunction,),
        normalization.rms_norm,
        (
            case((5,), inputs=real(4, 5)),
            case((3, 5), eps=1e-2, inputs=real(2, 3, 5)),
            case((5,), elementwise_affine=False, inputs=real(4, 5)),
            case((5,), inputs=real(5)),
            case((5,), inputs=real(0, 5)),
        ),
    ),
    Layer(
        None,
        (normalization.NormalizeFunction,),
        normalization.normalize,
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
    ),
)
