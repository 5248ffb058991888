"""What the Janitor is told."""

from __future__ import annotations

from compute_router.actors.messages.base import Message


class CleanUp(Message, frozen=True):
    """Time to look for things that are too old."""
