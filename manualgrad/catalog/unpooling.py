"""The rows of ``layers/unpooling.py``."""

from __future__ import annotations

import torch

from ..layers import unpooling
from .row import Layer, Sample
from .samples import case, constant, real

__all__ = ["ROWS"]


def places(*shape: int, planes: int) -> Sample:
    """Different places in a plane for the elements of each channel; ``planes`` axes in front count planes."""
    count = torch.Size(shape[planes:]).numel()
    place = (2 * torch.arange(count)).flip(0).reshape(shape[planes:])
    return constant(place.expand(shape).contiguous())


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
    return Layer(module, (unpooling.MaxUnpoolFunction,), functional, tuple(cases), saves_no_input=False)


ROWS: tuple[Layer, ...] = tuple(unpooling_of(ndim) for ndim in (1, 2, 3))
