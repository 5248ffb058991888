"""What an operator sees of worker keys, and how a bar is lifted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from compute_router.storage.__main__ import EXIT_FAILED, EXIT_OK, EXIT_UNREADABLE, main
from compute_router.storage.sqlite_store import SqliteStore, open_sqlite_store
from tests.storage.samples import DESKTOP, NOON, PHONE
from tests.storage.track_contract import a_record, put


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "coordinator.db"


@pytest.fixture
def store(database: Path) -> Iterator[SqliteStore]:
    """A coordinator's store with two keys, one of them barred."""
    store = open_sqlite_store(database)
    put(store, a_record(DESKTOP), a_record(PHONE))
    with store.transaction():
        store.bar_worker(DESKTOP, "it lied", NOON)
    yield store
    store.close()


def workers(database: Path, *words: str) -> int:
    return main(["workers", "--db", str(database), *words])


def test_all_keys_are_listed_beside_a_running_coordinator(
    store: SqliteStore, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert workers(database, "list") == EXIT_OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{PHONE}  2 completed, 3 failed, 4 rejected, 5 lost, 6 wrong proofs, ")
    assert lines[1].startswith(DESKTOP)
    assert lines[2] == "  BARRED at 2026-02-09T12:00:00.123Z: it lied"


def test_one_key_is_shown(store: SqliteStore, database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert workers(database, "show", PHONE) == EXIT_OK
    assert capsys.readouterr().out.startswith(PHONE)
    assert workers(database, "show", "c" * 64) == EXIT_FAILED
    assert "has no record" in capsys.readouterr().err


def test_a_bar_is_lifted_once_the_coordinator_is_stopped(
    store: SqliteStore, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert workers(database, "unbar", DESKTOP) == EXIT_UNREADABLE
    assert "coordinator" in capsys.readouterr().err
    assert store.barred_workers() == (DESKTOP,)
    store.close()
    assert workers(database, "unbar", DESKTOP) == EXIT_OK
    assert workers(database, "unbar", DESKTOP) == EXIT_FAILED
    again = open_sqlite_store(database)
    assert again.barred_workers() == ()
    assert again.worker_record(DESKTOP) == a_record(DESKTOP)
    again.close()


@pytest.mark.parametrize("words", [("list", PHONE), ("show",), ("unbar",), ("forget", PHONE)], ids=" ".join)
def test_other_words_are_refused(database: Path, words: tuple[str, ...]) -> None:
    assert workers(database, *words) == EXIT_UNREADABLE


@pytest.mark.parametrize("words", [("list",), ("show", PHONE), ("unbar", PHONE)], ids=" ".join)
def test_a_database_that_is_not_there_is_not_made(
    database: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert workers(database, *words) == EXIT_UNREADABLE
    assert "is not a file" in capsys.readouterr().err
    assert not database.exists()
