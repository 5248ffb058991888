ALTER TABLE jobs ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN queue_window_ms INTEGER NOT NULL DEFAULT 30000;
ALTER TABLE jobs ADD COLUMN lease_ms INTEGER NOT NULL DEFAULT 120000;
ALTER TABLE jobs ADD COLUMN run_limit_ms INTEGER;

-- Of old jobs only the unfinished need true values: nobody reads those of finished ones, which may be many.
-- Until now every attempt that ended counted.
UPDATE jobs SET failures = attempt - (status <> 'pending'), lease_ms = iif(type = 'TASK', 20000, 120000)
WHERE status IN ('pending', 'assigned', 'running');

-- For the deletion of the jobs that ended first. "completed_at < ?" implies the condition.
CREATE INDEX jobs_ended ON jobs (completed_at) WHERE completed_at IS NOT NULL;

-- No reference to jobs and no index on them, because each would cost every commit more than the rest of the key.
-- So a key may outlive its job; whoever reads keys looks whether the job is there.
CREATE TABLE idempotency_keys (
    user_id TEXT NOT NULL,
    key TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    job_id TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    PRIMARY KEY (user_id, key)
);

CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at_ms);

CREATE TABLE coordinator_state (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
