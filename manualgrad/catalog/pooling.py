"""The rows of ``layers/pooling.py``."""

from __future__ import annotations

import torch

from ..layers import pooling
from .row import Layer
from .samples import INF, case, constant, plane, real

__all__ = ["ROWS"]

# Of ordinary size, by the number of axes that are pooled.
PLANES = {
    1: (real(128, 32, 196), real(64, 64, 1024), real(16, 256, 2048)),
    2: (real(128, 32, 28, 28), real(32, 64, 56, 56), real(16, 64, 112, 112)),
    3: (real(16, 16, 8, 28, 28), real(8, 32, 16, 32, 32), real(4, 64, 16, 56, 56)),
}


def max_pooling(ndim: int) -> Layer:
    x = plane(ndim, 2, 2)
    cases = [
        case(2, inputs=x),
        case(3, stride=2, padding=1, inputs=x),
        case(2, stride=1, dilation=2, inputs=x),
        case(2, ceil_mode=True, inputs=x),
        case(3, stride=2, padding=1, dilation=2, ceil_mode=True, inputs=x),
        case(2, return_indices=True, inputs=x),
        case(2, inputs=plane(ndim, 2)),
        case(2, inputs=plane(ndim, 0, 2)),
    ]
    module, functional = getattr(pooling, f"MaxPool{ndim}d"), getattr(pooling, f"max_pool{ndim}d")
    flat = constant(torch.zeros(1, 1, *(4,) * ndim))
    endless = constant(torch.full((1, 1, *(4,) * ndim), -INF))
    edges = (case(2, inputs=flat), case(2, inputs=endless), case(3, stride=1, padding=1, inputs=flat))
    sizes = [case(2, inputs=x) for x in PLANES[ndim][:2]]
    sizes += [case(3, stride=2, padding=1, inputs=PLANES[ndim][2])]
    return Layer(
        module,
        (pooling.MaxPoolFunction,),
        functional,
        tuple(cases),
        edges,
        saves_no_input=True,
        sizes=tuple(sizes),
    )


def avg_pooling(ndim: int) -> Layer:
    x = plane(ndim, 2, 2)
    cases = [
        case(2, inputs=x),
        case(3, stride=2, padding=1, inputs=x),
        case(3, stride=2, padding=1, count_include_pad=False, inputs=x),
        case(3, stride=2, ceil_mode=True, inputs=x),
        case(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False, inputs=x),
        case(2, inputs=plane(ndim, 2)),
        case(2, inputs=plane(ndim, 0, 2)),
    ]
    if ndim > 1:
        cases.append(case(2, divisor_override=3, inputs=x))
        cases.append(case(tuple(range(1, ndim + 1)), stride=tuple(range(1, ndim + 1)), inputs=x))
    module, functional = getattr(pooling, f"AvgPool{ndim}d"), getattr(pooling, f"avg_pool{ndim}d")
    sizes = [case(2, inputs=x) for x in PLANES[ndim][:2]]
    sizes += [case(3, stride=2, padding=1, inputs=PLANES[ndim][2])]
    return Layer(
        module,
        (pooling.AvgPoolFunction,),
        functional,
        tuple(cases),
        saves_no_input=True,
        sizes=tuple(sizes),
    )


def adaptive_pooling(kind: str, ndim: int) -> Layer:
    x = plane(ndim, 2, 2)
    cases = [
        case(2, inputs=x),
        case(3, inputs=x),
        case(1, inputs=x),
        case(7, inputs=plane(ndim, 2, extra=-1)),
    ]
    if ndim > 1:
        cases.append(case((None, *range(2, ndim + 1)), inputs=x))
    cases.append(case(2, inputs=plane(ndim, 0, 2)))
    if kind == "max":
        cases.append(case(2, return_indices=True, inputs=x))
    function = pooling.AdaptiveMaxPoolFunction if kind == "max" else pooling.AdaptiveAvgPoolFunction
    module = getattr(pooling, f"Adaptive{kind.capitalize()}Pool{ndim}d")
    functional = getattr(pooling, f"adaptive_{kind}_pool{ndim}d")
    sizes = (
        case(1, inputs=PLANES[ndim][0]),
        case(4, inputs=PLANES[ndim][1]),
        case(7, inputs=PLANES[ndim][2]),
    )
    return Layer(module, (function,), functional, tuple(cases), saves_no_input=True, sizes=sizes)


ROWS: tuple[Layer, ...] = (
    *(max_pooling(ndim) for ndim in (1, 2, 3)),
    *(avg_pooling(ndim) for ndim in (1, 2, 3)),
    *(adaptive_pooling(kind, ndim) for kind in ("avg", "max") for ndim in (1, 2, 3)),
)
