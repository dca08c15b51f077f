"""The rows of ``layers/grid.py``."""

from __future__ import annotations

import torch

from ..layers import grid
from .row import Layer, Sample
from .samples import call, constant, real

__all__ = ["ROWS"]

PICTURE, VOLUME = real(2, 2, 4, 3), real(1, 2, 3, 2, 4)
PLACES, PLACES_3D = real(2, 2, 3, 2), real(1, 2, 1, 2, 3)
# A picture of 4 x 4, at its elements, half-way between them, at its borders, and far outside.
LATTICE = constant(torch.tensor([[[[-0.75, -0.25], [0.0, 0.5], [-1.0, 1.0], [1e30, 0.1], [-1e30, -3.25]]]]))
SQUARE = real(1, 1, 4, 4)


def coordinates(*shape: int) -> Sample:
    """Places, nearly all of them in the picture."""
    return Sample(shape, lambda dtype: (0.4 * torch.randn(shape, dtype=torch.float64)).to(dtype))


ROWS: tuple[Layer, ...] = (
    Layer(
        None,
        (grid.AffineGridFunction,),
        grid.affine_grid,
        (
            call(real(2, 2, 3), size=(2, 1, 3, 4), align_corners=False),
            call(real(2, 2, 3), size=(2, 1, 2, 3), align_corners=True),
            call(
                real(2, 3, 4),
                size=(2, 1, 2, 2, 3),
                align_corners=False,
                cannot={"test_empty_batch": "a size of 0 is refused, as in torch"},
            ),
        ),
        saves_no_input=True,
        sizes=(
            call(real(128, 2, 3), size=(128, 1, 28, 28), align_corners=False),
            call(real(32, 2, 3), size=(32, 3, 112, 112), align_corners=False),
            call(real(32, 2, 3), size=(32, 3, 224, 224), align_corners=False),
        ),
    ),
    Layer(
        None,
        (grid.GridSampleFunction,),
        grid.grid_sample,
        (
            call(PICTURE, PLACES, align_corners=False),
            call(PICTURE, PLACES, mode="bilinear", padding_mode="border", align_corners=True),
            call(PICTURE, PLACES, mode="bilinear", padding_mode="reflection", align_corners=False),
            call(PICTURE, PLACES, mode="nearest", align_corners=False),
            call(PICTURE, PLACES, mode="bicubic", padding_mode="zeros", align_corners=False),
            call(PICTURE, PLACES, mode="bicubic", padding_mode="border", align_corners=False),
            call(PICTURE, PLACES, mode="bicubic", padding_mode="reflection", align_corners=True),
            call(VOLUME, PLACES_3D, align_corners=True),
            call(VOLUME, PLACES_3D, padding_mode="reflection", align_corners=True),
            call(VOLUME, PLACES_3D, mode="nearest", padding_mode="border", align_corners=False),
            call(real(0, 2, 4, 3), real(0, 2, 3, 2), align_corners=False),
        ),
        edges=tuple(
            call(SQUARE, LATTICE, mode=mode, padding_mode=padding_mode, align_corners=align_corners)
            for mode in grid.MODES
            for padding_mode in grid.PADDINGS
            for align_corners in (False, True)
        ),
        note="torch's cannot be differentiated twice",
        sizes=(
            call(real(128, 1, 28, 28), coordinates(128, 28, 28, 2), align_corners=False),
            call(real(16, 32, 56, 56), coordinates(16, 56, 56, 2), align_corners=False),
            call(real(16, 3, 224, 224), coordinates(16, 224, 224, 2), align_corners=False),
            call(real(4, 16, 56, 56), coordinates(4, 56, 56, 2), mode="bicubic", align_corners=False),
        ),
    ),
)
