"""The database holds prompts, results and pairing codes: its files are for their owner alone."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from compute_router.storage.sqlite_store import open_sqlite_store
from tests.storage.samples import a_job, insert


@pytest.fixture(autouse=True)
def _careless_umask() -> Iterator[None]:
    """Whatever the operator's shell allows for new files."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(directory: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


def test_every_file_of_a_new_database_is_for_its_owner_alone(tmp_path: Path) -> None:
    store = open_sqlite_store(tmp_path / "coordinator.db")
    insert(store, a_job())
    names = {"coordinator.db", "coordinator.db-wal", "coordinator.db-shm", "coordinator.db-lock"}
    found = modes(tmp_path)
    assert names <= set(found)
    assert set(found.values()) == {0o600}
    store.close()


def test_a_private_database_is_opened_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        open_sqlite_store(tmp_path / "coordinator.db").close()
    assert caplog.records == []


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o601])
def test_a_database_that_others_can_reach_is_used_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    path = tmp_path / "coordinator.db"
    open_sqlite_store(path).close()
    path.chmod(mode)
    open_sqlite_store(path).close()
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert f"{path} is open to other users (mode {mode:04o}). Run: chmod 600 {path}" in warnings
    assert modes(tmp_path)["coordinator.db"] == mode, "it is the operator's to change"
