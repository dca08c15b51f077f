"""The rows of ``layers/instancenorm.py``."""

from __future__ import annotations

from ..layers import batchnorm, instancenorm
from .row import Layer
from .samples import case, plane, real

__all__ = ["ROWS"]

SIZES = {
    1: ((32, 16, 100), (32, 64, 1024), (64, 128, 1024)),
    2: ((128, 32, 28, 28), (32, 64, 56, 56), (8, 64, 112, 112)),
    3: ((8, 16, 8, 14, 14), (4, 32, 8, 56, 56), (4, 64, 16, 56, 56)),
}


def instance_normalization(ndim: int) -> Layer:
    x = plane(ndim, 2, 2, extra=-2)
    cases = [
        case(2, affine=True, inputs=x),
        case(2, affine=True, track_running_stats=True, inputs=x),
        case(2, affine=True, track_running_stats=True, inputs=x, training=False),
        case(2, eps=1e-3, inputs=plane(ndim, 2, extra=-2)),
    ]
    cases.append(case(2, inputs=plane(ndim, 0, 2, extra=-2)))
    if ndim == 1:
        cases += [
            case(2, affine=True, bias=False, inputs=x),
            case(2, momentum=0.4, track_running_stats=True, inputs=x),
            case(2, momentum=None, track_running_stats=True, inputs=x),
            case(2, track_running_stats=True, inputs=real(2, 1), training=False),
        ]
    module = getattr(instancenorm, f"InstanceNorm{ndim}d")
    functions = (instancenorm.InstanceNormFunction, batchnorm.BatchNormEvalFunction)
    sizes = tuple(case(shape[1], affine=True, inputs=real(*shape)) for shape in SIZES[ndim])
    return Layer(module, functions, instancenorm.instance_norm, tuple(cases), sizes=sizes)


ROWS: tuple[Layer, ...] = (*(instance_normalization(ndim) for ndim in (1, 2, 3)),)
