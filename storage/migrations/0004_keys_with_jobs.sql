-- A key is a column of its job, because a table of its own made every commit write one more statement and two
-- more indexes. So a key ends with its job.
ALTER TABLE jobs ADD COLUMN idempotency_key TEXT;
ALTER TABLE jobs ADD COLUMN request_hash TEXT;

UPDATE jobs SET idempotency_key = named.key, request_hash = named.request_hash
FROM idempotency_keys AS named WHERE named.job_id = jobs.id AND named.user_id = jobs.user_id;

DROP TABLE idempotency_keys;

-- The key first: those that begin with the time then grow the index at its end, whoever's they are.
CREATE UNIQUE INDEX jobs_idempotency_key ON jobs (idempotency_key, user_id) WHERE idempotency_key IS NOT NULL;

-- For forgetting the oldest keys.
CREATE INDEX jobs_keyed ON jobs (created_at) WHERE idempotency_key IS NOT NULL;
