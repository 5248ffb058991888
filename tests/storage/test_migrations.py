from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from compute_router.protocol.errors import DatabaseTooNewError
from compute_router.protocol.job_state import JobStatus
from compute_router.storage.connection import open_connection
from compute_router.storage.interface import IdempotencyKey, JobView, Replay
from compute_router.storage.migrate import APPLICATION_ID, Migration, check_origin, load_migrations, migrate
from compute_router.storage.sqlite_store import open_sqlite_store
from tests.storage.samples import DESKTOP, LEASE_END, NOON, OUTPUT, PHONE, WINDOW_END, later

# Of the first protocol's database: other programs may read these columns.
SEED_COLUMNS = {
    "jobs": (
        "id type policy privacy_class user_id status payload result worker_pubkey created_at completed_at"
    ),
    "trust_pairings": "id user_id provider_pubkey pairing_code claimed expires_at created_at",
    "receipts": "id job_id provider_pubkey receipt_json signature verified created_at",
}

ONE = Migration(1, "CREATE TABLE one (a TEXT)")
TWO = Migration(2, "CREATE TABLE two (a TEXT); INSERT INTO two VALUES ('kept')")
TWO_THAT_FAILS_LATE = Migration(2, "CREATE TABLE two (a TEXT); INSERT INTO nowhere VALUES (1)")


@pytest.fixture
def blank(tmp_path: Path) -> apsw.Connection:
    return apsw.Connection(str(tmp_path / "blank.db"))


def tables(connection: apsw.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def indexes(connection: apsw.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'index'")}


def test_migrations_are_numbered_without_a_gap() -> None:
    versions = [migration.version for migration in load_migrations()]
    assert versions == list(range(1, len(versions) + 1))


def test_a_new_database_gets_every_migration_and_our_mark(tmp_path: Path) -> None:
    connection = open_connection(tmp_path / "coordinator.db")
    assert connection.pragma("user_version") == load_migrations()[-1].version
    assert connection.pragma("application_id") == APPLICATION_ID
    connection.close()


@pytest.mark.parametrize("table", SEED_COLUMNS)
def test_the_tables_begin_with_the_columns_of_the_first_protocol(tmp_path: Path, table: str) -> None:
    connection = open_connection(tmp_path / "coordinator.db")
    columns = [name for (_, name, *_) in connection.execute(f"PRAGMA table_info({table})")]
    seed = SEED_COLUMNS[table].split()
    assert columns[: len(seed)] == seed
    connection.close()


def test_an_empty_file_counts_as_new(tmp_path: Path) -> None:
    path = tmp_path / "coordinator.db"
    path.touch()
    open_sqlite_store(path).close()


def test_only_the_missing_migrations_are_applied(blank: apsw.Connection) -> None:
    migrate(blank, (ONE,))
    migrate(blank, (ONE, TWO))
    migrate(blank, (ONE, TWO))
    assert tables(blank) == {"one", "two"}
    assert blank.pragma("user_version") == 2


def test_the_jobs_of_a_database_of_version_1_are_intact(tmp_path: Path) -> None:
    path = tmp_path / "coordinator.db"
    old = apsw.Connection(str(path))
    migrate(old, load_migrations()[:1])
    old.executemany(
        """
        INSERT INTO jobs (id, type, policy, user_id, status, payload, result, worker_pubkey, created_at,
            completed_at, attempt, lease_deadline_ms, queue_deadline_ms)
        VALUES (?1, ?2, 'FAST', 'alice', ?3, '{"a": 1}', ?4, ?5, '2026-02-09T12:00:00.123Z', ?6, ?7, ?8, ?9)
        """,
        [
            ("waits", "TASK", "pending", None, None, None, 2, None, WINDOW_END),
            ("runs", "LLM_INFER", "running", None, DESKTOP, None, 3, LEASE_END, 0),
            ("done", "TASK", "completed", '{"b": 2}', PHONE, "2026-02-09T12:00:05.123Z", 1, None, 0),
        ],
    )
    old.close()
    store = open_sqlite_store(path)
    waits, runs = store.unfinished_jobs()
    assert (waits.job_id, waits.status, waits.queue_deadline) == ("waits", JobStatus.PENDING, WINDOW_END)
    assert (waits.attempt, waits.failures) == (2, 2)
    assert (waits.queue_window, waits.lease, waits.run_limit) == (30_000, 20_000, None)
    assert (runs.job_id, runs.status, runs.worker_pubkey) == ("runs", JobStatus.RUNNING, DESKTOP)
    # The third attempt is under way: only two have failed.
    assert (runs.attempt, runs.failures, runs.lease_deadline) == (3, 2, LEASE_END)
    assert (runs.queue_window, runs.lease, runs.run_limit) == (30_000, 120_000, None)
    assert store.job_view("done") == JobView(
        job_id="done",
        user_id="alice",
        status=JobStatus.COMPLETED,
        result=b'{"b": 2}',
        created_at=NOON,
        completed_at=later(5_000),
    )
    with store.transaction():
        assert store.assign_job("waits", 3, PHONE, LEASE_END) == b'{"a": 1}'
        assert store.complete_job("runs", 3, DESKTOP, OUTPUT, later(9)) is not None
        assert store.delete_finished(later(9), 10) == 0
        assert store.delete_finished(later(5_001), 10) == 2
    store.close()


def test_the_keys_of_a_database_of_version_3_stand_for_their_jobs_still(tmp_path: Path) -> None:
    path = tmp_path / "coordinator.db"
    old = apsw.Connection(str(path))
    migrate(old, load_migrations()[:3])
    old.executemany(
        """
        INSERT INTO jobs (id, type, policy, user_id, payload, created_at)
        VALUES (?1, 'TASK', 'FAST', 'alice', '{}', '2026-02-09T12:00:00.123Z')
        """,
        [("named",), ("nameless",)],
    )
    old.executemany(
        """
        INSERT INTO idempotency_keys (user_id, key, request_hash, job_id, created_at_ms)
        VALUES (?, ?, ?, ?, ?)
        """,
        [("alice", "order", "a" * 64, "named", NOON), ("alice", "old", "a" * 64, "deleted", NOON)],
    )
    old.close()
    store = open_sqlite_store(path)
    assert store.find_replay("alice", IdempotencyKey("order", "a" * 64)) == Replay("named", same_request=True)
    assert store.find_replay("alice", IdempotencyKey("order", "b" * 64)) == Replay(
        "named", same_request=False
    )
    assert store.find_replay("alice", IdempotencyKey("old", "a" * 64)) is None
    with store.transaction():
        assert store.delete_idempotency_keys(later(1), 10) == 1
    store.close()


def test_a_database_of_version_5_keeps_its_payments_and_loses_an_index_that_nothing_reads(
    tmp_path: Path,
) -> None:
    path = tmp_path / "coordinator.db"
    old = apsw.Connection(str(path))
    migrate(old, load_migrations()[:5])
    assert "payments_open_of_payer" in indexes(old)
    old.execute(
        """
        INSERT INTO jobs (id, type, policy, user_id, payload, created_at, paid)
        VALUES ('job-1', 'TASK', 'FAST', 'alice', '{}', '2026-02-09T12:00:00.123Z', 1);
        INSERT INTO payments (payment_id, job_id, payer, network, asset, pay_to, amount, fee, state,
            expires_at_ms, x402_version, payload, requirements, credit_token_hash, created_at_ms,
            updated_at_ms)
        VALUES ('pay-1', 'job-1', '0xPayer', 'eip155:10143', '0xUsdc', '0xOperator', 10000, 500, 'reserved',
            1, 2, '{}', '{}', 'hash', 0, 0)
        """
    )
    old.close()
    store = open_sqlite_store(path)
    ((payment, status),) = store.open_payments()
    assert (payment.payment_id, payment.amount, status) == ("pay-1", 10_000, JobStatus.PENDING)
    store.close()
    migrated = apsw.Connection(str(path))
    assert "payments_open_of_payer" not in indexes(migrated)
    migrated.close()


def test_a_migration_that_fails_leaves_nothing_of_itself(blank: apsw.Connection) -> None:
    with pytest.raises(apsw.SQLError, match="nowhere"):
        migrate(blank, (ONE, TWO_THAT_FAILS_LATE))
    assert tables(blank) == {"one"}
    assert blank.pragma("user_version") == 1
    migrate(blank, (ONE, TWO))
    assert blank.execute("SELECT a FROM two").get == "kept"


def test_a_database_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "coordinator.db"
    connection = open_connection(path)
    connection.pragma("user_version", 999)
    connection.close()
    before = path.read_bytes()
    with pytest.raises(DatabaseTooNewError, match=r"version 999.*Install a newer version"):
        open_sqlite_store(path)
    assert path.read_bytes() == before


def test_a_database_of_the_newest_known_version_is_ours(tmp_path: Path) -> None:
    connection = open_connection(tmp_path / "coordinator.db")
    check_origin(connection, load_migrations())
    connection.close()
