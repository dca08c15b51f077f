"""To be written: adaptive."""

from __future__ import annotations

__all__: list[str] = []
