"""A disk that fails when it is told to: a file layer below a real SQLite, for any code that opens a store.

While a ``failing_disk()`` is there, every database of this process that is opened lies on it, among them
those of ``open_sqlite_store``. It may be told to fail from any thread.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Final

import apsw

_NUMBERS: Final = itertools.count(1)


class Operation(Enum):
    """What is done with a file."""

    READ = "read"
    WRITE = "write"
    SYNC = "sync"


ALL: Final = frozenset(Operation)
WRITING: Final = frozenset({Operation.WRITE, Operation.SYNC})


class FailingDisk(apsw.VFS):
    """The real disk, but for the failures it was told to have. ``failures`` counts those it had."""

    def __init__(self) -> None:
        self.name = f"failing-disk-{next(_NUMBERS)}"
        self.failures = 0
        self._fault: type[apsw.Error] | None = None
        self._operations: frozenset[Operation] = frozenset()
        self._to_spare = 0
        # By name: an empty one would mean the default, which this disk is about to be.
        self.real = apsw.vfs_names()[0]
        super().__init__(self.name, base=self.real, makedefault=True)

    def fail(
        self, fault: type[apsw.Error], operations: frozenset[Operation] = WRITING, *, after: int = 0
    ) -> None:
        """From now on let these operations fail, but for the first ``after`` of them.

        Reads fail with ``apsw.IOError`` only, as they do on real disks; SQLite is not made for others.
        """
        assert fault is apsw.IOError or Operation.READ not in operations
        self._operations, self._to_spare, self._fault = operations, after, fault

    def mend(self) -> None:
        """From now on let everything succeed."""
        self._fault = None

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> _File:  # noqa: N802 - SQLite's name
        return _File(self, name, flags)

    def about_to(self, operation: Operation) -> None:
        """Raise the fault if it is due."""
        if self._fault is None or operation not in self._operations:
            return
        if self._to_spare > 0:
            self._to_spare -= 1
            return
        self.failures += 1
        raise self._fault


class _File(apsw.VFSFile):
    """A file on that disk."""

    def __init__(self, disk: FailingDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        super().__init__(disk.real, name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - SQLite's name
        self._disk.about_to(Operation.READ)
        return bytes(super().xRead(amount, offset))

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.about_to(Operation.WRITE)
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.about_to(Operation.SYNC)
        super().xSync(flags)


@contextmanager
def failing_disk() -> Iterator[FailingDisk]:
    """A disk below every database that is opened meanwhile. Close these before its end."""
    disk = FailingDisk()
    try:
        yield disk
    finally:
        disk.mend()
        disk.unregister()
