"""The row of ``layers/sync_batchnorm.py``."""

from __future__ import annotations

from ..layers import batchnorm, sync_batchnorm
from .row import Layer
from .samples import case, plane, real

__all__ = ["ROWS"]

X = plane(1, 3, 2, extra=-2)

ROWS: tuple[Layer, ...] = (
    Layer(
        sync_batchnorm.SyncBatchNorm,
        (
            sync_batchnorm.SyncBatchNormFunction,
            batchnorm.BatchNormFunction,
            batchnorm.BatchNormEvalFunction,
        ),
        sync_batchnorm.sync_batch_norm,
        (
            case(2, inputs=X),
            case(2, inputs=X, training=False),
            case(2, affine=False, inputs=X),
            case(2, bias=False, inputs=X),
            case(2, momentum=None, eps=1e-3, inputs=real(4, 2)),
            case(2, track_running_stats=False, inputs=plane(2, 3, 2, extra=-2)),
            case(2, track_running_stats=False, inputs=X, training=False),
        ),
        edges=(case(2, inputs=real(0, 2, 3), training=False),),
        sizes=(
            case(32, inputs=real(128, 32, 28, 28)),
            case(64, inputs=real(32, 64, 56, 56)),
            case(64, inputs=real(16, 64, 112, 112)),
        ),
        note="in one process, as here, it is BatchNorm; tests/test_sync_batchnorm.py runs it in two",
    ),
)
