"""The rows of ``layers/pooling.py``."""

from __future__ import annotations

import torch

from ..layers import pooling
from .row import Layer
from .samples import INF, case, constant, plane

__all__ = ["ROWS"]


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
    return Layer(module, (pooling.MaxPoolFunction,), functional, tuple(cases), edges, saves_no_input=True)


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
    return Layer(module, (pooling.AvgPoolFunction,), functional, tuple(cases), saves_no_input=True)


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
    return Layer(module, (function,), functional, tuple(cases), saves_no_input=True)


ROWS: tuple[Layer, ...] = (
    *(max_pooling(ndim) for ndim in (1, 2, 3)),
    *(avg_pooling(ndim) for ndim in (1, 2, 3)),
    *(adaptive_pooling(kind, ndim) for kind in ("avg", "max") for ndim in (1, 2, 3)),
)
