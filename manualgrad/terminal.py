"""When to print in colour."""

from __future__ import annotations

import os
from typing import TextIO

__all__ = ["coloured"]


def coloured(stream: TextIO) -> bool:
    """Whether ``stream`` is a terminal whose user did not ask for no colours (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")
