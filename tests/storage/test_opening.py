from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from compute_router.protocol.errors import ConfigurationError, DatabaseInUseError
from compute_router.storage.connection import open_connection
from compute_router.storage.sqlite_store import open_sqlite_store
from tests.storage.samples import a_job, insert

NOBODY = 65534


@contextmanager
def as_an_ordinary_user() -> Iterator[None]:
    """File permissions do not bind root, and tests often run as root in containers."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user can reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o777)
        yield directory


def test_a_new_database_is_durable_and_keeps_its_references(tmp_path: Path) -> None:
    connection = open_connection(tmp_path / "coordinator.db")
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("synchronous") == 2  # FULL
    assert connection.pragma("foreign_keys") == 1
    assert connection.pragma("integrity_check") == "ok"
    connection.close()


def test_a_path_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    open_sqlite_store(Path("solana.db")).close()
    assert (tmp_path / "solana.db").is_file()


def test_a_store_may_be_opened_by_one_thread_and_used_and_closed_by_another(tmp_path: Path) -> None:
    store = open_sqlite_store(tmp_path / "coordinator.db")
    with ThreadPoolExecutor(1) as other:
        other.submit(insert, store, a_job()).result()
        other.submit(store.close).result()
    open_sqlite_store(tmp_path / "coordinator.db").close()


def test_what_sqlite_has_to_say_goes_to_our_log_below_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_sqlite_store(tmp_path / "coordinator.db")
    insert(store, a_job())
    with pytest.raises(apsw.ConstraintError):
        insert(store, a_job())
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("compute_router.storage.connection", "WARNING")
    assert "jobs.id" in record.getMessage()
    store.close()


@pytest.mark.parametrize("text", ["this is no database, but long enough to look at" * 20, "short"])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"notes\.txt is not a database\. Move it away"):
        open_sqlite_store(path)
    assert path.read_text() == text


def test_a_refused_database_can_be_tried_again_at_once(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("this is no database" * 100)
    for _ in range(2):
        with pytest.raises(ConfigurationError) as refusal:
            open_sqlite_store(path)
        assert not isinstance(refusal.value, DatabaseInUseError)
    path.unlink()
    open_sqlite_store(path).close()


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "photos.db"
    other = apsw.Connection(str(path))
    other.execute("CREATE TABLE photos (id INTEGER PRIMARY KEY)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="another program"):
        open_sqlite_store(path)
    assert path.read_bytes() == before


def test_a_database_of_another_program_with_a_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "photos.db"
    other = apsw.Connection(str(path))
    other.execute("CREATE TABLE photos (id INTEGER PRIMARY KEY); PRAGMA user_version = 1")
    other.close()
    with pytest.raises(ConfigurationError, match="another program"):
        open_sqlite_store(path)


def test_a_directory_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing is not a directory\. Create it"):
        open_sqlite_store(tmp_path / "missing" / "coordinator.db")


def test_a_directory_in_the_place_of_the_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        open_sqlite_store(tmp_path)


def test_an_unwritable_directory_is_refused(open_directory: Path) -> None:
    open_directory.chmod(0o555)
    with (
        as_an_ordinary_user(),
        pytest.raises(ConfigurationError, match="Make its directory and itself writable"),
    ):
        open_sqlite_store(open_directory / "coordinator.db")


def test_a_read_only_database_is_refused(open_directory: Path) -> None:
    path = open_directory / "coordinator.db"
    with as_an_ordinary_user():
        open_sqlite_store(path).close()
        path.chmod(0o444)
        with pytest.raises(ConfigurationError, match=r"read-only\. Make it writable"):
            open_sqlite_store(path)


def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "coordinator.db"
    store = open_sqlite_store(path)
    insert(store, *(a_job(f"job-{number}") for number in range(100)))
    store.close()
    intact = path.read_bytes()
    path.write_bytes(intact[:100] + b"\xff" * 3996 + intact[4096:])
    with pytest.raises(ConfigurationError, match="Restore it from a backup"):
        open_sqlite_store(path)
