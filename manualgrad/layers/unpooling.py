"""To be written: unpooling."""

from __future__ import annotations

__all__: list[str] = []
