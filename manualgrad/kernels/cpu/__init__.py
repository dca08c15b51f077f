"""Kernels for the CPU, in Numba: loops over memory, written in Python. File by file as in ``layers/``."""

from __future__ import annotations

from .. import Twin
from . import (
    activation,
    batchnorm,
    batchnorm_activation,
    conv,
    dropout,
    exponential,
    gating,
    instancenorm,
    leaky,
    normalization,
    piecewise,
    pooling,
    rnn,
    rnn_cell,
)

__all__ = ["TWINS"]

TWINS: dict[type, Twin] = {
    **activation.TWINS,
    **batchnorm.TWINS,
    **batchnorm_activation.TWINS,
    **conv.TWINS,
    **dropout.TWINS,
    **exponential.TWINS,
    **gating.TWINS,
    **instancenorm.TWINS,
    **leaky.TWINS,
    **normalization.TWINS,
    **piecewise.TWINS,
    **pooling.TWINS,
    **rnn.TWINS,
    **rnn_cell.TWINS,
}
