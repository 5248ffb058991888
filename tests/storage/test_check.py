from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import msgspec
import pytest
from nacl.signing import SigningKey

from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.failures import Failure
from compute_router.protocol.receipts import WorkDone, public_key_hex, sha256_hex, sign_receipt
from compute_router.storage.__main__ import main
from compute_router.storage.backup import back_up
from compute_router.storage.check import problems
from compute_router.storage.interface import IdempotencyKey, StoredReceipt
from compute_router.storage.migrate import load_migrations, migrate
from compute_router.storage.reading import open_for_reading
from compute_router.storage.sqlite_store import SqliteStore, open_sqlite_store
from tests.storage.samples import DESKTOP, ERROR, LEASE_END, OUTPUT, WINDOW_END, a_job, insert, later

KEY = SigningKey(b"k" * 32)
WORKER = public_key_hex(KEY)


def fill(store: SqliteStore) -> None:
    """A job in every status, named after it, and two that are completed: with and without receipt."""
    with store.transaction():
        for job_id in ("pending", "assigned", "running", "proven", "unproven", "failed", "cancelled"):
            store.insert_job(a_job(job_id), IdempotencyKey(job_id, "a" * 64))
        for job_id in ("assigned", "running", "proven", "unproven"):
            store.assign_job(job_id, 1, WORKER, LEASE_END)
        store.requeue_job("assigned", 1, Failure.WORKER_ERROR, WINDOW_END, keep_tried=True, counts=True)
        store.assign_job("assigned", 2, DESKTOP, LEASE_END)
        store.start_job("running", 1)
        for job_id in ("proven", "unproven"):
            store.complete_job(job_id, 1, WORKER, OUTPUT, later(5))
        store.put_receipt("proven", receipt_of("proven"), later(5))
        store.fail_job("failed", 0, ERROR, later(5))
        store.cancel_job("cancelled", ERROR, later(5))


def receipt_of(job_id: str, *, output: bytes = OUTPUT, verified: bool = True) -> StoredReceipt:
    signed = sign_receipt(KEY, job_id, output, later(5))
    return StoredReceipt(
        provider_pubkey=WORKER,
        receipt_json=signed.receipt_json,
        signature=signed.signature,
        verified=verified,
    )


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "coordinator.db"
    store = open_sqlite_store(path)
    fill(store)
    store.close()
    return path


def found(path: Path) -> list[str]:
    with closing(open_for_reading(path)) as connection:
        return list(problems(connection, lambda number, total: None))


def spoil(path: Path, *statements: str) -> None:
    """Change a database as no coordinator would."""
    with closing(apsw.Connection(str(path))) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_database_with_jobs_in_every_status_is_sound(database: Path) -> None:
    assert found(database) == []


def test_a_database_in_use_can_be_checked_and_its_newest_commit_is_seen(database: Path) -> None:
    store = open_sqlite_store(database)
    assert found(database) == []
    with store.transaction():
        store.put_receipt("unproven", receipt_of("another"), later(6))
    assert found(database) == ["The receipt of job unproven is wrong: The receipt names another job."]
    store.close()


def test_a_backup_can_be_checked_and_stays_one_file(database: Path, tmp_path: Path) -> None:
    copy = tmp_path / "backups" / "copy.db"
    copy.parent.mkdir()
    back_up(database, copy, lambda share: None)
    assert found(copy) == []
    assert list(copy.parent.iterdir()) == [copy]


def test_a_database_of_version_1_can_be_checked(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    old = apsw.Connection(str(path))
    migrate(old, load_migrations()[:1])
    old.close()
    assert found(path) == []


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("status = 'lost' WHERE id = 'failed'", "Job failed has the unknown status 'lost'."),
        ("type = 'NAP' WHERE id = 'failed'", "Job failed has the unknown type 'NAP'."),
        ("policy = 'SLOW' WHERE id = 'failed'", "Job failed has the unknown policy 'SLOW'."),
        ("privacy_class = '' WHERE id = 'failed'", "Job failed has the unknown privacy class ''."),
        ("last_failure = 'mood' WHERE id = 'failed'", "Job failed has the unknown last failure 'mood'."),
        ("result = NULL WHERE id = 'unproven'", "Job unproven is completed and has no result."),
        ("result = NULL WHERE id = 'cancelled'", "Job cancelled is cancelled and has no result."),
        ("completed_at = NULL WHERE id = 'failed'", "Job failed is failed and has no time of its end."),
        (
            "result = '1' WHERE id = 'running'",
            "Job running is running and has a result or a time of its end.",
        ),
        ("worker_pubkey = NULL WHERE id = 'unproven'", "Job unproven is completed and names no worker."),
        ("worker_pubkey = NULL WHERE id = 'assigned'", "Job assigned is assigned and names no worker."),
        ("lease_deadline_ms = NULL WHERE id = 'running'", "Job running is running and has no lease."),
        (
            "worker_pubkey = 'w' WHERE id = 'pending'",
            "Job pending is pending and names a worker or has a lease.",
        ),
        ("attempt = 0 WHERE id = 'unproven'", "Job unproven is completed and was never given to a worker."),
        (
            "attempt = -1, failures = 0 WHERE id = 'failed'",
            "Job failed has the attempt -1. Job failed counts 0 failures in -1 attempts.",
        ),
        ("failures = 3 WHERE id = 'assigned'", "Job assigned counts 3 failures in 2 attempts."),
        (
            "completed_at = 'noon' WHERE id = 'failed'",
            "Job failed was committed at '2026-02-09T12:00:00.123Z' and ended at 'noon', which are no times.",
        ),
        (
            "tried_pubkeys = '[' WHERE id = 'assigned'",
            "Job assigned has a list of tried workers that cannot be read.",
        ),
        (
            "status = 'failed' WHERE id = 'proven'",
            "The receipt of job proven belongs to a job that is failed.",
        ),
        (
            "worker_pubkey = 'other' WHERE id = 'proven'",
            "The receipt of job proven is by another worker than the one that completed it.",
        ),
        (
            "result = '2' WHERE id = 'proven'",
            "The receipt of job proven is wrong: The output does not have the hash that the receipt states.",
        ),
    ],
)
def test_a_job_that_nobody_can_have_written_is_a_problem(
    database: Path, statement: str, sentence: str
) -> None:
    spoil(database, f"UPDATE jobs SET {statement}")
    assert " ".join(found(database)) == sentence


def test_a_receipt_without_its_job_is_a_problem(database: Path) -> None:
    spoil(database, "PRAGMA foreign_keys = 0", "DELETE FROM jobs WHERE id = 'proven'")
    assert found(database) == ["Row 1 of receipts refers to something that is not in jobs."]


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("signature = 'bm9uZQ=='", "The signature does not match the key and the signed bytes."),
        ("receipt_json = '{}'", "The receipt cannot be read"),
        ("receipt_json = replace(receipt_json, 'proven', 'other')", "The receipt names another job."),
        ("receipt_json = replace(receipt_json, 'null', '\"x\"')", "The signature does not match"),
    ],
)
def test_a_receipt_that_counts_as_verified_must_prove_its_job(
    database: Path, statement: str, reason: str
) -> None:
    spoil(database, f"UPDATE receipts SET {statement}")
    (problem,) = found(database)
    assert problem.startswith(f"The receipt of job proven is wrong: {reason}")


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (WorkDone("0" * 64, None, None, 1), "The request does not have the hash that the receipt states."),
        (WorkDone(sha256_hex(a_job().payload), None, None, 2), "The receipt names another attempt."),
    ],
)
def test_a_verified_receipt_must_be_about_the_request_and_the_attempt(
    database: Path, work: WorkDone, reason: str
) -> None:
    signed = sign_receipt(KEY, "unproven", OUTPUT, later(5), work)
    stray = StoredReceipt(
        provider_pubkey=WORKER,
        receipt_json=signed.receipt_json,
        signature=signed.signature,
        verified=True,
    )
    store = open_sqlite_store(database)
    with store.transaction():
        store.put_receipt("unproven", stray, later(6))
    store.close()
    assert found(database) == [f"The receipt of job unproven is wrong: {reason}"]


def test_a_receipt_that_never_passed_for_verified_need_not_prove_anything(database: Path) -> None:
    store = open_sqlite_store(database)
    stray = msgspec.structs.replace(receipt_of("unproven", output=b"1", verified=False), signature="none")
    with store.transaction():
        store.put_receipt("unproven", stray, later(6))
    store.close()
    assert found(database) == []


@pytest.mark.parametrize("about", ["another job", "another key"])
def test_a_receipt_must_be_about_its_own_row_all_the_same(database: Path, about: str) -> None:
    store = open_sqlite_store(database)
    stray = receipt_of("other" if about == "another job" else "unproven", verified=False)
    with store.transaction():
        store.put_receipt("unproven", stray, later(6))
    store.close()
    if about == "another key":
        spoil(
            database,
            "UPDATE receipts SET provider_pubkey = 'x' WHERE job_id = 'unproven'",
            "UPDATE jobs SET worker_pubkey = 'x' WHERE id = 'unproven'",
        )
    assert found(database) == [
        "The receipt of job unproven is wrong: It names another job or another provider key than its row."
    ]


def test_a_damaged_page_is_a_problem_and_the_rest_is_looked_at(database: Path) -> None:
    store = open_sqlite_store(database)
    insert(store, *(a_job(f"job-{number}", payload=b"x" * 2_000) for number in range(100)))
    store.close()
    pages = bytearray(database.read_bytes())
    at = pages.index(b"job-70" + b"TASK")
    pages[at - at % 4096 : at - at % 4096 + 4096] = b"\xff" * 4096
    database.write_bytes(pages)
    sentences = found(database)
    assert any(sentence.startswith("SQLite finds damage: ") for sentence in sentences)
    assert all(sentence.endswith(".") for sentence in sentences)


def test_a_database_of_a_newer_version_is_not_judged(database: Path) -> None:
    spoil(database, "PRAGMA user_version = 999")
    with pytest.raises(ConfigurationError, match="Install a newer version"):
        found(database)


def test_checking_changes_nothing(database: Path) -> None:
    before = database.read_bytes()
    spoiled = found(database)
    assert (database.read_bytes(), spoiled) == (before, [])


def test_the_command_says_that_a_database_is_sound(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--db", str(database)]) == 0
    assert capsys.readouterr() == (
        f"{database} is sound: 7 jobs (3 unfinished), 1 receipts, 0 payments; the ledger's sum is zero.\n",
        "",
    )


def test_the_command_lists_what_is_wrong(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(database, "UPDATE jobs SET status = 'lost' WHERE id = 'failed'")
    assert main(["check", "--db", str(database)]) == 1
    assert capsys.readouterr().out == (
        f"Job failed has the unknown status 'lost'.\n{database} has 1 problem.\n"
    )


@pytest.mark.parametrize("text", [None, "", "this is no database" * 100])
def test_the_command_says_what_cannot_be_read(
    tmp_path: Path, text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "notes"
    if text is not None:
        path.write_text(text)
    assert main(["check", "--db", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"compute-router: {path} is")
