"""The rows of ``layers/margin_loss.py``."""

from __future__ import annotations

from .row import Layer

__all__ = ["ROWS"]

ROWS: tuple[Layer, ...] = ()
