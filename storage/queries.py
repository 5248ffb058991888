"""Every SQL statement of the SQLite store, by name.

An UPDATE of a job names the statuses that the job may come from and the attempt it is about, so a late
writer changes nothing. JSON that came from outside is bound as bytes and cast: SQLite then keeps the very
bytes, and the columns still read as text in other tools.
"""

from __future__ import annotations

from string import Template
from typing import Final

from compute_router.protocol.job_state import UNFINISHED, JobEvent, JobStatus, advance, sources


def _literals(statuses: tuple[JobStatus, ...]) -> str:
    return "(" + ", ".join(f"'{status.value}'" for status in statuses) + ")"


def _step(event: JobEvent, sql: str) -> str:
    """Fill in where the state table lets an event come from (``$old``) and lead to (``$new``)."""
    (new,) = {advance(old, event) for old in sources(event)}
    return Template(sql).substitute(old=_literals(sources(event)), new=f"'{new.value}'")


# Literals, not bindings: SQLite takes the partial index only when it can see that the condition is the same.
_UNFINISHED: Final = _literals(tuple(status for status in JobStatus if status in UNFINISHED))

# Keep a new job.
INSERT_JOB: Final = """
INSERT INTO jobs (id, type, policy, privacy_class, user_id, payload, model, created_at, queue_deadline_ms,
    queue_window_ms, lease_ms, run_limit_ms)
VALUES (?1, ?2, ?3, ?4, ?5, CAST(?6 AS TEXT), ?7, ?8, ?9, ?10, ?11, ?12)
"""

# Keep a user's name for a commit, unless the user used that name before.
INSERT_KEY: Final = """
INSERT INTO idempotency_keys (user_id, key, request_hash, job_id, created_at_ms) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (user_id, key) DO NOTHING
"""

# What a user's name for a commit stands for: the job, if it is still there; and whether the request was the
# same.
REPLAY: Final = """
SELECT job_id, request_hash = ?3 FROM idempotency_keys AS named JOIN jobs AS job ON job.id = named.job_id
WHERE named.user_id = ?1 AND key = ?2
"""

# Take a name back whose job was refused or deleted.
DELETE_KEY: Final = "DELETE FROM idempotency_keys WHERE user_id = ?1 AND key = ?2"

# Give a waiting job to a worker as the next attempt; answers the payload.
ASSIGN_JOB: Final = _step(
    JobEvent.CLAIM,
    """
UPDATE jobs SET status = $new, attempt = ?2, worker_pubkey = ?3, lease_deadline_ms = ?4
WHERE id = ?1 AND status IN $old AND attempt = ?2 - 1
RETURNING CAST(payload AS BLOB)
""",
)

# Note that the worker began.
START_JOB: Final = _step(
    JobEvent.START, "UPDATE jobs SET status = $new WHERE id = ?1 AND status IN $old AND attempt = ?2"
)

# End an attempt and let the job wait again; remembering the worker when ?5 is true, counting a failure when
# ?6 is.
REQUEUE_JOB: Final = _step(
    JobEvent.REQUEUE,
    """
UPDATE jobs SET status = $new, last_failure = ?3, queue_deadline_ms = ?4,
    tried_pubkeys = iif(?5, json_insert(tried_pubkeys, '$$[#]', worker_pubkey), tried_pubkeys),
    failures = failures + ?6, worker_pubkey = NULL, lease_deadline_ms = NULL
WHERE id = ?1 AND status IN $old AND attempt = ?2
""",
)

# Keep the output of the attempt that this worker holds; answers when the job was committed.
COMPLETE_JOB: Final = _step(
    JobEvent.COMPLETE,
    """
UPDATE jobs SET status = $new, result = CAST(?4 AS TEXT), completed_at = ?5, lease_deadline_ms = NULL
WHERE id = ?1 AND status IN $old AND attempt = ?2 AND worker_pubkey = ?3
RETURNING created_at
""",
)

# End a job without an output; answers when the job was committed.
FAIL_JOB: Final = _step(
    JobEvent.FAIL,
    """
UPDATE jobs SET status = $new, result = CAST(?3 AS TEXT), completed_at = ?4, lease_deadline_ms = NULL
WHERE id = ?1 AND status IN $old AND attempt = ?2
RETURNING created_at
""",
)

# End a job because its owner wants it no more, whatever its attempt; answers when it was committed.
CANCEL_JOB: Final = _step(
    JobEvent.CANCEL,
    """
UPDATE jobs SET status = $new, result = CAST(?2 AS TEXT), completed_at = ?3, lease_deadline_ms = NULL
WHERE id = ?1 AND status IN $old
RETURNING created_at
""",
)

# A job as its owner sees it, with its receipt if it has one.
JOB_VIEW: Final = """
SELECT job.status, CAST(job.result AS BLOB), job.created_at, job.completed_at,
    receipt.provider_pubkey, CAST(receipt.receipt_json AS BLOB), receipt.signature, receipt.verified
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
    last_failure
FROM jobs WHERE rowid = ?1 AND status IN {_UNFINISHED}
"""  # noqa: S608 - as above

# Keep a job's receipt; an unverified one gives way to a verified one, nothing else does. The id begins with
# the time, so that its index grows at the end: a random id would dirty a page of its own each time.
PUT_RECEIPT: Final = """
INSERT INTO receipts (id, job_id, provider_pubkey, receipt_json, signature, verified, created_at)
VALUES (printf('%012x', ?7) || lower(hex(randomblob(10))), ?1, ?2, CAST(?3 AS TEXT), ?4, ?5, ?6)
ON CONFLICT (job_id) DO UPDATE SET provider_pubkey = excluded.provider_pubkey,
    receipt_json = excluded.receipt_json, signature = excluded.signature, verified = excluded.verified,
    created_at = excluded.created_at
WHERE receipts.verified = 0 AND excluded.verified = 1
"""

# Keep a new, unclaimed pairing code.
CREATE_PAIRING: Final = """
INSERT INTO trust_pairings (id, user_id, pairing_code, created_at, expires_at)
VALUES (lower(hex(randomblob(16))), ?1, ?2, ?3, ?4)
"""

# Use up a pairing code that is neither claimed nor expired; answers whose it is.
CLAIM_PAIRING: Final = """
UPDATE trust_pairings SET claimed = 1, provider_pubkey = ?2, claimed_at_ms = ?3
WHERE pairing_code = ?1 AND claimed = 0 AND expires_at > ?4
RETURNING user_id
"""

# Whether a pairing code exists, and whether it was used.
PAIRING_CLAIMED: Final = "SELECT claimed FROM trust_pairings WHERE pairing_code = ?1"

# Since when a user trusts one worker key.
PAIRED_AT: Final = """
SELECT min(claimed_at_ms) FROM trust_pairings WHERE user_id = ?1 AND provider_pubkey = ?2 AND claimed = 1
"""

# The worker keys that a user trusts.
TRUSTED_PUBKEYS: Final = """
SELECT DISTINCT provider_pubkey FROM trust_pairings
WHERE user_id = ?1 AND claimed = 1 ORDER BY provider_pubkey
"""

# The worker keys that a user trusts, and since when; oldest first.
PAIRINGS: Final = """
SELECT provider_pubkey, min(claimed_at_ms) AS paired_at FROM trust_pairings
WHERE user_id = ?1 AND claimed = 1 GROUP BY provider_pubkey ORDER BY paired_at, provider_pubkey
"""

# Remember a number under a name.
PUT_STATE: Final = """
INSERT INTO coordinator_state (name, value) VALUES (?1, ?2)
ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""

# The number under a name.
STATE: Final = "SELECT value FROM coordinator_state WHERE name = ?1"

_FIRST_ENDED: Final = "FROM jobs WHERE completed_at < ?1 ORDER BY completed_at, rowid LIMIT ?2"

# Delete the receipts of the jobs that the next statement deletes.
DELETE_RECEIPTS: Final = f"""
DELETE FROM receipts WHERE job_id IN (SELECT id {_FIRST_ENDED})
"""  # noqa: S608 - a text of this module

# Delete jobs that ended before a time, oldest first. Their idempotency keys then stand for nothing.
DELETE_FINISHED: Final = f"""
DELETE FROM jobs WHERE rowid IN (SELECT rowid {_FIRST_ENDED})
"""  # noqa: S608 - a text of this module

# Forget idempotency keys first used before a time, oldest first.
DELETE_KEYS: Final = """
DELETE FROM idempotency_keys WHERE rowid IN (
    SELECT rowid FROM idempotency_keys WHERE created_at_ms < ?1 ORDER BY created_at_ms, rowid LIMIT ?2
)
"""
