"""The disk under a coordinator's database, in a test's hands: full, slow, or sound."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

from compute_router.protocol.errors import StorageUnavailableError
from compute_router.storage.interface import Store

PATIENCE_SECONDS: Final = 20.0


class Disk:
    """What every store that was opened through it writes to.

    The coordinator's store runs in a thread of its own; a test changes ``full`` and stalls the disk from the
    event loop.
    """

    def __init__(self) -> None:
        self.full = False
        self._full_after: int | None = None
        self._may_write = threading.Event()
        self._may_write.set()
        self._waits = threading.Event()

    def opened(self, open_store: Callable[[], Store]) -> Callable[[], Store]:
        """The same opening, for a store that writes to this disk."""
        return lambda: cast("Store", _DiskStore(open_store(), self))

    def fail_after(self, commits: int) -> None:
        """Be full when so many more transactions have been written."""
        self._full_after = commits

    def stall(self) -> None:
        """Have the next transaction wait until :meth:`go_on`."""
        self._waits.clear()
        self._may_write.clear()

    async def stalled(self) -> None:
        """Wait until a transaction waits for the disk."""
        assert await asyncio.to_thread(self._waits.wait, PATIENCE_SECONDS), "nothing was written"

    def go_on(self) -> None:
        """Let everything that waits be written."""
        self._may_write.set()

    @contextmanager
    def write(self) -> Iterator[None]:
        """What one transaction goes through."""
        if not self._may_write.is_set():
            self._waits.set()
            assert self._may_write.wait(PATIENCE_SECONDS), "the disk was never let go on"
        yield
        if self.full:
            raise StorageUnavailableError("The database cannot be written: database or disk is full.")
        if self._full_after is not None:
            self._full_after -= 1
            if not self._full_after:
                self.full, self._full_after = True, None


class _DiskStore:
    """A store whose transactions go through a :class:`Disk`."""

    def __init__(self, inner: Store, disk: Disk) -> None:
        self._inner = inner
        self._disk = disk

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._inner.transaction(), self._disk.write():
            yield

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
