"""Where asyncio differs from blocking code. ``sync_io`` has the same names for the blocking client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

Sleep: TypeAlias = Callable[[float], Awaitable[None]]
"""Waits for so many seconds."""

sleep: Sleep = asyncio.sleep


async def use_files(act: Callable[[], None]) -> None:
    """Do something that blocks, on a thread of its own, so that the event loop does not wait for it."""
    await asyncio.to_thread(act)
