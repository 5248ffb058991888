"""Whether the files that are open are still the files at the database's path.

On most systems a file can be deleted or moved while a program has it open. SQLite goes on writing to it
without an error, and nobody will ever read what it wrote.
"""

from __future__ import annotations

from pathlib import Path

from compute_router.protocol.errors import StorageUnavailableError


class FilesInPlace:
    """Remembers which files the database and its log were when it was opened."""

    __slots__ = ("_identities", "_paths")

    def __init__(self, database: Path) -> None:
        self._paths = (database, database.with_name(database.name + "-wal"))
        self._identities = [self._identity(path) for path in self._paths]

    def check(self) -> None:
        """See whether both are where they were.

        Raises:
            StorageUnavailableError: one of them is gone, or another file is in its place.
        """
        for path, identity in zip(self._paths, self._identities, strict=True):
            if self._identity(path) != identity:
                raise StorageUnavailableError(
                    f"The file {path} was deleted, moved or replaced while it was in use. "
                    "Put it back, or stop the coordinator and restore the database from a backup."
                )

    @staticmethod
    def _identity(path: Path) -> tuple[int, int] | None:
        try:
            found = path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino
