"""One coordinator for each database: a lock that dies with its holder.

The lock is an exclusive transaction on a second, empty SQLite file beside the database. It works wherever
SQLite does, between processes and inside one, and leaves the database itself readable by other tools.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import apsw

from compute_router.protocol.errors import ConfigurationError, DatabaseInUseError
from compute_router.storage.faults import FAULTS
from compute_router.storage.file_modes import create_private

# Of two that start at the same moment one must win; without patience each could give way to the other.
_PATIENCE_MS: Final = 100


class FileLock:
    """Holds a database for the life of this object, or of this process."""

    def __init__(self, database: Path) -> None:
        """Take the lock of the database at this real path.

        Raises:
            DatabaseInUseError: somebody else holds it.
            ConfigurationError: the lock's file cannot be made or read.
        """
        path = database.with_name(database.name + "-lock")
        # Whoever can read the lock's file could take the lock himself.
        create_private(path)
        try:
            self._connection = apsw.Connection(str(path))
            self._connection.set_busy_timeout(_PATIENCE_MS)
            self._connection.execute("BEGIN EXCLUSIVE")
        except apsw.BusyError:
            self._connection.close()
            raise DatabaseInUseError(
                f"Another coordinator uses {database}. Stop it, or choose another database path."
            ) from None
        except FAULTS as error:
            raise ConfigurationError(
                f"The lock file {path} cannot be written ({error}). Make its directory and itself "
                "writable, or choose another database path."
            ) from error

    def release(self) -> None:
        """Give the lock up. Calling it twice is harmless."""
        self._connection.close()
