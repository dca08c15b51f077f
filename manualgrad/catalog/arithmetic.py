"""The rows of ``layers/arithmetic.py``."""

from __future__ import annotations

from ..layers import arithmetic
from .row import Layer
from .samples import call, real

__all__ = ["ROWS"]


def as_list(*tensors) -> tuple:
    """The tensors as one argument."""
    return (list(tensors),)


ROWS: tuple[Layer, ...] = (
    Layer(
        None,
        (arithmetic.AddFunction,),
        arithmetic.add,
        (
            call(real(4, 3), real(4, 3)),
            call(real(4, 1, 3), real(2, 1)),
            call(real(3), real()),
            call(real(0, 3), real(3)),
        ),
        saves_no_input=True,
        sizes=(
            call(real(128, 49, 64), real(128, 49, 64)),
            call(real(32, 64, 56, 56), real(32, 64, 56, 56)),
            call(real(8, 1024, 768), real(1024, 768)),
        ),
    ),
    Layer(
        None,
        (arithmetic.ConcatenateFunction,),
        arithmetic.concatenate,
        (
            call(real(4, 3), real(4, 2), real(4, 1), dim=1, arrange=as_list),
            call(real(3), real(2), dim=0, arrange=as_list),
            call(real(2, 1, 3), real(2, 2, 3), dim=-2, arrange=as_list),
            call(real(0, 3), real(0, 2), dim=1, arrange=as_list),
        ),
        saves_no_input=True,
        sizes=(
            call(real(128, 16, 14, 14), real(128, 16, 14, 14), dim=1, arrange=as_list),
            call(real(32, 64, 28, 28), real(32, 128, 28, 28), dim=1, arrange=as_list),
            call(real(28, 128, 256), real(28, 128, 256), dim=-1, arrange=as_list),
        ),
    ),
)
