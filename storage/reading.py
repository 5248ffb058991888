"""Opens a database beside the coordinator that uses it, to read it as it is at one moment."""

from __future__ import annotations

from pathlib import Path

import apsw

from compute_router.protocol.errors import ConfigurationError
from compute_router.storage.connection import DEFAULT_BUSY_TIMEOUT
from compute_router.storage.faults import FAULTS, unavailable
from compute_router.storage.migrate import check_origin, load_migrations


def open_for_reading(database: Path) -> apsw.Connection:
    """Open a database of ours, changing nothing, inside a transaction that sees one moment of it.

    Raises:
        ConfigurationError: there is no such file, or it is not a database of ours or of a newer version.
        StorageUnavailableError: it cannot be read.
    """
    if not database.is_file():
        raise ConfigurationError(f"{database} is not a file. Name the database of a coordinator.")
    try:
        connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    except FAULTS as error:
        raise unavailable(error) from error
    try:
        _begin(connection)
    except apsw.NotADBError as error:
        connection.close()
        raise ConfigurationError(f"{database} is not a database.") from error
    except FAULTS as error:
        connection.close()
        raise unavailable(error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _begin(connection: apsw.Connection) -> None:
    connection.set_busy_timeout(DEFAULT_BUSY_TIMEOUT)
    connection.execute("BEGIN")
    if not connection.execute("SELECT count(*) FROM sqlite_schema").get:
        raise ConfigurationError(f"{connection.filename} is empty. Name the database of a coordinator.")
    check_origin(connection, load_migrations())
