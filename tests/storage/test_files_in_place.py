from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from compute_router.protocol.errors import StorageUnavailableError
from compute_router.storage.sqlite_store import SqliteStore, open_sqlite_store
from tests.storage.samples import a_job, insert


def delete(path: Path) -> None:
    path.unlink()


def move(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def replace_by_a_copy(path: Path) -> None:
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    copy.replace(path)


def files(store_path: Path) -> tuple[Path, Path]:
    return store_path, store_path.with_name(store_path.name + "-wal")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    # Opened for the second time, when nothing but reading happens at first.
    path = tmp_path / "coordinator.db"
    open_sqlite_store(path).close()
    return path


def job_ids(store: SqliteStore) -> list[str]:
    return [job.job_id for job in store.unfinished_jobs()]


@pytest.mark.parametrize("which", [0, 1], ids=["database", "log"])
@pytest.mark.parametrize("lose", [delete, move, replace_by_a_copy])
def test_nothing_is_committed_to_a_file_that_is_not_at_its_path_any_more(
    database: Path, lose: Callable[[Path], None], which: int
) -> None:
    store = open_sqlite_store(database)
    insert(store, a_job("before"))
    lose(files(database)[which])
    with pytest.raises(StorageUnavailableError, match="deleted, moved or replaced"):
        insert(store, a_job("after"))
    assert job_ids(store) == ["before"]
    store.close()


def test_commits_go_on_when_the_file_is_back(database: Path) -> None:
    store = open_sqlite_store(database)
    insert(store, a_job("before"))
    away = database.with_name("away")
    database.rename(away)
    with pytest.raises(StorageUnavailableError):
        insert(store, a_job("after"))
    away.rename(database)
    insert(store, a_job("after"))
    store.close()
    again = open_sqlite_store(database)
    assert job_ids(again) == ["before", "after"]
    again.close()


def test_a_file_that_is_written_or_renamed_beside_it_does_not_matter(database: Path) -> None:
    store = open_sqlite_store(database)
    os.utime(database)
    shutil.copy(database, database.with_name("backup"))
    insert(store, a_job("a"))
    assert job_ids(store) == ["a"]
    store.close()
