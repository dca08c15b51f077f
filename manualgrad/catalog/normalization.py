"""The rows of ``layers/normalization.py``."""

from __future__ import annotations

from ..layers import normalization
from .row import Layer
from .samples import case, real

__all__ = ["ROWS"]

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
        sizes=(
            case((64,), inputs=real(128, 64)),
            case((512,), inputs=real(1024, 512)),
            case((768,), inputs=real(8, 1024, 768)),
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
        sizes=(
            case(8, 32, inputs=real(32, 32, 14, 14)),
            case(32, 64, inputs=real(32, 64, 56, 56)),
            case(32, 256, inputs=real(8, 256, 56, 56)),
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
        sizes=(
            case((64,), inputs=real(128, 64)),
            case((512,), inputs=real(1024, 512)),
            case((768,), inputs=real(8, 1024, 768)),
        ),
    ),
)
