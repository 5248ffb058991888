"""Brings a database to this version's schema: numbered SQL files, each in its own transaction."""

from __future__ import annotations

from importlib import resources
from typing import Final, NamedTuple

import apsw

from compute_router.protocol.errors import ConfigurationError, DatabaseTooNewError

APPLICATION_ID: Final = 0x43525452
"""Mark of our databases in the file's header (``CRTR``)."""


class Migration(NamedTuple):
    """One step of the schema: the ``user_version`` it leads to, and its statements."""

    version: int
    sql: str


def load_migrations() -> tuple[Migration, ...]:
    """The files ``migrations/NNNN_name.sql`` of this package in order of their numbers."""
    files = (resources.files("compute_router.storage") / "migrations").iterdir()
    return tuple(
        sorted(
            Migration(int(file.name[:4]), file.read_text("utf-8"))
            for file in files
            if file.name.endswith(".sql")
        )
    )


def check_origin(connection: apsw.Connection, migrations: tuple[Migration, ...]) -> None:
    """See to it that the database is new or ours, and not newer than this program. Changes nothing.

    Raises:
        DatabaseTooNewError: a newer version wrote it.
        ConfigurationError: it belongs to another program.
    """
    version = connection.pragma("user_version")
    latest = migrations[-1].version
    if version > latest:
        raise DatabaseTooNewError(
            f"{connection.filename} has schema version {version}, and this program knows versions up to "
            f"{latest}. Install a newer version, or choose another database path."
        )
    is_empty = connection.execute("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)").get
    if not (is_empty if version == 0 else connection.pragma("application_id") == APPLICATION_ID):
        raise ConfigurationError(
            f"{connection.filename} is a database of another program. Choose another database path."
        )


def migrate(connection: apsw.Connection, migrations: tuple[Migration, ...]) -> None:
    """Apply the migrations that the database does not have yet."""
    for migration in migrations:
        if migration.version > connection.pragma("user_version"):
            _apply(connection, migration)


def _apply(connection: apsw.Connection, migration: Migration) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(migration.sql)
        connection.pragma("user_version", migration.version)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
