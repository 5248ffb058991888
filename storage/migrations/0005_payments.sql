-- One row for each authorization that a job was taken in for, or for a spent credit (network 'credit').
CREATE TABLE payments (
    payment_id TEXT PRIMARY KEY,
    job_id TEXT NOT NULL REFERENCES jobs(id),
    payer TEXT NOT NULL,
    network TEXT NOT NULL,
    asset TEXT NOT NULL,
    pay_to TEXT NOT NULL,
    amount INTEGER NOT NULL,
    state TEXT NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    x402_version INTEGER NOT NULL,
    payload TEXT NOT NULL,
    requirements TEXT NOT NULL,
    transaction_ref TEXT,
    reason TEXT,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL
);
CREATE UNIQUE INDEX payments_job_id ON payments (job_id);
CREATE INDEX payments_open ON payments (payer, state) WHERE state IN ('reserved', 'settling', 'unknown');

-- What is left of money that came for jobs that did not. Only the hash of a token is kept.
CREATE TABLE credits (
    token_hash TEXT PRIMARY KEY,
    payer TEXT NOT NULL,
    payment_id TEXT NOT NULL UNIQUE,
    amount_left INTEGER NOT NULL CHECK (amount_left >= 0),
    created_at_ms INTEGER NOT NULL
);

-- Double entry: the amounts of one journal are zero together. Nothing here is ever changed or deleted.
CREATE TABLE ledger (
    id INTEGER PRIMARY KEY,
    journal TEXT NOT NULL,
    account TEXT NOT NULL,
    amount INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    UNIQUE (journal, account)
);
CREATE INDEX ledger_account ON ledger (account);

-- Where a worker's earnings go; the address was signed by the worker's key.
CREATE TABLE payout_addresses (
    pubkey TEXT PRIMARY KEY,
    address TEXT NOT NULL,
    signed_at_ms INTEGER NOT NULL
);

CREATE TABLE payouts (
    payout_id TEXT PRIMARY KEY,
    pubkey TEXT NOT NULL,
    address TEXT NOT NULL,
    amount INTEGER NOT NULL,
    state TEXT NOT NULL,
    transaction_data TEXT,
    transaction_ref TEXT,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL
);
CREATE UNIQUE INDEX payouts_open ON payouts (pubkey) WHERE state IN ('recorded', 'sent', 'unknown');
