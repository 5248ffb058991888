-- "CRTR": tells our databases from other people's.
PRAGMA application_id = 1129469010;

CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    type TEXT NOT NULL,
    policy TEXT NOT NULL,
    privacy_class TEXT NOT NULL DEFAULT 'PUBLIC',
    user_id TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending',
    payload TEXT NOT NULL,
    result TEXT,
    worker_pubkey TEXT,
    created_at TEXT NOT NULL,
    completed_at TEXT,
    model TEXT,
    attempt INTEGER NOT NULL DEFAULT 0,
    lease_deadline_ms INTEGER,
    queue_deadline_ms INTEGER NOT NULL DEFAULT 0,
    tried_pubkeys TEXT NOT NULL DEFAULT '[]',
    last_failure TEXT
);

-- Finished jobs, nearly all of them, are not in it. A query must repeat the condition to use it.
CREATE INDEX jobs_unfinished ON jobs (status) WHERE status IN ('pending', 'assigned', 'running');

CREATE TABLE trust_pairings (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    provider_pubkey TEXT,
    pairing_code TEXT NOT NULL UNIQUE,
    claimed INTEGER NOT NULL DEFAULT 0,
    expires_at TEXT NOT NULL,
    created_at TEXT NOT NULL,
    claimed_at_ms INTEGER
);

CREATE INDEX trust_pairings_claimed ON trust_pairings (user_id, provider_pubkey, claimed_at_ms)
WHERE claimed = 1;

CREATE TABLE receipts (
    id TEXT PRIMARY KEY,
    job_id TEXT NOT NULL REFERENCES jobs(id),
    provider_pubkey TEXT NOT NULL,
    receipt_json TEXT NOT NULL,
    signature TEXT NOT NULL,
    verified INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL
);

CREATE UNIQUE INDEX receipts_job_id ON receipts (job_id);
