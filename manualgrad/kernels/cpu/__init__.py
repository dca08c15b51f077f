"""Kernels for the CPU, in Numba: loops over memory, written in Python. File by file as in ``layers/``."""

from __future__ import annotations

from .. import Twin
from . import (
    activation,
    attention,
    batchnorm,
    batchnorm_activation,
    conv,
    cross_entropy,
    distance,
    dropout,
    exponential,
    gating,
    instancenorm,
    leaky,
    loss,
    multi_margin_loss,
    normalization,
    piecewise,
    pooling,
    rnn,
    rnn_cell,
    softmax,
    sync_batchnorm,
)

__all__ = ["TWINS"]

TWINS: dict[type, Twin] = {
    **activation.TWINS,
    **attention.TWINS,
    **batchnorm.TWINS,
    **batchnorm_activation.TWINS,
    **conv.TWINS,
    **cross_entropy.TWINS,
    **distance.TWINS,
    **dropout.TWINS,
    **exponential.TWINS,
    **gating.TWINS,
    **instancenorm.TWINS,
    **leaky.TWINS,
    **loss.TWINS,
    **multi_margin_loss.TWINS,
    **normalization.TWINS,
    **piecewise.TWINS,
    **pooling.TWINS,
    **rnn.TWINS,
    **rnn_cell.TWINS,
    **softmax.TWINS,
    **sync_batchnorm.TWINS,
}
