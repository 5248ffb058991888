"""Where blocking code differs from asyncio. ``async_io`` has the same names for the asyncio client."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

Sleep: TypeAlias = Callable[[float], None]
"""Waits for so many seconds."""

sleep: Sleep = time.sleep


def use_files(act: Callable[[], None]) -> None:
    """Do something that blocks, here and now."""
    act()
