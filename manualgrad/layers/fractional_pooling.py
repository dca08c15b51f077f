"""To be written: fractional_pooling."""

from __future__ import annotations

__all__: list[str] = []
