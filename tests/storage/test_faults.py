"""A disk that fails, played by a file layer below a real SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from compute_router.protocol.errors import StorageUnavailableError
from compute_router.protocol.units import DurationMs
from compute_router.storage.session import Session
from compute_router.storage.sqlite_store import open_sqlite_store
from tests.storage.samples import a_job, insert

INSERT = "INSERT INTO notes VALUES (?1)"


class Disk(apsw.VFS):
    """The real disk, until ``failure`` is set: then every sync raises it."""

    def __init__(self) -> None:
        self.name = "failing-disk"
        self.failure: type[apsw.Error] | None = None
        super().__init__(self.name, base="")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> DiskFile:  # noqa: N802 - SQLite's name
        return DiskFile(self, name, flags)


class DiskFile(apsw.VFSFile):
    """A file on that disk."""

    def __init__(self, disk: Disk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        super().__init__("", name, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        if self._disk.failure is not None:
            raise self._disk.failure
        super().xSync(flags)


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.unregister()


@pytest.fixture
def connection(disk: Disk, tmp_path: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(tmp_path / "notes.db"), vfs=disk.name)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "FULL")
    connection.execute("CREATE TABLE notes (text TEXT PRIMARY KEY)")
    yield connection
    disk.failure = None
    connection.close()


def notes(session: Session) -> list[str]:
    return [text for (text,) in session.rows("SELECT text FROM notes ORDER BY text")]


def write(session: Session, *texts: str) -> None:
    with session:
        for text in texts:
            session.change(INSERT, (text,))


@pytest.mark.parametrize(
    ("failure", "advice"), [(apsw.IOError, "check it"), (apsw.FullError, "free some space")]
)
def test_a_commit_that_the_disk_refuses_stores_nothing_and_says_what_to_do(
    connection: apsw.Connection, disk: Disk, failure: type[apsw.Error], advice: str
) -> None:
    session = Session(connection)
    disk.failure = failure
    with pytest.raises(StorageUnavailableError, match=advice):
        write(session, "lost")
    assert not connection.in_transaction
    disk.failure = None
    assert notes(session) == []


def test_a_store_works_again_when_the_disk_does(connection: apsw.Connection, disk: Disk) -> None:
    session = Session(connection)
    disk.failure = apsw.FullError
    with pytest.raises(StorageUnavailableError):
        write(session, "lost")
    disk.failure = None
    write(session, "kept")
    assert notes(session) == ["kept"]


def fill_up(connection: apsw.Connection) -> None:
    """Let the database grow no further."""
    connection.pragma("max_page_count", connection.pragma("page_count"))


def test_a_full_database_refuses_a_change_and_undoes_the_transaction(connection: apsw.Connection) -> None:
    session = Session(connection)
    fill_up(connection)
    with pytest.raises(StorageUnavailableError, match="free some space"):
        write(session, "small", "x" * 100_000)
    assert notes(session) == []


def test_a_transaction_with_a_fault_takes_no_more_changes_and_cannot_commit(
    connection: apsw.Connection,
) -> None:
    session = Session(connection)
    fill_up(connection)
    refused = []

    def swallow_refusals() -> None:
        with session:
            for text in ("before", "x" * 100_000, "after"):
                try:
                    session.change(INSERT, (text,))
                except StorageUnavailableError:
                    refused.append(text[:6])

    with pytest.raises(StorageUnavailableError, match="free some space"):
        swallow_refusals()
    assert refused == ["xxxxxx", "after"]
    assert notes(session) == []


def test_mistakes_in_sql_are_not_taken_for_faults_of_the_disk(connection: apsw.Connection) -> None:
    session = Session(connection)
    with pytest.raises(apsw.SQLError):
        session.read("SELECT * FROM nowhere")


def test_a_database_that_another_program_keeps_locked_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "coordinator.db"
    store = open_sqlite_store(path, busy_timeout=DurationMs(1))
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailableError, match="let it finish"):
        insert(store, a_job())
    other.execute("ROLLBACK")
    insert(store, a_job())
    assert store.job_view("job-1") is not None
    other.close()
    store.close()
