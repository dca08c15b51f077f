"""Kernels for the CPU, in Numba: loops over memory, written in Python. File by file as in ``layers/``."""

from __future__ import annotations

from .. import Twin
from . import cross_entropy, loss, normalization, piecewise, pooling, softmax

__all__ = ["TWINS"]

TWINS: dict[type, Twin] = {
    **cross_entropy.TWINS,
    **loss.TWINS,
    **normalization.TWINS,
    **piecewise.TWINS,
    **pooling.TWINS,
    **softmax.TWINS,
}
