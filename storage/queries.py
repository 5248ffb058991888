"""Every SQL statement of the SQLite store, by name.

An UPDATE of a job names the statuses that the job may come from and the attempt it is about, so a late
writer changes nothing. JSON that came from outside is bound as bytes and cast: SQLite then keeps the very
bytes, and the columns still read as text in other tools.
"""

from __future__ import annotations

from string import Template
from typing import Final

from compute_router.protocol.job_state import UNFINISHED, JobEvent, JobStatus, advance, sources
from compute_router.protocol.pairing import MAX_WRONG_TRIES
from compute_router.storage.interface import LOCKED as _LOCKED
from compute_router.storage.money_queries import open_payment


def _literals(statuses: tuple[JobStatus, ...]) -> str:
    return "(" + ", ".join(f"'{status.value}'" for status in statuses) + ")"


def _step(event: JobEvent, sql: str) -> str:
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

# Keep the output of the attempt that this worker holds; answers when the job was committed, for whom, and
# whether it is paid.
COMPLETE_JOB: Final = _step(
    JobEvent.COMPLETE,
    """
UPDATE jobs SET status = $new, result = CAST(?4 AS TEXT), completed_at = ?5, lease_deadline_ms = NULL
WHERE id = ?1 AND status IN $old AND attempt = ?2 AND worker_pubkey = ?3
RETURNING created_at, user_id, paid
""",
)

# End a job without an output; answers when the job was committed, for whom, and whether it is paid.
FAIL_JOB: Final = _step(
    JobEvent.FAIL,
    """
UPDATE jobs SET status = $new, result = CAST(?3 AS TEXT), completed_at = ?4, lease_deadline_ms = NULL
WHERE id = ?1 AND status IN $old AND attempt = ?2
RETURNING created_at, user_id, paid
""",
)

# End a job because its owner wants it no more, whatever its attempt; answers what the statement before does.
CANCEL_JOB: Final = _step(
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

# How much is kept against a worker key.
COUNT_EVIDENCE: Final = "SELECT count(*) FROM evidence WHERE worker_pubkey = ?1"

# Keep a completion whose proof was wrong.
PUT_EVIDENCE: Final = """
INSERT INTO evidence (job_id, attempt, worker_pubkey, reason, output_hash, receipt_json, signature,
    created_at_ms)
VALUES (?1, ?2, ?3, ?4, ?5, CAST(?6 AS TEXT), ?7, ?8)
"""

# What is kept against a worker key, oldest first.
EVIDENCE: Final = """
SELECT job_id, attempt, reason, output_hash, CAST(receipt_json AS BLOB), signature, created_at_ms
FROM evidence WHERE worker_pubkey = ?1 ORDER BY id
"""

# Delete evidence from before a time, oldest first.
DELETE_EVIDENCE: Final = """
DELETE FROM evidence WHERE id IN (
    SELECT id FROM evidence WHERE created_at_ms < ?1 ORDER BY created_at_ms, id LIMIT ?2
)
"""

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

# What is kept of the token of a user's owner.
OWNER: Final = "SELECT token_hash FROM users WHERE user_id = ?1"

# Make somebody the owner of a user, or lock the user, unless there is an owner.
PUT_OWNER: Final = f"""
INSERT INTO users (user_id, token_hash, created_at_ms) VALUES (?1, ?2, ?3)
ON CONFLICT (user_id) DO UPDATE SET token_hash = excluded.token_hash, created_at_ms = excluded.created_at_ms
WHERE users.token_hash = '{_LOCKED}' AND excluded.token_hash <> '{_LOCKED}'
"""  # noqa: S608 - a constant of the store

# Keep a new, unclaimed pairing code.
CREATE_PAIRING: Final = """
INSERT INTO trust_pairings (id, user_id, pairing_code, created_at, expires_at, code_head)
VALUES (lower(hex(randomblob(16))), ?1, ?2, ?3, ?4, ?5)
"""

# How many of a user's codes are neither claimed nor expired.
OPEN_CODES: Final = """
SELECT count(*) FROM trust_pairings WHERE user_id = ?1 AND claimed = 0 AND expires_at > ?2
"""

# Forget some codes that expired unclaimed before a time.
DELETE_DEAD_CODES: Final = """
DELETE FROM trust_pairings WHERE rowid IN (
    SELECT rowid FROM trust_pairings WHERE claimed = 0 AND expires_at < ?1 LIMIT ?2
)
"""

# Use up a pairing code that is neither claimed nor expired nor burnt; answers whose it is.
CLAIM_PAIRING: Final = f"""
UPDATE trust_pairings SET claimed = 1, provider_pubkey = ?2, claimed_at_ms = ?3, claim_signed = ?5
WHERE pairing_code = ?1 AND claimed = 0 AND expires_at > ?4 AND wrong_tries < {MAX_WRONG_TRIES}
RETURNING user_id
"""  # noqa: S608 - a constant of the protocol

# Whether a pairing code exists that is not burnt, and whether it was used.
PAIRING_CLAIMED: Final = f"""
SELECT claimed FROM trust_pairings
WHERE pairing_code = ?1 AND (claimed = 1 OR wrong_tries < {MAX_WRONG_TRIES})
"""  # noqa: S608 - as above

# Count a wrong try for the codes that could have been meant.
COUNT_WRONG_TRY: Final = """
UPDATE trust_pairings SET wrong_tries = wrong_tries + 1
WHERE code_head = ?1 AND claimed = 0 AND expires_at > ?2
"""

# End a user's trust in one worker key.
REVOKE_PAIRING: Final = """
DELETE FROM trust_pairings WHERE user_id = ?1 AND provider_pubkey = ?2 AND claimed = 1
"""

# Since when a user trusts one worker key, and whether that key ever signed for it.
PAIRED_AT: Final = """
SELECT min(claimed_at_ms), max(claim_signed) FROM trust_pairings
WHERE user_id = ?1 AND provider_pubkey = ?2 AND claimed = 1
"""

# The worker keys that a user trusts.
TRUSTED_PUBKEYS: Final = """
SELECT DISTINCT provider_pubkey FROM trust_pairings
WHERE user_id = ?1 AND claimed = 1 ORDER BY provider_pubkey
"""

# The worker keys that a user trusts, since when, and whether they signed for it; oldest first.
PAIRINGS: Final = """
SELECT provider_pubkey, min(claimed_at_ms) AS paired_at, max(claim_signed) FROM trust_pairings
WHERE user_id = ?1 AND claimed = 1 GROUP BY provider_pubkey ORDER BY paired_at, provider_pubkey
"""

# Keep a new API key.
PUT_API_KEY: Final = """
INSERT INTO api_keys (key_id, key_hash, name, scope, user_id, jobs_per_minute, jobs_at_once, jobs_per_day,
    created_at_ms)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
"""

# Note that an API key may be used no more.
REVOKE_API_KEY: Final = "UPDATE api_keys SET revoked_at_ms = ?2 WHERE key_id = ?1 AND revoked_at_ms IS NULL"

# Every API key. Read once, at the start.
ALL_API_KEYS: Final = """
SELECT key_id, key_hash, name, scope, user_id, jobs_per_minute, jobs_at_once, jobs_per_day, created_at_ms,
    revoked_at_ms
FROM api_keys ORDER BY created_at_ms, key_id
"""

# Count a job of a key on a day, while it has made fewer than it may; answers how many there are now.
COUNT_KEY_JOB: Final = """
INSERT INTO api_key_days (key_id, day, jobs) VALUES (?1, ?2, 1)
ON CONFLICT (key_id, day) DO UPDATE SET jobs = jobs + 1 WHERE jobs < ?3
RETURNING jobs
"""

# Forget how many jobs a key made on earlier days.
FORGET_KEY_DAYS: Final = "DELETE FROM api_key_days WHERE key_id = ?1 AND day < ?2"

# Keep what a worker key did, in place of what was kept of it; not whether it is barred.
PUT_WORKER_RECORD: Final = """
INSERT INTO worker_records (pubkey, first_seen_ms, last_seen_ms, completed, failed, rejected, lost,
    bad_receipts, latency_sum_ms, audits_agreed, audits_disagreed, recent_good, recent_bad)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
ON CONFLICT (pubkey) DO UPDATE SET first_seen_ms = excluded.first_seen_ms,
    last_seen_ms = excluded.last_seen_ms, completed = excluded.completed, failed = excluded.failed,
    rejected = excluded.rejected, lost = excluded.lost, bad_receipts = excluded.bad_receipts,
    latency_sum_ms = excluded.latency_sum_ms, audits_agreed = excluded.audits_agreed,
    audits_disagreed = excluded.audits_disagreed, recent_good = excluded.recent_good,
    recent_bad = excluded.recent_bad
"""

_RECORD: Final = """
    pubkey, first_seen_ms, last_seen_ms, completed, failed, rejected, lost, bad_receipts, latency_sum_ms,
    audits_agreed, audits_disagreed, recent_good, recent_bad, barred_at_ms, barred_reason
"""

# What is kept of one worker key.
WORKER_RECORD: Final = f"""
SELECT {_RECORD} FROM worker_records WHERE pubkey = ?1
"""  # noqa: S608 - a text of this module

# What is kept of the newest worker keys. Read once, at the start.
NEWEST_WORKER_RECORDS: Final = f"""
SELECT {_RECORD} FROM worker_records ORDER BY rowid DESC LIMIT ?1
"""  # noqa: S608 - a text of this module

# Note that a worker key may not take part any more, and why.
BAR_WORKER: Final = """
INSERT INTO worker_records (pubkey, first_seen_ms, last_seen_ms, barred_at_ms, barred_reason)
VALUES (?1, ?3, ?3, ?3, ?2)
ON CONFLICT (pubkey) DO UPDATE SET barred_at_ms = excluded.barred_at_ms,
    barred_reason = excluded.barred_reason
WHERE worker_records.barred_at_ms IS NULL
"""

# Let a worker key take part again.
UNBAR_WORKER: Final = """
UPDATE worker_records SET barred_at_ms = NULL, barred_reason = NULL
WHERE pubkey = ?1 AND barred_at_ms IS NOT NULL
"""

# Every worker key that is barred.
BARRED_WORKERS: Final = """
SELECT pubkey FROM worker_records INDEXED BY worker_records_barred
WHERE barred_at_ms IS NOT NULL ORDER BY pubkey
"""

# Keep a pending repetition of a completed job: ?1 repeats ?2.
INSERT_AUDIT: Final = """
INSERT INTO jobs (id, audit_of, user_id, created_at, queue_deadline_ms, queue_window_ms, lease_ms, type,
    policy, privacy_class, payload, model)
SELECT ?1, id, ?3, ?4, ?5, ?6, ?7, type, 'CHEAP', privacy_class, payload, model FROM jobs
WHERE id = ?2 AND status = 'completed'
"""

# End every repetition that is not finished, without an output.
DROP_AUDITS: Final = _step(
    JobEvent.FAIL,
    """
UPDATE jobs SET status = $new, result = CAST(?1 AS TEXT), completed_at = ?2, lease_deadline_ms = NULL
WHERE audit_of IS NOT NULL AND status IN $old
""",
)

# Remember a number under a name.
PUT_STATE: Final = """
INSERT INTO coordinator_state (name, value) VALUES (?1, ?2)
ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""

# The number under a name.
STATE: Final = "SELECT value FROM coordinator_state WHERE name = ?1"

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
