"""Kernels of ``layers/adaptive.py`` and ``linear_cross_entropy.py``: a slope in the place of its logits.

The logits of both are made in forward, and are nobody else's. So a row that is in the cache gives its score,
and then its slope takes its place: there is one memory of that size, written twice.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from ...layers.adaptive import AdaptiveLogSoftmaxWithLossFunction, scores_and_slopes
from ...layers.cross_entropy import KEPT_FROM
from ...layers.linear_cross_entropy import LinearCrossEntropyLossFunction
from .. import Twin
from ._jit import compiled
from ._math import exp
from .cross_entropy import log_sum_exp

__all__ = ["TWINS"]


@compiled(z="rows, classes", column="int64: rows", score="rows")
def score_rows(z, column, score, rows, classes, keep, ignore_index):
    """log softmax(z)_column, and with ``keep`` softmax(z) − δ in the place of z; 0 where it is ignored."""
    T = z.dtype.type
    for row in prange(rows):
        zs = z[row]
        ignored = column[row] == ignore_index
        lse = log_sum_exp(zs)
        lse = lse if lse < np.inf else T(np.nan)
        score[row] = T(0) if ignored else zs[column[row]] - lse
        if keep:
            counts = T(0) if ignored else T(1)
            for c in range(classes):
                zs[c] = counts * exp(zs[c] - lse)
            if not ignored:
                zs[column[row]] -= T(1)


def score_and_slope(logits: Tensor, column: Tensor, keep: bool) -> tuple[Tensor, Tensor | None]:
    score = torch.empty(column.shape, dtype=logits.dtype)
    score_rows(logits, column, score, *logits.shape, keep, -1)
    return score, logits if keep else None


class AdaptiveLogSoftmaxWithLossCPU(AdaptiveLogSoftmaxWithLossFunction):
    @staticmethod
    def forward(x, head_weight, head_bias, target, cutoffs, keep, dtype, *clusters):
        y, slopes = scores_and_slopes(
            score_and_slope, x, head_weight, head_bias, target.contiguous(), cutoffs, keep, clusters
        )
        return y, -y.mean(), *slopes


class LinearCrossEntropyLossCPU(LinearCrossEntropyLossFunction):
    @staticmethod
    def forward(
        x, linear_weight, linear_bias, target, weight, ignore_index, reduction, smoothing, rows, keep, dtype
    ):
        classes, _, features = linear_weight.shape
        bias = None if linear_bias is None else linear_bias.reshape(classes)
        z = torch.nn.functional.linear(x, linear_weight.reshape(classes, features), bias)
        score = torch.empty(target.shape, dtype=x.dtype)
        score_rows(z, target.contiguous(), score, *z.shape, keep, ignore_index)
        if reduction == "none":
            return -score, z
        total = -score.sum()
        return total / (target != ignore_index).sum() if reduction == "mean" else total, z


def clusters_known(x, head_weight, head_bias, target, cutoffs, keep, dtype, *clusters):
    return dtype == x.dtype and all(rows is not None for rows in clusters[2::3])


def single_chunk(x, linear_weight, linear_bias, target, weight, ignore_index, reduction, smoothing, *rest):
    _, keep, dtype = rest
    return keep and weight is None and smoothing == 0 and dtype == x.dtype


TWINS = {
    AdaptiveLogSoftmaxWithLossFunction: Twin(
        AdaptiveLogSoftmaxWithLossCPU,
        takes=clusters_known,
        asks="targets that can be looked at",
    ),
    LinearCrossEntropyLossFunction: Twin(
        LinearCrossEntropyLossCPU,
        takes=single_chunk,
        asks=f"a gradient, {KEPT_FROM} samples, logits no larger than input or weight, no class weights, "
        "no smoothing",
    ),
}
