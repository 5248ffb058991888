"""The store on SQLite: one file, one coordinator."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.units import DurationMs, UnixMs
from compute_router.storage import state_queries as queries
from compute_router.storage.connection import DEFAULT_BUSY_TIMEOUT, open_connection
from compute_router.storage.file_lock import FileLock
from compute_router.storage.files_in_place import FilesInPlace
from compute_router.storage.interface import Store
from compute_router.storage.own_network import hold_to_network
from compute_router.storage.session import Session
from compute_router.storage.sqlite_jobs import SqliteJobs
from compute_router.storage.sqlite_keys import SqliteKeys
from compute_router.storage.sqlite_money import SqliteMoney
from compute_router.storage.sqlite_trust import SqliteTrust
from compute_router.storage.sqlite_workers import SqliteWorkers

_ALIVE: Final = "alive_at_ms"


def open_sqlite_store(
    path: Path, busy_timeout: DurationMs = DEFAULT_BUSY_TIMEOUT, *, network: str | None = None
) -> SqliteStore:
    """Open or create the database at ``path`` and hold it alone until the store is closed.

    ``network`` is the CAIP-2 id of the chain that it must be of; None: of any. Symbolic links are followed
    first, so that two names of one file share one lock.

    Raises:
        DatabaseInUseError: another coordinator holds it.
        DatabaseTooNewError: a newer version wrote it.
        ConfigurationError: it is not ours or no database, of another chain, or it cannot be written.
    """
    database = path.resolve()
    if not database.parent.is_dir():
        raise ConfigurationError(
            f"{database.parent} is not a directory. Create it, or choose another database path."
        )
    lock = FileLock(database)
    try:
        session = Session(open_connection(database, busy_timeout), FilesInPlace(database).check)
        try:
            if network is not None:
                hold_to_network(session, database, network)
        except BaseException:
            session.close()
            raise
        return SqliteStore(session, lock)
    except BaseException:
        lock.release()
        raise


class SqliteStore(SqliteJobs, SqliteTrust, SqliteKeys, SqliteWorkers, SqliteMoney, Store):
    """See :class:`~compute_router.storage.interface.Store`.

    Every call raises :class:`StorageUnavailableError` when the disk or the file fails. Constraint
    violations, such as a second job with one id, are mistakes of the caller and come as apsw raises them.
    """

    def __init__(self, session: Session, lock: FileLock) -> None:
        self._session = session
        self._lock = lock

    def transaction(self) -> AbstractContextManager[None]:
        return self._session

    def close(self) -> None:
        try:
            self._session.close()
        finally:
            self._lock.release()

    def note_alive(self, now: UnixMs) -> None:
        self._session.change(queries.PUT_STATE, (_ALIVE, now))

    def last_alive(self) -> UnixMs | None:
        at: int | None = self._session.read(queries.STATE, (_ALIVE,))
        return None if at is None else UnixMs(at)
