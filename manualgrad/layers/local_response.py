"""To be written: local_response."""

from __future__ import annotations

__all__: list[str] = []
