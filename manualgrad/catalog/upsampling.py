"""The rows of ``layers/upsampling.py``."""

from __future__ import annotations

from .row import Layer

__all__ = ["ROWS"]

ROWS: tuple[Layer, ...] = ()
