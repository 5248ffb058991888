"""Every SQL statement about API keys, by name."""

from __future__ import annotations

from typing import Final

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
