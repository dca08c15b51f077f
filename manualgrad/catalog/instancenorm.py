"""The rows of ``layers/instancenorm.py``."""

from __future__ import annotations

from .row import Layer

__all__ = ["ROWS"]

ROWS: tuple[Layer, ...] = ()
