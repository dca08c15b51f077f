"""The rows of ``layers/batchnorm.py``."""

from __future__ import annotations

from ..layers import batchnorm
from .row import Layer
from .samples import case, plane, real

__all__ = ["ROWS"]

SIZES = {
    1: ((128, 256), (4096, 1024), (64, 128, 1024)),
    2: ((128, 32, 28, 28), (32, 64, 56, 56), (16, 64, 112, 112)),
    3: ((8, 16, 8, 14, 14), (4, 32, 8, 56, 56), (4, 64, 16, 56, 56)),
}


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
    sizes = tuple(case(shape[1], inputs=real(*shape)) for shape in SIZES[ndim])
    return Layer(module, functions, batchnorm.batch_norm, tuple(cases), edges, sizes=sizes)


ROWS: tuple[Layer, ...] = tuple(batch_normalization(ndim) for ndim in (1, 2, 3))
