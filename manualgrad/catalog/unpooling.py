"""The rows of ``layers/unpooling.py``."""

from __future__ import annotations

import torch
from torch import Tensor

from ..layers import unpooling
from .row import Layer, Sample
from .samples import case, constant, real

__all__ = ["ROWS"]


def places(*shape: int, planes: int) -> Sample:
    """Different places in a plane for the elements of each channel; ``planes`` axes in front count planes."""
    count = torch.Size(shape[planes:]).numel()
    place = (2 * torch.arange(count)).flip(0).reshape(shape[planes:])
    return constant(place.expand(shape).contiguous())


# Of ordinary size, what was pooled by windows of two elements along each axis.
POOLED = {
    1: ((128, 32, 98), (64, 64, 512), (16, 256, 1024)),
    2: ((128, 32, 14, 14), (32, 64, 28, 28), (16, 64, 56, 56)),
    3: ((16, 16, 4, 14, 14), (8, 32, 8, 16, 16), (4, 64, 8, 28, 28)),
}


def corners(*shape: int) -> Sample:
    """In planes twice as long along each axis, for each element a place in the window that it came from."""

    # Only when asked for: the planes are large, and every import of manualgrad reads this table.
    def draw(dtype: torch.dtype) -> Tensor:
        axes = len(shape) - 2
        place = torch.zeros(shape, dtype=torch.int64)
        for axis, length in enumerate(shape[2:], 2):
            start = 2 * torch.arange(length).reshape(-1, *(1,) * (axes + 1 - axis))
            tap = torch.arange(place.numel()).reshape(shape) * 7 // (axis + 1) % 2
            place = place * 2 * length + start + tap
        return place

    return Sample(shape, draw)


def unpooling_of(ndim: int) -> Layer:
    module, functional = getattr(unpooling, f"MaxUnpool{ndim}d"), getattr(unpooling, f"max_unpool{ndim}d")
    plane = (3, *(2,) * (ndim - 1))

    def inputs(*lead: int) -> tuple[Sample, Sample]:
        return real(*lead, *plane), places(*lead, *plane, planes=len(lead))

    default = tuple(2 * n for n in plane)
    cases = [
        case(2, inputs=inputs(2, 2)),
        case(3, stride=2, padding=1 if ndim == 1 else 0, inputs=inputs(1, 2)),
        case(2, inputs=inputs(2), forward={"output_size": [default[0] + 1, *default[1:]]}),
        case(2, inputs=inputs(1, 2), forward={"output_size": (1, 2, *default[:-1], default[-1] + 1)}),
        case(2, inputs=inputs(0, 2)),
    ]
    if ndim > 1:
        cases.append(
            case((2, 3, 2)[:ndim], stride=(2, 3, 1)[:ndim], padding=(1, 0, 0)[:ndim], inputs=inputs(2))
        )
    sizes = tuple(case(2, inputs=(real(*shape), corners(*shape))) for shape in POOLED[ndim])
    return Layer(module, (unpooling.MaxUnpoolFunction,), functional, tuple(cases), sizes=sizes)


ROWS: tuple[Layer, ...] = tuple(unpooling_of(ndim) for ndim in (1, 2, 3))
