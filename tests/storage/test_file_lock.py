from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from compute_router.protocol.errors import DatabaseInUseError
from compute_router.storage.sqlite_store import open_sqlite_store
from tests.storage.samples import a_job, insert

# A coordinator elsewhere: keeps one job, says so, and holds the database until its input ends.
HOLDER = """
import sys
from pathlib import Path
from compute_router.storage.sqlite_store import open_sqlite_store
from tests.storage.samples import a_job, insert

store = open_sqlite_store(Path(sys.argv[1]))
insert(store, a_job("kept"))
print("holding", flush=True)
sys.stdin.read()
store.close()
"""

ROOT = Path(__file__).parents[2]


@contextmanager
def a_holder_in_another_process(database: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(database)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "holding\n"
            yield holder
        finally:
            holder.kill()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "coordinator.db"


def test_a_database_that_another_process_holds_is_refused(database: Path) -> None:
    with a_holder_in_another_process(database), pytest.raises(DatabaseInUseError, match="Stop it, or choose"):
        open_sqlite_store(database)


def test_a_holder_that_ends_gives_the_database_up(database: Path) -> None:
    with a_holder_in_another_process(database) as holder:
        holder.communicate("")
        assert holder.returncode == 0
        open_sqlite_store(database).close()


def test_a_holder_that_is_killed_gives_the_database_up_and_loses_nothing(database: Path) -> None:
    with a_holder_in_another_process(database) as holder:
        holder.kill()
        holder.wait()
        store = open_sqlite_store(database)
        assert [job.job_id for job in store.unfinished_jobs()] == ["kept"]
        store.close()


def test_a_second_opening_in_the_same_process_is_refused(database: Path) -> None:
    store = open_sqlite_store(database)
    with pytest.raises(DatabaseInUseError):
        open_sqlite_store(database)
    store.close()


def test_the_refused_opening_leaves_the_holder_undisturbed(database: Path) -> None:
    store = open_sqlite_store(database)
    for _ in range(2):
        with pytest.raises(DatabaseInUseError):
            open_sqlite_store(database)
    insert(store, a_job())
    assert store.job_view("job-1") is not None
    store.close()


def test_a_closed_store_gives_the_database_up(database: Path) -> None:
    open_sqlite_store(database).close()
    open_sqlite_store(database).close()


def test_a_symbolic_link_does_not_get_around_the_lock(database: Path, tmp_path: Path) -> None:
    store = open_sqlite_store(database)
    link = tmp_path / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(database)
    with pytest.raises(DatabaseInUseError):
        open_sqlite_store(link)
    store.close()


def test_two_databases_in_one_directory_do_not_hinder_each_other(tmp_path: Path) -> None:
    monad, solana = (open_sqlite_store(tmp_path / name) for name in ("monad.db", "solana.db"))
    monad.close()
    solana.close()


def test_other_tools_can_read_the_database_meanwhile(database: Path) -> None:
    store = open_sqlite_store(database)
    insert(store, a_job(payload=b'{"a":1}'))
    # In another process: two SQLite libraries in one would undo each other's locks.
    reader = (
        "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute('SELECT id, payload FROM jobs'))"
    )
    read = subprocess.run(
        [sys.executable, "-c", reader, str(database)], capture_output=True, text=True, check=True
    )
    assert read.stdout == "('job-1', '{\"a\":1}')\n"
    store.close()
