"""The rows of ``layers/exponential.py``."""

from __future__ import annotations

from ..layers import exponential
from .activation import elementwise
from .row import Layer

__all__ = ["ROWS"]

ROWS: tuple[Layer, ...] = (
    elementwise(exponential.ELU, exponential.ELUFunction, exponential.elu, {"alpha": 0.7}),
    # torch takes 1/alpha in single precision: of these it is exact
    elementwise(
        exponential.CELU, exponential.CELUFunction, exponential.celu, {"alpha": 2.0}, {"alpha": -0.5}
    ),
    elementwise(exponential.SELU, exponential.SELUFunction, exponential.selu),
)
