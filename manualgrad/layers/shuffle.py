"""To be written: shuffle."""

from __future__ import annotations

__all__: list[str] = []
