"""To be written: ctc."""

from __future__ import annotations

__all__: list[str] = []
