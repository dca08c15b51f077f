"""To be written: margin_loss."""

from __future__ import annotations

__all__: list[str] = []
