"""The rows of ``layers/adaptive.py``."""

from __future__ import annotations

import torch

from ..layers import adaptive
from .row import Layer
from .samples import case, constant, given, index, real

__all__ = ["ROWS"]

ROWS: tuple[Layer, ...] = (
    Layer(
        adaptive.AdaptiveLogSoftmaxWithLoss,
        (adaptive.AdaptiveLogSoftmaxWithLossFunction,),
        adaptive.adaptive_log_softmax_with_loss,
        (
            case(4, 7, [2, 4], div_value=2.0, head_bias=True, inputs=(real(4, 4), given(0, 6, 3, 4))),
            case(4, 5, [2], inputs=(real(3, 4), given(1, 4, 4))),
            case(4, 5, [2], div_value=2.0, inputs=(real(4), constant(torch.tensor(3)))),
            case(4, 5, [2], head_bias=True, inputs=(real(2, 4), given(1, 0))),
        ),
        edges=(case(4, 5, [2], inputs=(real(0, 4), index(0, high=5))),),
        sizes=tuple(
            case(features, cutoffs[-1], cutoffs[:-1], inputs=(real(n, features), index(n, high=cutoffs[-1])))
            for n, features, cutoffs in (
                (128, 64, [100, 1000]),
                (256, 256, [1000, 4000, 10000]),
                (512, 256, [2000, 10000, 32000]),
            )
        ),
        note="log_prob is made of other layers; so is forward where head or tail are not torch's linear maps",
    ),
)
