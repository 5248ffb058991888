-- Who owns a user_id. The hash 'locked' is no hash: nobody has a token, only API keys may act for the user.
CREATE TABLE users (
    user_id TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL
);

-- A wrong code burns the code whose first characters it shares. Older codes are dead within the hour.
ALTER TABLE trust_pairings ADD COLUMN code_head TEXT;
ALTER TABLE trust_pairings ADD COLUMN wrong_tries INTEGER NOT NULL DEFAULT 0;
-- Whether the worker's key signed the claim.
ALTER TABLE trust_pairings ADD COLUMN claim_signed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX trust_pairings_open ON trust_pairings (code_head) WHERE claimed = 0;
-- For the bound on a user's open codes.
CREATE INDEX trust_pairings_open_of_user ON trust_pairings (user_id, expires_at) WHERE claimed = 0;
CREATE INDEX trust_pairings_dead ON trust_pairings (expires_at) WHERE claimed = 0;

-- JSON array of the keys that can open a sealed payload; NULL when it is not sealed.
ALTER TABLE jobs ADD COLUMN recipients TEXT;
-- The job that this one repeats to check its worker; NULL for jobs of seekers.
ALTER TABLE jobs ADD COLUMN audit_of TEXT;
CREATE INDEX jobs_audit_of ON jobs (audit_of) WHERE audit_of IS NOT NULL;

-- Completions whose proof was wrong. Signed by the worker, some of them prove that it lied.
CREATE TABLE evidence (
    id INTEGER PRIMARY KEY,
    job_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    worker_pubkey TEXT NOT NULL,
    reason TEXT NOT NULL,
    output_hash TEXT NOT NULL,
    receipt_json TEXT,
    signature TEXT,
    created_at_ms INTEGER NOT NULL
);
CREATE INDEX evidence_worker ON evidence (worker_pubkey);
CREATE INDEX evidence_created_at ON evidence (created_at_ms);

CREATE TABLE worker_records (
    pubkey TEXT PRIMARY KEY,
    first_seen_ms INTEGER NOT NULL,
    last_seen_ms INTEGER NOT NULL,
    completed INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    rejected INTEGER NOT NULL DEFAULT 0,
    lost INTEGER NOT NULL DEFAULT 0,
    bad_receipts INTEGER NOT NULL DEFAULT 0,
    latency_sum_ms INTEGER NOT NULL DEFAULT 0,
    audits_agreed INTEGER NOT NULL DEFAULT 0,
    audits_disagreed INTEGER NOT NULL DEFAULT 0,
    -- The newest outcomes, weighed; the score follows from them.
    recent_good REAL NOT NULL DEFAULT 0,
    recent_bad REAL NOT NULL DEFAULT 0,
    barred_at_ms INTEGER,
    barred_reason TEXT
);
CREATE INDEX worker_records_barred ON worker_records (pubkey) WHERE barred_at_ms IS NOT NULL;

-- Only the hash of a key is kept; the key itself is shown once, to whoever made it.
CREATE TABLE api_keys (
    key_id TEXT PRIMARY KEY,
    key_hash TEXT NOT NULL,
    name TEXT NOT NULL,
    scope TEXT NOT NULL,
    user_id TEXT,
    jobs_per_minute INTEGER,
    jobs_at_once INTEGER,
    jobs_per_day INTEGER,
    created_at_ms INTEGER NOT NULL,
    revoked_at_ms INTEGER
);

-- Days are counted from the epoch, in UTC.
CREATE TABLE api_key_days (
    key_id TEXT NOT NULL REFERENCES api_keys(key_id),
    day INTEGER NOT NULL,
    jobs INTEGER NOT NULL,
    PRIMARY KEY (key_id, day)
) WITHOUT ROWID;
