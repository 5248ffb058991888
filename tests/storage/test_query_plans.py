"""Every lookup uses an index, however large the tables are."""

from __future__ import annotations

from pathlib import Path

import apsw
import apsw.ext
import pytest

from compute_router.storage import (
    job_queries,
    key_queries,
    money_queries,
    state_queries,
    trust_queries,
    worker_queries,
)
from compute_router.storage.connection import open_connection

NAMED = {
    name: sql
    for statements in (job_queries, key_queries, money_queries, state_queries, trust_queries, worker_queries)
    for name, sql in vars(statements).items()
    if name[0].isupper() and isinstance(sql, str)
}
NAMED |= {
    f"{table}_{event.value}": sql
    for table in ("MOVE_PAYMENT", "MOVE_PAYOUT")
    for event, sql in vars(money_queries)[table].items()
}


# Read once, when a coordinator starts; and by an operator who pays out.
READ_WHOLE = {
    "ALL_API_KEYS",
    "NEWEST_WORKER_RECORDS",
    "BARRED_WORKERS",
    "LEDGER_SUM",
    "PAYABLE",
    "ALL_OPEN_PAYOUTS",
    # A row for each state, and for each kind of account.
    "PAYMENT_TOTALS",
    "LEDGER_TOTALS",
}


@pytest.fixture
def connection(tmp_path: Path) -> apsw.Connection:
    return open_connection(tmp_path / "coordinator.db")


def plan(connection: apsw.Connection, sql: str) -> list[str]:
    bindings = (None,) * apsw.ext.query_info(connection, sql).bindings_count
    return [detail for _, _, _, detail in connection.execute("EXPLAIN QUERY PLAN " + sql, bindings)]


def test_there_are_queries_to_look_at() -> None:
    assert len(NAMED) >= 24


@pytest.mark.parametrize("name", NAMED)
def test_no_query_reads_a_whole_table(connection: apsw.Connection, name: str) -> None:
    steps = plan(connection, NAMED[name])
    if name in READ_WHOLE:
        return
    assert not [step for step in steps if step.startswith("SCAN")]


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("UNFINISHED_ROWIDS", "COVERING INDEX jobs_unfinished"),
        ("UNFINISHED_JOB", "INTEGER PRIMARY KEY"),
        ("DELETE_FINISHED", "COVERING INDEX jobs_ended"),
        ("DELETE_RECEIPTS", "INDEX jobs_ended"),
        ("DELETE_RECEIPTS", "COVERING INDEX receipts_job_id"),
        ("DELETE_KEYS", "INDEX jobs_keyed"),
        ("EVIDENCE", "INDEX evidence_worker"),
        ("COUNT_EVIDENCE", "COVERING INDEX evidence_worker"),
        ("DELETE_EVIDENCE", "COVERING INDEX evidence_created_at"),
        ("REPLAY", "INDEX jobs_idempotency_key"),
        ("JOB_VIEW", "INDEX receipts_job_id"),
        ("TRUSTED_PUBKEYS", "COVERING INDEX trust_pairings_claimed"),
        ("PAIRINGS", "INDEX trust_pairings_claimed"),
        ("PAIRED_AT", "INDEX trust_pairings_claimed"),
        ("REVOKE_PAIRING", "INDEX trust_pairings_claimed"),
        ("COUNT_WRONG_TRY", "INDEX trust_pairings_open"),
        ("OPEN_CODES", "COVERING INDEX trust_pairings_open_of_user"),
        ("DELETE_DEAD_CODES", "COVERING INDEX trust_pairings_dead"),
        ("OWNER", "INDEX sqlite_autoindex_users_1"),
        ("WORKER_RECORD", "INDEX sqlite_autoindex_worker_records_1"),
        ("BARRED_WORKERS", "INDEX worker_records_barred"),
        ("DROP_AUDITS", "INDEX jobs_unfinished"),
        ("PAYMENT_OF_JOB", "INDEX payments_job_id"),
        ("OPEN_PAYMENTS_OF_JOBS", "INDEX payments_open"),
        ("EARLY_PAYMENTS_OF_JOBS", "INDEX jobs_unfinished"),
        ("DELETE_FINISHED", "INDEX payments_open"),
        ("ALL_OPEN_PAYOUTS", "INDEX payouts_open"),
        ("PAYOUTS_OF", "INDEX payouts_of_worker"),
        ("UNDER_WAY", "INDEX payouts_open"),
        ("OLDEST_SETTLEMENT", "INDEX payments_asked"),
        ("PAYMENTS_TO_LOOK_AT", "INDEX payments_to_look_at"),
        ("NEXT_LOOK", "COVERING INDEX payments_to_look_at"),
        ("LOSSES", "INDEX payments_lost"),
        ("BALANCE", "INDEX sqlite_autoindex_balances_1"),
        ("PAYABLE", "INDEX sqlite_autoindex_balances_1"),
    ],
)
def test_a_lookup_uses_the_index_made_for_it(connection: apsw.Connection, name: str, index: str) -> None:
    assert any(f"USING {index}" in step for step in plan(connection, NAMED[name]))
