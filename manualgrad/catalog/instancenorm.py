"""The rows of ``layers/instancenorm.py``."""

from __future__ import annotations

from ..layers import batchnorm, instancenorm
from .row import Layer
from .samples import case, plane, real

__all__ = ["ROWS"]


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
    return Layer(module, functions, instancenorm.instance_norm, tuple(cases))


ROWS: tuple[Layer, ...] = (*(instance_normalization(ndim) for ndim in (1, 2, 3)),)
