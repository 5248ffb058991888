"""Opens the coordinator's database file: the checks, settings and schema that make it ready for use."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import apsw
import apsw.bestpractice
import apsw.ext

from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.units import DurationMs
from compute_router.storage.faults import FAULTS
from compute_router.storage.file_modes import create_private, warn_if_open_to_others
from compute_router.storage.migrate import check_origin, load_migrations, migrate

DEFAULT_BUSY_TIMEOUT: Final = DurationMs(5_000)
"""How long to wait for another tool, such as a backup, that holds the database."""

_MIB: Final = 1024 * 1024
_WAL_BYTES_KEPT: Final = 64 * _MIB
_CACHE_KIB: Final = 64 * 1024

_logger = logging.getLogger(__name__)


def open_connection(path: Path, busy_timeout: DurationMs = DEFAULT_BUSY_TIMEOUT) -> apsw.Connection:
    """Open or create the database at this path, bring its schema up to date and make it durable.

    A new one is for its owner alone; one that others may read is used, with a warning in the log.

    Raises:
        DatabaseTooNewError: a newer version wrote it.
        ConfigurationError: it is not ours or no database, or it cannot be written.
    """
    create_private(path)
    try:
        connection = apsw.Connection(str(path))
    except FAULTS as error:
        raise _not_usable(path, error) from error
    try:
        _prepare(connection, path, busy_timeout)
    except FAULTS as error:
        connection.close()
        raise _not_usable(path, error) from error
    except BaseException:
        connection.close()
        raise
    # SQLite's log holds details that its error codes leave out. Below ERROR, because whatever is
    # wrong also reaches a caller as an exception; after opening, so that a failed start says one thing.
    apsw.ext.log_sqlite(level=logging.WARNING, logger=_logger)
    warn_if_open_to_others(path)
    return connection


def _prepare(connection: apsw.Connection, path: Path, busy_timeout: DurationMs) -> None:
    migrations = load_migrations()
    connection.set_busy_timeout(busy_timeout)
    check_origin(connection, migrations)
    if connection.readonly("main"):
        raise ConfigurationError(f"{path} is read-only. Make it writable, or choose another database path.")
    _apply_settings(connection, path)
    migrate(connection, migrations)


def _apply_settings(connection: apsw.Connection, path: Path) -> None:
    """apsw's best practice, without ``connection_optimize``, and without the hook for all connections.

    Each query here has one index that fits. Statistics could only move the planner away from it, say
    to reading a whole table that was small when they were taken.
    """
    apsw.bestpractice.connection_wal(connection)
    if connection.pragma("journal_mode") != "wal":
        raise ConfigurationError(
            f"The file system of {path} does not support write-ahead logging. "
            "Choose a database path on a local disk."
        )
    apsw.bestpractice.connection_enable_foreign_keys(connection)
    apsw.bestpractice.connection_dqs(connection)
    apsw.bestpractice.connection_recursive_triggers(connection)
    connection.pragma("synchronous", "FULL")
    connection.pragma("journal_size_limit", _WAL_BYTES_KEPT)
    # Negative: KiB instead of pages.
    connection.pragma("cache_size", -_CACHE_KIB)


def _not_usable(path: Path, error: apsw.Error) -> ConfigurationError:
    if isinstance(error, apsw.NotADBError):
        return ConfigurationError(f"{path} is not a database. Move it away, or choose another database path.")
    if isinstance(error, apsw.CorruptError):
        return ConfigurationError(f"{path} is damaged. Restore it from a backup, or move it away.")
    return ConfigurationError(
        f"{path} cannot be opened for writing ({error}). Make it and its directory writable, or choose "
        "another database path."
    )
