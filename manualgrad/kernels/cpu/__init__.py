"""Kernels for the CPU, in Numba: loops over memory, written in Python. File by file as in ``layers/``."""

from __future__ import annotations

from .. import Twin
from . import activation, dropout, exponential, gating, leaky, normalization, piecewise

__all__ = ["TWINS"]

TWINS: dict[type, Twin] = {
    **activation.TWINS,
    **dropout.TWINS,
    **exponential.TWINS,
    **gating.TWINS,
    **leaky.TWINS,
    **normalization.TWINS,
    **piecewise.TWINS,
}
