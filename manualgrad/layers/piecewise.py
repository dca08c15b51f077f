"""To be written: piecewise."""

from __future__ import annotations

__all__: list[str] = []
