"""What msgspec found wrong with somebody's JSON, as a sentence for him."""

from __future__ import annotations

from typing import Final

_MAX_CHARS: Final = 300


def complaint(error: Exception) -> str:
    """The error as a sentence. It may quote what was sent, so a long one is cut."""
    text = str(error)
    return f"{text}." if len(text) <= _MAX_CHARS else f"{text[:_MAX_CHARS]}..."
