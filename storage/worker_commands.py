"""What an operator may do with the records of worker keys: list them, look at one, lift a bar."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Final

from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.units import iso_from_unix_ms
from compute_router.storage import rows, worker_queries
from compute_router.storage.faults import FAULTS, unavailable
from compute_router.storage.interface import WorkerRecord
from compute_router.storage.reading import open_for_reading
from compute_router.storage.sqlite_store import open_sqlite_store

MOST_LISTED: Final = 10_000


def list_workers(database: Path) -> list[WorkerRecord]:
    """The records of the newest keys, newest first. The coordinator may run meanwhile.

    Raises:
        ConfigurationError: there is no such database, or its coordinator did not start with this version yet.
        StorageUnavailableError: it cannot be read.
    """
    return _read(database, worker_queries.NEWEST_WORKER_RECORDS, MOST_LISTED)


def find_worker(database: Path, pubkey: str) -> WorkerRecord | None:
    """The record of one key. Raises what :func:`list_workers` raises."""
    found = _read(database, worker_queries.WORKER_RECORD, pubkey)
    return found[0] if found else None


def unbar_worker(database: Path, pubkey: str) -> bool:
    """Let a barred key take part again; False when it is not barred.

    Raises:
        DatabaseInUseError: the coordinator runs; it knows the bar by heart, so it has to be stopped first.
        ConfigurationError: there is no such database, or it cannot be written.
        StorageUnavailableError: the disk failed; nothing was changed.
    """
    if not database.is_file():
        raise ConfigurationError(f"{database} is not a file. Name the database of a coordinator.")
    with closing(open_sqlite_store(database)) as store, store.transaction():
        return store.unbar_worker(pubkey)


def describe(record: WorkerRecord) -> str:
    """One record as a line."""
    counts = ", ".join(
        f"{number} {name}"
        for name, number in (
            ("completed", record.completed),
            ("failed", record.failed),
            ("rejected", record.rejected),
            ("lost", record.lost),
            ("wrong proofs", record.bad_receipts),
            ("audits agreed", record.audits_agreed),
            ("audits disagreed", record.audits_disagreed),
        )
    )
    line = f"{record.pubkey}  {counts}, last seen {iso_from_unix_ms(record.last_seen)}"
    if record.barred_at is None:
        return line
    return f"{line}\n  BARRED at {iso_from_unix_ms(record.barred_at)}: {record.barred_reason}"


def _read(database: Path, sql: str, binding: str | int) -> list[WorkerRecord]:
    with closing(open_for_reading(database)) as connection:
        try:
            if not connection.table_exists(None, "worker_records"):
                raise ConfigurationError(f"{database} is of an older version and holds no records yet.")
            return [rows.worker_record(row) for row in connection.execute(sql, (binding,))]
        except FAULTS as error:
            raise unavailable(error) from error
