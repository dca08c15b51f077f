"""Kernels for the CPU, in Numba: loops over memory, written in Python. File by file as in ``layers/``."""

from __future__ import annotations

from .. import Twin
from . import normalization, piecewise, rnn, rnn_cell

__all__ = ["TWINS"]

TWINS: dict[type, Twin] = {**normalization.TWINS, **piecewise.TWINS, **rnn.TWINS, **rnn_cell.TWINS}
