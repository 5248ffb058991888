from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from compute_router.protocol.errors import ConfigurationError, StorageUnavailableError
from compute_router.storage.__main__ import main
from compute_router.storage.backup import back_up
from compute_router.storage.sqlite_store import SqliteStore, open_sqlite_store
from tests.fakes.failing_disk import WRITING, failing_disk
from tests.storage.samples import a_job, insert

MEGABYTE = b"x" * 1_000_000


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "coordinator.db"


@pytest.fixture
def store(database: Path) -> Iterator[SqliteStore]:
    """A coordinator's store that goes on being used."""
    store = open_sqlite_store(database)
    yield store
    store.close()


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    directory = tmp_path / "backups"
    directory.mkdir()
    return directory / "copy.db"


def ignore(share: float) -> None:
    """Nobody wants to know."""


def job_ids(path: Path) -> list[str]:
    store = open_sqlite_store(path)
    ids = [job.job_id for job in store.unfinished_jobs()]
    store.close()
    return ids


def test_a_backup_has_everything_that_was_committed(
    store: SqliteStore, database: Path, destination: Path
) -> None:
    insert(store, a_job("job-1"), a_job("job-2"))
    back_up(database, destination, ignore)
    assert job_ids(destination) == ["job-1", "job-2"]


def test_a_backup_is_of_one_moment_though_the_coordinator_goes_on(
    store: SqliteStore, database: Path, destination: Path
) -> None:
    before = [f"before-{number}" for number in range(30)]
    insert(store, *(a_job(name, payload=MEGABYTE) for name in before))
    shares: list[float] = []

    def go_on_working(share: float) -> None:
        shares.append(share)
        insert(store, a_job(f"during-{len(shares)}", payload=MEGABYTE))

    back_up(database, destination, go_on_working)
    assert len(shares) > 3
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert job_ids(destination) == before
    assert len(list(store.unfinished_jobs())) == len(before) + len(shares)


def test_a_backup_is_one_file_for_its_owner_only(
    store: SqliteStore, database: Path, destination: Path
) -> None:
    insert(store, a_job())
    back_up(database, destination, ignore)
    assert list(destination.parent.iterdir()) == [destination]
    assert destination.stat().st_mode & 0o777 == 0o600
    with apsw.Connection(str(destination)) as copy:
        assert copy.pragma("journal_mode") == "delete"
    copy.close()


def test_a_file_that_exists_is_not_overwritten(store: SqliteStore, database: Path, destination: Path) -> None:
    destination.write_text("precious")
    with pytest.raises(ConfigurationError, match="exists"):
        back_up(database, destination, ignore)
    assert destination.read_text() == "precious"


def test_a_file_that_appears_meanwhile_is_not_overwritten(
    store: SqliteStore, database: Path, destination: Path
) -> None:
    with pytest.raises(ConfigurationError, match="exists"):
        back_up(database, destination, lambda share: destination.touch())
    assert destination.read_bytes() == b""
    assert list(destination.parent.iterdir()) == [destination]


def test_a_backup_that_fails_leaves_nothing_behind(database: Path, destination: Path) -> None:
    with failing_disk() as disk:
        store = open_sqlite_store(database)
        insert(store, a_job())
        disk.fail(apsw.FullError, WRITING)
        with pytest.raises(StorageUnavailableError, match=r"backup to .* failed"):
            back_up(database, destination, ignore)
        disk.mend()
        assert list(destination.parent.iterdir()) == []
        store.close()


def test_an_interrupted_backup_leaves_nothing_behind(
    store: SqliteStore, database: Path, destination: Path
) -> None:
    def interrupt(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(database, destination, interrupt)
    assert list(destination.parent.iterdir()) == []


@pytest.mark.parametrize("text", [None, "", "this is no database" * 100])
def test_only_a_database_of_ours_is_backed_up(tmp_path: Path, destination: Path, text: str | None) -> None:
    path = tmp_path / "notes"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigurationError, match="notes is"):
        back_up(path, destination, ignore)
    assert path.exists() == (text is not None)
    assert not destination.exists()


def test_a_directory_that_does_not_exist_is_refused(
    store: SqliteStore, database: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written"):
        back_up(database, tmp_path / "missing" / "copy.db", ignore)


def test_the_command_says_what_it_made(
    store: SqliteStore, database: Path, destination: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["backup", "--db", str(database), str(destination)]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert (f"{destination} is a copy of {database}" in out, err) == (True, "")
    assert main(words) == 2
    assert capsys.readouterr().err == (
        f"compute-router: {destination} exists. Choose another path for the backup, or move it away.\n"
    )


@pytest.mark.parametrize("words", [[], ["backup"], ["backup", "--db", "x"], ["restore", "--db", "x"]])
def test_wrong_words_are_answered_with_the_right_ones(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert "usage" in capsys.readouterr().err
