"""Kernels for the CPU, in Numba: loops over memory, written in Python. File by file as in ``layers/``."""

from __future__ import annotations

from .. import Twin
from . import batchnorm_activation, normalization, piecewise

__all__ = ["TWINS"]

TWINS: dict[type, Twin] = {**batchnorm_activation.TWINS, **normalization.TWINS, **piecewise.TWINS}
