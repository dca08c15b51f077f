"""Kernels for the CPU, in Numba: loops over memory, written in Python. File by file as in ``layers/``."""

from __future__ import annotations

from .. import Twin
from . import (
    activation,
    arithmetic,
    attention,
    batchnorm,
    batchnorm_activation,
    conv,
    cross_entropy,
    dropout,
    exponential,
    gating,
    grid,
    instancenorm,
    leaky,
    loss,
    normalization,
    padding,
    piecewise,
    pooling,
    rnn,
    rnn_cell,
    softmax,
    sparse,
    sync_batchnorm,
    upsampling,
)

__all__ = ["TWINS"]

TWINS: dict[type, Twin] = {
    **activation.TWINS,
    **arithmetic.TWINS,
    **attention.TWINS,
    **batchnorm.TWINS,
    **batchnorm_activation.TWINS,
    **conv.TWINS,
    **cross_entropy.TWINS,
    **dropout.TWINS,
    **exponential.TWINS,
    **gating.TWINS,
    **grid.TWINS,
    **instancenorm.TWINS,
    **leaky.TWINS,
    **loss.TWINS,
    **normalization.TWINS,
    **padding.TWINS,
    **piecewise.TWINS,
    **pooling.TWINS,
    **rnn.TWINS,
    **rnn_cell.TWINS,
    **softmax.TWINS,
    **sparse.TWINS,
    **sync_batchnorm.TWINS,
    **upsampling.TWINS,
}
