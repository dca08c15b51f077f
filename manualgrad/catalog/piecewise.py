"""The rows of ``layers/piecewise.py``."""

from __future__ import annotations

from ..layers import piecewise
from .activation import elementwise
from .row import Layer

__all__ = ["ROWS"]

ROWS: tuple[Layer, ...] = (
    elementwise(piecewise.ReLU, piecewise.ReLUFunction, piecewise.relu),
    elementwise(piecewise.ReLU6, piecewise.HardtanhFunction, piecewise.relu6),
    elementwise(
        piecewise.Hardtanh, piecewise.HardtanhFunction, piecewise.hardtanh, {"min_val": -0.5, "max_val": 3.0}
    ),
    elementwise(piecewise.Hardsigmoid, piecewise.HardsigmoidFunction, piecewise.hardsigmoid),
    elementwise(piecewise.Hardswish, piecewise.HardswishFunction, piecewise.hardswish),
    elementwise(
        piecewise.Hardshrink,
        piecewise.HardshrinkFunction,
        piecewise.hardshrink,
        {"lambd": 1.0},
        {"lambd": -1.0},
    ),
    elementwise(
        piecewise.Softshrink,
        piecewise.SoftshrinkFunction,
        piecewise.softshrink,
        {"lambd": 1.0},
        {"lambd": 0.0},
    ),
    elementwise(
        piecewise.Threshold,
        piecewise.ThresholdFunction,
        piecewise.threshold,
        {"threshold": 0.5, "value": -7.0},
        required=True,
    ),
)
