"""Every SQL statement about jobs and their receipts, by name.

An UPDATE of a job names the statuses that the job may come from and the attempt it is about, so a late
writer changes nothing. JSON that came from outside is bound as bytes and cast: SQLite then keeps the very
bytes, and the columns still read as text in other tools.
"""

from __future__ import annotations

from string import Template
from typing import Final

from compute_router.protocol.job_state import UNFINISHED, JobEvent, JobStatus, advance, sources
from compute_router.storage.money_queries import open_payment


def _literals(statuses: tuple[JobStatus, ...]) -> str:
    return "(" + ", ".join(f"'{status.value}'" for status in statuses) + ")"


def job_step(event: JobEvent, sql: str) -> str:
    """Fill in where the state table lets an event come from (``$old``) and lead to (``$new``)."""
    (new,) = {advance(old, event) for old in sources(event)}
    return Template(sql).substitute(old=_literals(sources(event)), new=f"'{new.value}'")


# Literals, not bindings: SQLite takes the partial index only when it can see that the condition is the same.
_UNFINISHED: Final = _literals(tuple(status for status in JobStatus if status in UNFINISHED))

# Keep a new job, unless its user used its idempotency key before.
INSERT_JOB: Final = """
INSERT INTO jobs (id, type, policy, privacy_class, user_id, payload, model, created_at, queue_deadline_ms,
    queue_window_ms, lease_ms, run_limit_ms, recipients, idempotency_key, request_hash, paid)
VALUES (?1, ?2, ?3, ?4, ?5, CAST(?6 AS TEXT), ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
ON CONFLICT (idempotency_key, user_id) WHERE idempotency_key IS NOT NULL DO NOTHING
"""

# The job that a user's idempotency key stands for, and whether the request was the same.
REPLAY: Final = """
SELECT id, request_hash = ?3 FROM jobs WHERE user_id = ?1 AND idempotency_key = ?2
"""

# Give a waiting job to a worker as the next attempt; answers the payload.
ASSIGN_JOB: Final = job_step(
    JobEvent.CLAIM,
    """
UPDATE jobs SET status = $new, attempt = ?2, worker_pubkey = ?3, lease_deadline_ms = ?4
WHERE id = ?1 AND status IN $old AND attempt = ?2 - 1
RETURNING CAST(payload AS BLOB)
""",
)

# Note that the worker began.
START_JOB: Final = job_step(
    JobEvent.START, "UPDATE jobs SET status = $new WHERE id = ?1 AND status IN $old AND attempt = ?2"
)

# End an attempt and let the job wait again; remembering the worker when ?5 is true, counting a failure when
# ?6 is.
REQUEUE_JOB: Final = job_step(
    JobEvent.REQUEUE,
    """
UPDATE jobs SET status = $new, last_failure = ?3, queue_deadline_ms = ?4,
    tried_pubkeys = iif(?5, json_insert(tried_pubkeys, '$$[#]', worker_pubkey), tried_pubkeys),
    failures = failures + ?6, worker_pubkey = NULL, lease_deadline_ms = NULL
WHERE id = ?1 AND status IN $old AND attempt = ?2
""",
)

# Keep the output of the attempt that this worker holds; answers when the job was committed, for whom, and
# whether it is paid.
COMPLETE_JOB: Final = job_step(
    JobEvent.COMPLETE,
    """
UPDATE jobs SET status = $new, result = CAST(?4 AS TEXT), completed_at = ?5, lease_deadline_ms = NULL
WHERE id = ?1 AND status IN $old AND attempt = ?2 AND worker_pubkey = ?3
RETURNING created_at, user_id, paid
""",
)

# End a job without an output; answers when the job was committed, for whom, and whether it is paid.
FAIL_JOB: Final = job_step(
    JobEvent.FAIL,
    """
UPDATE jobs SET status = $new, result = CAST(?3 AS TEXT), completed_at = ?4, lease_deadline_ms = NULL
WHERE id = ?1 AND status IN $old AND attempt = ?2
RETURNING created_at, user_id, paid
""",
)

# End a job because its owner wants it no more, whatever its attempt; answers what the statement before does.
CANCEL_JOB: Final = job_step(
    JobEvent.CANCEL,
    """
UPDATE jobs SET status = $new, result = CAST(?2 AS TEXT), completed_at = ?3, lease_deadline_ms = NULL
WHERE id = ?1 AND status IN $old
RETURNING created_at, user_id, paid
""",
)

# A job as its owner sees it, with its receipt if it has one.
JOB_VIEW: Final = """
SELECT job.status, CAST(job.result AS BLOB), job.created_at, job.completed_at,
    receipt.provider_pubkey, CAST(receipt.receipt_json AS BLOB), receipt.signature, receipt.verified,
    receipt.payment_ref, job.user_id, job.paid
FROM jobs AS job LEFT JOIN receipts AS receipt ON receipt.job_id = job.id
WHERE job.id = ?1
"""

# Who completed a job, and at which attempt.
COMPLETED_BY: Final = f"""
SELECT worker_pubkey, attempt FROM jobs WHERE id = ?1 AND status = '{JobStatus.COMPLETED.value}'
"""  # noqa: S608 - the value is a constant of the state table

# Which jobs a restart takes up again, in the order of commit. The index alone answers it.
UNFINISHED_ROWIDS: Final = f"SELECT rowid FROM jobs WHERE status IN {_UNFINISHED} ORDER BY rowid"  # noqa: S608 - as above

# Everything about one of them, but for the payload.
UNFINISHED_JOB: Final = f"""
SELECT id, type, policy, privacy_class, user_id, model, status, attempt, failures, worker_pubkey,
    lease_deadline_ms, created_at, queue_deadline_ms, queue_window_ms, lease_ms, run_limit_ms, tried_pubkeys,
    last_failure, recipients
FROM jobs WHERE rowid = ?1 AND status IN {_UNFINISHED}
"""  # noqa: S608 - as above

# What a seeker asked for.
JOB_PAYLOAD: Final = "SELECT CAST(payload AS BLOB) FROM jobs WHERE id = ?1"

# Keep a job's receipt; an unverified one gives way to a verified one, nothing else does. The id begins with
# the time, so that its index grows at the end: a random id would dirty a page of its own each time.
PUT_RECEIPT: Final = """
INSERT INTO receipts (id, job_id, provider_pubkey, receipt_json, signature, verified, created_at, payment_ref)
VALUES (printf('%012x', ?7) || lower(hex(randomblob(10))), ?1, ?2, CAST(?3 AS TEXT), ?4, ?5, ?6, ?8)
ON CONFLICT (job_id) DO UPDATE SET provider_pubkey = excluded.provider_pubkey,
    receipt_json = excluded.receipt_json, signature = excluded.signature, verified = excluded.verified,
    created_at = excluded.created_at, payment_ref = coalesce(excluded.payment_ref, receipts.payment_ref)
WHERE receipts.verified = 0 AND excluded.verified = 1
"""

# Money must not move for a job that nobody can look up any more.
_FIRST_ENDED: Final = f"""
FROM jobs WHERE completed_at < ?1 AND rowid NOT IN (
    SELECT job.rowid FROM payments JOIN jobs AS job ON job.id = payments.job_id
    WHERE payments.state IN {open_payment}
    UNION ALL
    SELECT job.rowid FROM payments INDEXED BY payments_to_look_at JOIN jobs AS job ON job.id = payments.job_id
    WHERE payments.look_at_ms IS NOT NULL
) ORDER BY completed_at, rowid LIMIT ?2
"""  # noqa: S608 - as above

# Delete the receipts of the jobs that the next statement deletes.
DELETE_RECEIPTS: Final = f"""
DELETE FROM receipts WHERE job_id IN (SELECT id {_FIRST_ENDED})
"""  # noqa: S608 - a text of this module

# Delete jobs that ended before a time, oldest first; their idempotency keys go with them.
DELETE_FINISHED: Final = f"""
DELETE FROM jobs WHERE rowid IN (SELECT rowid {_FIRST_ENDED})
"""  # noqa: S608 - a text of this module

# Forget idempotency keys first used before a time, oldest first.
DELETE_KEYS: Final = """
UPDATE jobs SET idempotency_key = NULL, request_hash = NULL WHERE rowid IN (
    SELECT rowid FROM jobs WHERE idempotency_key IS NOT NULL AND created_at < ?1
    ORDER BY created_at, rowid LIMIT ?2
)
"""
