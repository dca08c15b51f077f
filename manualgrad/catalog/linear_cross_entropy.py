"""The rows of ``layers/linear_cross_entropy.py``."""

from __future__ import annotations

from .row import Layer

__all__ = ["ROWS"]

ROWS: tuple[Layer, ...] = ()
