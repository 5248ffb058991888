"""A disk that fails, played by a file layer below a real SQLite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from shutil import copy

import apsw
import pytest

from compute_router.protocol.errors import StorageUnavailableError
from compute_router.protocol.failures import Failure
from compute_router.protocol.units import DurationMs
from compute_router.storage.checkpoints import CHECKPOINT_PAGES
from compute_router.storage.interface import DayQuota, IdempotencyKey, Store
from compute_router.storage.money import MoneyStore
from compute_router.storage.session import Session
from compute_router.storage.sqlite_store import SqliteStore, open_sqlite_store
from tests.fakes.failing_disk import ALL, WRITING, FailingDisk, Operation, failing_disk
from tests.storage.evidence_contract import a_piece
from tests.storage.samples import (
    ALICE,
    DESKTOP,
    ERROR,
    LEASE_END,
    NOON,
    OUTPUT,
    PHONE,
    WINDOW_END,
    a_job,
    a_receipt,
    an_api_key,
    insert,
    later,
)
from tests.storage.track_contract import a_record

INSERT = "INSERT INTO notes VALUES (?1)"
SYNC = frozenset({Operation.SYNC})
FAULTS_OF_DISKS = [apsw.FullError, apsw.IOError, apsw.ReadOnlyError]

CHANGES: dict[str, Callable[[Store], object]] = {
    "insert_job": lambda store: store.insert_job(a_job("new")),
    "insert_job with a key": lambda store: store.insert_job(a_job("new"), IdempotencyKey("k", "a" * 64)),
    "assign_job": lambda store: store.assign_job("waits", 1, DESKTOP, LEASE_END),
    "start_job": lambda store: store.start_job("assigned", 1),
    "requeue_job": lambda store: store.requeue_job(
        "assigned", 1, Failure.WORKER_ERROR, WINDOW_END, keep_tried=True, counts=True
    ),
    "complete_job": lambda store: store.complete_job("assigned", 1, DESKTOP, OUTPUT, later(9)),
    "fail_job": lambda store: store.fail_job("waits", 0, ERROR, later(9)),
    "cancel_job": lambda store: store.cancel_job("waits", ERROR, later(9)),
    "put_evidence": lambda store: store.put_evidence(a_piece("new"), 100),
    "delete_evidence": lambda store: store.delete_evidence(later(9), 10),
    "put_receipt": lambda store: store.put_receipt("ended", a_receipt(), later(9)),
    "create_pairing": lambda store: store.create_pairing(ALICE, "NEW", NOON, WINDOW_END),
    "put_owner": lambda store: store.put_owner(ALICE, "a" * 64, NOON),
    "delete_dead_codes": lambda store: store.delete_dead_codes(later(10 * 60 * 60 * 1000), 10),
    "claim_pairing": lambda store: store.claim_pairing("CODE", PHONE, NOON),
    "claim_pairing with a wrong code": lambda store: store.claim_pairing("CODER", PHONE, NOON),
    "revoke_pairing": lambda store: store.revoke_pairing(ALICE, DESKTOP),
    "put_worker_record": lambda store: store.put_worker_record(a_record(PHONE)),
    "bar_worker": lambda store: store.bar_worker(PHONE, "it lied", NOON),
    "unbar_worker": lambda store: store.unbar_worker(DESKTOP),
    "insert_audit": lambda store: store.insert_audit(
        "new", "ended", "auditor", NOON, DurationMs(60_000), DurationMs(20_000)
    ),
    "drop_audits": lambda store: store.drop_audits(ERROR, later(9)),
    "put_api_key": lambda store: store.put_api_key(an_api_key()),
    "revoke_api_key": lambda store: store.revoke_api_key("kept00000000", later(9)),
    "count_key_job": lambda store: store.count_key_job(DayQuota("kept00000000", 19_999, 5)),
    "count_key_job on a new day": lambda store: store.count_key_job(DayQuota("kept00000000", 20_000, 5)),
    "note_alive": lambda store: store.note_alive(later(9)),
    "delete_finished": lambda store: store.delete_finished(later(9), 10),
    "delete_idempotency_keys": lambda store: store.delete_idempotency_keys(later(9), 10),
}


@pytest.fixture
def disk() -> Iterator[FailingDisk]:
    with failing_disk() as disk:
        yield disk


@pytest.fixture
def connection(disk: FailingDisk, tmp_path: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(tmp_path / "notes.db"))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "FULL")
    connection.execute("CREATE TABLE notes (text TEXT PRIMARY KEY)")
    yield connection
    disk.mend()
    connection.close()


@pytest.fixture
def store(disk: FailingDisk, tmp_path: Path) -> Iterator[SqliteStore]:
    store = open_sqlite_store(tmp_path / "coordinator.db")
    yield store
    disk.mend()
    store.close()


def notes(session: Session) -> list[str]:
    return [text for (text,) in session.rows("SELECT text FROM notes ORDER BY text")]


def write(session: Session, *texts: str) -> None:
    with session:
        for text in texts:
            session.change(INSERT, (text,))


@pytest.mark.parametrize(
    ("failure", "advice"),
    [
        (apsw.IOError, "check it"),
        (apsw.FullError, "free some space"),
        (apsw.ReadOnlyError, "make it writable"),
    ],
)
def test_a_commit_that_the_disk_refuses_stores_nothing_and_says_what_to_do(
    connection: apsw.Connection, disk: FailingDisk, failure: type[apsw.Error], advice: str
) -> None:
    session = Session(connection)
    disk.fail(failure, SYNC)
    with pytest.raises(StorageUnavailableError, match=advice):
        write(session, "lost")
    assert not connection.in_transaction
    disk.mend()
    assert notes(session) == []


def test_a_store_works_again_when_the_disk_does(connection: apsw.Connection, disk: FailingDisk) -> None:
    session = Session(connection)
    disk.fail(apsw.FullError)
    with pytest.raises(StorageUnavailableError):
        write(session, "lost")
    disk.mend()
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


def fill(store: Store) -> None:
    """Something for every change to change."""
    with store.transaction():
        store.put_api_key(an_api_key("kept00000000"))
        store.count_key_job(DayQuota("kept00000000", 19_999, 5))
        for job_id in ("waits", "assigned", "ended"):
            store.insert_job(a_job(job_id), IdempotencyKey(job_id, "a" * 64))
        store.assign_job("assigned", 1, DESKTOP, LEASE_END)
        store.assign_job("ended", 1, DESKTOP, LEASE_END)
        store.complete_job("ended", 1, DESKTOP, OUTPUT, later(5))
        store.create_pairing(ALICE, "CODE", NOON, WINDOW_END)
        store.create_pairing(ALICE, "USED", NOON, WINDOW_END)
        store.claim_pairing("USED", DESKTOP, NOON)
        store.put_evidence(a_piece("ended"), 100)
        store.bar_worker(DESKTOP, "it lied", NOON)
        store.insert_audit("audit", "ended", "auditor", NOON, DurationMs(60_000), DurationMs(20_000))


def contents(path: Path) -> object:
    """Every row of every table, as a program sees them that opens the database now."""
    with closing(apsw.Connection(str(path))) as connection:
        tables = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        ]
        return {table: list(connection.execute(f"SELECT * FROM {table}")) for table in tables}


def change(store: Store, name: str) -> None:
    with store.transaction():
        CHANGES[name](store)


def test_every_change_is_among_those_that_are_tried() -> None:
    asking = {"close", "transaction", "job_view", "completed_by", "unfinished_jobs", "trusted_pubkeys"}
    asking |= {"job_payload", "evidence"}
    asking |= {"pairings", "last_alive", "find_replay", "owner", "open_codes"}
    asking |= {"api_keys", "worker_record", "worker_records", "barred_workers"}
    parts = set(Store.__mro__) - set(MoneyStore.__mro__)
    calls = {name for part in parts for name in vars(part) if not name.startswith("_")}
    assert {name.split()[0] for name in CHANGES} == calls - asking


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("fault", FAULTS_OF_DISKS)
def test_a_change_that_the_disk_refuses_leaves_nothing_and_succeeds_on_a_mended_disk(
    store: SqliteStore, disk: FailingDisk, tmp_path: Path, name: str, fault: type[apsw.Error]
) -> None:
    fill(store)
    before = contents(tmp_path / "coordinator.db")
    disk.fail(fault)
    with pytest.raises(StorageUnavailableError, match=r"^The database .*\.$"):
        change(store, name)
    assert disk.failures > 0
    disk.mend()
    assert contents(tmp_path / "coordinator.db") == before
    change(store, name)
    assert contents(tmp_path / "coordinator.db") != before


@pytest.mark.parametrize(
    ("fault", "operations"),
    [
        *((fault, operations) for fault in FAULTS_OF_DISKS for operations in (WRITING, SYNC)),
        (apsw.IOError, ALL),
    ],
)
def test_wherever_the_disk_begins_to_fail_a_transaction_is_kept_whole_or_not_at_all(
    disk: FailingDisk, tmp_path: Path, operations: frozenset[Operation], fault: type[apsw.Error]
) -> None:
    store = open_sqlite_store(tmp_path / "coordinator.db")
    acknowledged = []
    for spared in range(12):
        names = [f"{spared}-{number}" for number in range(3)]
        disk.fail(fault, operations, after=spared)
        try:
            insert(store, *(a_job(name, payload=b"x" * 5_000) for name in names))
            acknowledged += names
        except StorageUnavailableError:
            pass
        disk.mend()
        assert [job.job_id for job in store.unfinished_jobs()] == acknowledged
    store.close()
    again = open_sqlite_store(tmp_path / "coordinator.db")
    assert [job.job_id for job in again.unfinished_jobs()] == acknowledged
    again.close()
    assert disk.failures > 0


@pytest.mark.parametrize("payload", [b"x", b"x" * 50_000], ids=["short", "long"])
def test_a_refused_commit_does_not_come_back_after_a_crash(
    store: SqliteStore, disk: FailingDisk, tmp_path: Path, payload: bytes
) -> None:
    insert(store, a_job("kept"))
    # The log has all of the commit by now, and only the flush to disk fails.
    disk.fail(apsw.IOError, SYNC)
    with pytest.raises(StorageUnavailableError):
        insert(store, a_job("refused", payload=payload))
    after_crash = tmp_path / "after-crash"
    after_crash.mkdir()
    for name in ("coordinator.db", "coordinator.db-wal"):
        copy(tmp_path / name, after_crash / name)
    disk.mend()
    again = open_sqlite_store(after_crash / "coordinator.db")
    assert [job.job_id for job in again.unfinished_jobs()] == ["kept"]
    again.close()


def test_a_disk_that_cannot_be_read_makes_questions_unavailable(disk: FailingDisk, tmp_path: Path) -> None:
    store = open_sqlite_store(tmp_path / "coordinator.db")
    insert(store, *(a_job(f"job-{number}", payload=b"x" * 5_000) for number in range(20)))
    store.close()
    # Nothing is in its memory yet.
    store = open_sqlite_store(tmp_path / "coordinator.db")
    disk.fail(apsw.IOError, ALL)
    with pytest.raises(StorageUnavailableError, match="check it"):
        store.job_view("job-7")
    with pytest.raises(StorageUnavailableError, match="check it"):
        list(store.unfinished_jobs())
    disk.mend()
    assert store.job_view("job-7") is not None
    assert len(list(store.unfinished_jobs())) == 20
    store.close()


def test_a_checkpoint_that_fails_takes_nothing_back_and_is_told_once(
    store: SqliteStore, disk: FailingDisk, caplog: pytest.LogCaptureFixture
) -> None:
    # The first sync is the commit's own; the rest are the checkpoint's.
    long = b"x" * CHECKPOINT_PAGES * 4096
    disk.fail(apsw.IOError, SYNC, after=1)
    insert(store, a_job("job-1", payload=long))
    disk.fail(apsw.IOError, SYNC, after=1)
    insert(store, a_job("job-2"))
    assert disk.failures == 2
    disk.mend()
    insert(store, a_job("job-3"))
    insert(store, a_job("job-4"))
    assert [job.job_id for job in store.unfinished_jobs()] == ["job-1", "job-2", "job-3", "job-4"]
    told = [record.getMessage() for record in caplog.records if record.name.endswith("checkpoints")]
    assert ["grows" in line for line in told] == [True, False]


def test_a_damaged_page_makes_what_is_on_it_unavailable_and_the_rest_is_served(tmp_path: Path) -> None:
    path = tmp_path / "coordinator.db"
    store = open_sqlite_store(path)
    insert(store, *(a_job(f"job-{number}", payload=b"x" * 2_000) for number in range(100)))
    store.close()
    pages = bytearray(path.read_bytes())
    at = pages.index(b"job-70" + b"TASK")
    pages[at - at % 4096 : at - at % 4096 + 4096] = b"\xff" * 4096
    path.write_bytes(pages)
    store = open_sqlite_store(path)
    with pytest.raises(StorageUnavailableError, match="restore it from a backup"):
        store.job_view("job-70")
    with pytest.raises(StorageUnavailableError, match="restore it from a backup"):
        list(store.unfinished_jobs())
    assert store.job_view("job-10") is not None
    insert(store, a_job("new"))
    store.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [("status", b"waiting"), ("type", b"TA\xffK"), ("created_at", b"noon"), ("tried_pubkeys", b"[")],
)
def test_a_row_that_nobody_can_have_written_is_a_damaged_database(
    tmp_path: Path, column: str, value: bytes
) -> None:
    store = open_sqlite_store(tmp_path / "coordinator.db")
    insert(store, a_job())
    with closing(apsw.Connection(str(tmp_path / "coordinator.db"))) as other:
        # The index of unfinished jobs would not find a strange status.
        other.execute("DROP INDEX jobs_unfinished")
        other.execute(f"UPDATE jobs SET {column} = CAST(?1 AS TEXT)", (value,))

    def ask() -> object:
        return store.job_view("job-1"), list(store.unfinished_jobs())

    with pytest.raises(StorageUnavailableError, match="damaged; restore it from a backup"):
        ask()
    store.close()


def test_a_broken_reference_is_undone_like_any_mistake(store: SqliteStore) -> None:
    with pytest.raises(apsw.ConstraintError), store.transaction():
        store.put_receipt("nobody", a_receipt(), NOON)
    insert(store, a_job())
    assert store.job_view("job-1") is not None
