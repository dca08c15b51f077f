"""To be written: upsampling."""

from __future__ import annotations

__all__: list[str] = []
