"""The rows of ``layers/linear.py``."""

from __future__ import annotations

import torch
from torch import Tensor

from ..layers import linear
from .row import Layer
from .samples import call, case, real

__all__ = ["ROWS"]


@torch.autocast("cpu", enabled=False)
def group_by_group(mat_a: Tensor, mat_b: Tensor, offs: Tensor | None = None) -> Tensor:
    """What grouped_mm computes, a product at a time, what is in no group being 0."""
    if offs is None:
        return mat_a @ mat_b
    ends = offs.tolist()
    spans = [torch.arange(start, end) for start, end in zip([0, *ends], ends)]
    if mat_a.dim() == mat_b.dim():
        return torch.stack([mat_a[:, span] @ mat_b[span] for span in spans])
    if mat_a.dim() == 2:
        parts, rest = [mat_a[span] @ b for span, b in zip(spans, mat_b)], len(mat_a) - ends[-1]
        return torch.cat([*parts, mat_a.new_zeros(rest, mat_b.shape[2])])
    parts, rest = [a @ mat_b[:, span] for span, a in zip(spans, mat_a)], mat_b.shape[1] - ends[-1]
    return torch.cat([*parts, mat_b.new_zeros(mat_a.shape[1], rest)], 1)


def cut(*ends: int) -> Tensor:
    """Offsets."""
    return torch.tensor(ends, dtype=torch.int32)


ROWS: tuple[Layer, ...] = (
    Layer(
        linear.Linear,
        (linear.LinearFunction,),
        linear.linear,
        (
            case(5, 3, inputs=real(4, 5)),
            case(5, 3, bias=False, inputs=real(2, 3, 5)),
            case(5, 3, inputs=real(5)),
            case(5, 3, inputs=real(0, 5)),
        ),
        saves_no_input=True,
        sizes=(
            case(784, 512, inputs=real(128, 784)),
            case(64, 256, inputs=real(128, 49, 64)),
            case(384, 1536, inputs=real(16, 196, 384)),
        ),
    ),
    Layer(
        linear.Bilinear,
        (linear.BilinearFunction,),
        linear.bilinear,
        (
            case(5, 4, 3, inputs=(real(4, 5), real(4, 4))),
            case(5, 4, 3, bias=False, inputs=(real(2, 3, 5), real(2, 3, 4))),
            case(5, 4, 3, inputs=(real(5), real(4))),
            case(5, 4, 3, inputs=(real(0, 5), real(0, 4))),
        ),
        note="the gradient of one input needs the other",
        sizes=(
            case(20, 20, 30, inputs=(real(128, 20), real(128, 20))),
            case(64, 64, 64, inputs=(real(256, 64), real(256, 64))),
            case(128, 128, 64, inputs=(real(512, 128), real(512, 128))),
        ),
    ),
    Layer(
        None,
        (linear.GroupedMMFunction,),
        linear.grouped_mm,
        (
            call(real(6, 4), real(2, 4, 8), offs=cut(2, 6)),
            call(real(6, 3), real(3, 3, 2), offs=cut(2, 2, 5)),
            call(real(2, 3, 4), real(4, 8), offs=cut(4, 8)),
            call(real(2, 3, 4), real(4, 6), offs=cut(1, 4)),
            call(real(4, 8), real(8, 4), offs=cut(4, 8)),
            call(real(2, 6), real(6, 3), offs=cut(1, 4)),
            call(real(2, 3, 4), real(2, 4, 8)),
            call(real(2, 0, 4), real(4, 8), offs=cut(4, 8)),
        ),
        sizes=(
            call(real(512, 64), real(4, 64, 128), offs=cut(100, 200, 400, 512)),
            call(real(2048, 128), real(8, 128, 512), offs=cut(*range(256, 2049, 256))),
            call(real(4096, 256), real(8, 256, 512), offs=cut(*range(512, 4097, 512))),
        ),
        note="torch's knows no float64; what is in no group is 0",
        reference=group_by_group,
    ),
)
