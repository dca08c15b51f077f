"""To be written: lp_pooling."""

from __future__ import annotations

__all__: list[str] = []
