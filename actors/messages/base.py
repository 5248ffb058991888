"""What all messages between actors have in common."""

from __future__ import annotations

import msgspec


class Message(msgspec.Struct, frozen=True, gc=False):
    """Base of all messages."""
