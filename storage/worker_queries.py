"""Every SQL statement about worker keys, by name: records, bars, audits, and evidence against them."""

from __future__ import annotations

from typing import Final

from compute_router.protocol.job_state import JobEvent
from compute_router.storage.job_queries import job_step

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
DROP_AUDITS: Final = job_step(
    JobEvent.FAIL,
    """
UPDATE jobs SET status = $new, result = CAST(?1 AS TEXT), completed_at = ?2, lease_deadline_ms = NULL
WHERE audit_of IS NOT NULL AND status IN $old
""",
)

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
