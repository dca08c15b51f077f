"""Kernels for the CPU, in Numba: loops over memory, written in Python. File by file as in ``layers/``."""

from __future__ import annotations

from .. import Twin
from . import (
    activation,
    add_layernorm,
    attention,
    batchnorm,
    batchnorm_activation,
    conv,
    conv_batchnorm,
    cross_entropy,
    dropout,
    exponential,
    gating,
    instancenorm,
    leaky,
    linear_activation,
    loss,
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
    **add_layernorm.TWINS,
    **attention.TWINS,
    **batchnorm.TWINS,
    **batchnorm_activation.TWINS,
    **conv.TWINS,
    **conv_batchnorm.TWINS,
    **cross_entropy.TWINS,
    **dropout.TWINS,
    **exponential.TWINS,
    **gating.TWINS,
    **instancenorm.TWINS,
    **leaky.TWINS,
    **linear_activation.TWINS,
    **loss.TWINS,
    **normalization.TWINS,
    **piecewise.TWINS,
    **pooling.TWINS,
    **rnn.TWINS,
    **rnn_cell.TWINS,
    **softmax.TWINS,
    **sync_batchnorm.TWINS,
}
