"""To be written: rnn_cell."""

from __future__ import annotations

__all__: list[str] = []
