"""Kernels for the CPU, in Numba: loops over memory, written in Python. File by file as in ``layers/``."""

from __future__ import annotations

from .. import Twin
from . import batchnorm, instancenorm, normalization, piecewise, sync_batchnorm

__all__ = ["TWINS"]

TWINS: dict[type, Twin] = {
    **batchnorm.TWINS,
    **instancenorm.TWINS,
    **normalization.TWINS,
    **piecewise.TWINS,
    **sync_batchnorm.TWINS,
}
