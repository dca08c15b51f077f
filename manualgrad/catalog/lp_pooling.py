"""The rows of ``layers/lp_pooling.py``."""

from __future__ import annotations

import torch

from ..layers import lp_pooling
from .pooling import PLANES
from .row import Layer
from .samples import INF, NAN, case, constant, plane, positive

__all__ = ["ROWS"]


def lp_pooling_of(ndim: int) -> Layer:
    def positive_plane(*lead: int):
        return positive(*plane(ndim, *lead).shape)

    x = plane(ndim, 1, 2)
    zeros = constant(torch.zeros(1, 1, *(4,) * ndim))
    some = torch.tensor([0.0, 0.0, -2.0, 1.0, NAN, INF, -INF, -1.0] * 2 ** (2 * ndim - 1))
    mixed = constant(some[: 4**ndim].reshape(1, 1, *(4,) * ndim))
    endless = constant(mixed.draw(torch.float32).nan_to_num(3.0, INF, -INF))
    cases = [
        case(2, 2, inputs=plane(ndim, 2, 2)),
        case(1.5, 3, stride=2, inputs=positive_plane(2)),
        case(3, 2, stride=1, inputs=positive_plane(2)),
        case(2.0, 2, ceil_mode=True, inputs=x),
        case(1, 3, stride=2, ceil_mode=True, inputs=x),
        case(-2, 2, inputs=positive_plane(2)),
        case(INF, 2, stride=1, inputs=plane(ndim, 2, 1)),
        case(INF, 2, ceil_mode=True, inputs=plane(ndim, 2)),
        case(-INF, 2, inputs=x),
        case(2, 2, inputs=plane(ndim, 0, 2)),
        case(INF, 2, inputs=plane(ndim, 0, 2)),
    ]
    if ndim > 1:
        pair = tuple(range(1, ndim + 1))
        cases.append(case(4, pair, stride=pair[::-1], inputs=positive_plane(1)))
    # Of a sum that is NaN torch's gradient with p = 1 is 0, but the derivative of a sum is 1 wherever it is.
    edges = [case(1, 2, inputs=at) for at in (zeros, endless)]
    edges += [case(p, 2, inputs=at) for p in (2, 3, 1.5, -1, INF, -INF) for at in (zeros, mixed)]
    module, functional = getattr(lp_pooling, f"LPPool{ndim}d"), getattr(lp_pooling, f"lp_pool{ndim}d")
    functions = (lp_pooling.LPPoolFunction, lp_pooling.MaxNormPoolFunction)
    sizes = [case(2, 2, inputs=x) for x in PLANES[ndim][:2]]
    sizes += [case(2, 3, stride=2, inputs=PLANES[ndim][2])]
    return Layer(module, functions, functional, tuple(cases), tuple(edges), sizes=tuple(sizes))


ROWS: tuple[Layer, ...] = tuple(lp_pooling_of(ndim) for ndim in (1, 2, 3))
