"""Numbers of things in sentences."""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """``1 job``, ``2 jobs``: a number and what it counts."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
