"""The rows of ``layers/batchnorm.py``."""

from __future__ import annotations

from ..layers import batchnorm
from .row import Layer
from .samples import case, plane, real

__all__ = ["ROWS"]


def batch_normalization(ndim: int) -> Layer:
    x = plane(ndim, 3, 2, extra=-2)
    cases = [
        case(2, inputs=x),
        case(2, inputs=x, training=False),
        case(2, affine=False, inputs=x),
        case(2, affine=False, inputs=x, training=False),
        case(2, momentum=None, eps=1e-3, inputs=x),
        case(2, track_running_stats=False, inputs=x),
        case(2, track_running_stats=False, inputs=x, training=False),
    ]
    if ndim == 1:
        cases.append(case(2, inputs=real(4, 2)))
    module = getattr(batchnorm, f"BatchNorm{ndim}d")
    functions = (batchnorm.BatchNormFunction, batchnorm.BatchNormEvalFunction)
    # Nothing has no mean: parameters get zero, but running statistics stay as they are.
    edges = tuple(case(2, inputs=plane(ndim, 0, 2, extra=-2), training=mode) for mode in (True, False))
    return Layer(module, functions, batchnorm.batch_norm, tuple(cases), edges)


ROWS: tuple[Layer, ...] = tuple(batch_normalization(ndim) for ndim in (1, 2, 3))
