"""The rows of ``layers/fractional_pooling.py``."""

from __future__ import annotations

import torch

from ..layers import fractional_pooling
from .pooling import PLANES
from .row import Layer
from .samples import INF, NAN, case, constant, plane

__all__ = ["ROWS"]


def samples(*lead: int, ndim: int) -> torch.Tensor:
    """Numbers in [0, 1) that are spread evenly, exact in every dtype."""
    count = torch.Size((*lead, ndim)).numel()
    return (torch.arange(count) * 7 % 16 / 16).reshape(*lead, ndim)


def fractional_pooling_of(ndim: int) -> Layer:
    # torch wants volumes to be one longer than the windows need.
    x, size = plane(ndim, 2, 1), tuple(range(4 - ndim, 4))
    given = samples(3, 1, ndim=ndim)
    cases = [
        case(2, output_size=size, inputs=x),
        case(2, output_ratio=0.5, inputs=x),
        case(2, output_ratio=(0.5, 0.5, 0.6)[:ndim], return_indices=True, inputs=x),
        case((2, 1, 2)[:ndim], output_size=(1, 3, 2)[:ndim], _random_samples=given, inputs=x),
        case(1, output_size=2, _random_samples=samples(1, 2, ndim=ndim), inputs=plane(ndim, 2)),
        case(2, output_size=size, inputs=plane(ndim, 0, 2)),
    ]
    shape = (2, 1, *(5,) * ndim)
    some = torch.tensor([0.0, 1.0, NAN, INF, 1.0, -INF, -INF, 2.0] * 4**ndim)
    edges = [
        case(2, output_size=3, _random_samples=given, inputs=constant(torch.full(shape, value)))
        for value in (0.0, -INF)
    ]
    edges.append(
        case(2, output_size=3, _random_samples=given, inputs=constant(some[: 2 * 5**ndim].reshape(shape)))
    )
    module = getattr(fractional_pooling, f"FractionalMaxPool{ndim}d")
    functional = getattr(fractional_pooling, f"fractional_max_pool{ndim}d")
    functions = (fractional_pooling.FractionalMaxPoolFunction,)
    sizes = tuple(case(2, output_ratio=ratio, inputs=x) for ratio, x in zip((0.5, 0.7, 0.7), PLANES[ndim]))
    return Layer(
        module,
        functions,
        functional,
        tuple(cases),
        tuple(edges),
        saves_no_input=True,
        random=True,
        sizes=sizes,
    )


ROWS: tuple[Layer, ...] = tuple(fractional_pooling_of(ndim) for ndim in (2, 3))
