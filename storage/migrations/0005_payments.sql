-- Whether a job is paid for, so that the steps of a free one need not look for its payment.
ALTER TABLE jobs ADD COLUMN paid INTEGER NOT NULL DEFAULT 0;

-- The settlement of the job's payment, written with whichever comes later. No worker signed it.
ALTER TABLE receipts ADD COLUMN payment_ref TEXT;

-- One row for each authorization that a job was taken in for, or for a spent credit (network 'credit').
-- Rows outlive their jobs: an authorization that was used once must never be taken again.
CREATE TABLE payments (
    payment_id TEXT PRIMARY KEY,
    job_id TEXT NOT NULL,
    payer TEXT NOT NULL,
    network TEXT NOT NULL,
    asset TEXT NOT NULL,
    pay_to TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount > 0),
    fee INTEGER NOT NULL CHECK (fee BETWEEN 0 AND amount),
    state TEXT NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    x402_version INTEGER NOT NULL,
    payload TEXT NOT NULL,
    requirements TEXT NOT NULL,
    -- What is kept of the token of the credit that this payment becomes when its job fails.
    credit_token_hash TEXT NOT NULL,
    -- The credit that this payment was taken from, by what is kept of its token.
    spends TEXT,
    -- What is kept of the Idempotency-Key of its commit, which the token of the credit is shown to.
    commit_key_hash TEXT,
    transaction_ref TEXT,
    reason TEXT,
    -- Void: when the chain must be asked whether somebody carried it out all the same.
    look_at_ms INTEGER,
    -- Void, and its job completed: since when the payer owes it.
    lost_at_ms INTEGER,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL
);
CREATE UNIQUE INDEX payments_job_id ON payments (job_id);
-- Decided payments, nearly all of them, are in neither. A query must repeat the condition to use one.
CREATE INDEX payments_open ON payments (state, expires_at_ms)
WHERE state IN ('reserved', 'settling', 'unknown');
CREATE INDEX payments_open_of_payer ON payments (payer, state, amount)
WHERE state IN ('reserved', 'settling', 'unknown');
CREATE INDEX payments_to_look_at ON payments (look_at_ms) WHERE look_at_ms IS NOT NULL;
CREATE INDEX payments_lost ON payments (lost_at_ms) WHERE lost_at_ms IS NOT NULL;
-- Which settlement has been waiting longest.
CREATE INDEX payments_asked ON payments (updated_at_ms) WHERE state IN ('settling', 'unknown');

-- How many payments are in each state, kept up by every step, so that nobody ever has to count them.
CREATE TABLE payment_totals (
    state TEXT PRIMARY KEY,
    payments INTEGER NOT NULL,
    amount INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER payments_counted AFTER INSERT ON payments BEGIN
    INSERT INTO payment_totals (state, payments, amount) VALUES (NEW.state, 1, NEW.amount)
    ON CONFLICT (state) DO UPDATE SET payments = payments + 1, amount = amount + excluded.amount;
END;
CREATE TRIGGER payments_counted_anew AFTER UPDATE OF state ON payments BEGIN
    UPDATE payment_totals SET payments = payments - 1, amount = amount - OLD.amount WHERE state = OLD.state;
    INSERT INTO payment_totals (state, payments, amount) VALUES (NEW.state, 1, NEW.amount)
    ON CONFLICT (state) DO UPDATE SET payments = payments + 1, amount = amount + excluded.amount;
END;

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

-- The sums of the ledger, kept up by every entry, so that nobody ever has to add up all of it.
CREATE TABLE balances (
    account TEXT PRIMARY KEY,
    amount INTEGER NOT NULL
);
-- And over all accounts of a kind: the part of their names before the colon, the whole name of the operator's.
CREATE TABLE ledger_totals (
    kind TEXT PRIMARY KEY,
    amount INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER ledger_kept_in_balances AFTER INSERT ON ledger BEGIN
    INSERT INTO balances (account, amount) VALUES (NEW.account, NEW.amount)
    ON CONFLICT (account) DO UPDATE SET amount = amount + excluded.amount;
    INSERT INTO ledger_totals (kind, amount) VALUES (
        iif(NEW.account GLOB 'operator:*', NEW.account, substr(NEW.account, 1, instr(NEW.account || ':', ':') - 1)),
        NEW.amount
    )
    ON CONFLICT (kind) DO UPDATE SET amount = amount + excluded.amount;
END;
CREATE TRIGGER ledger_never_changed BEFORE UPDATE ON ledger BEGIN
    SELECT RAISE(ABORT, 'entries of the ledger are never changed');
END;
CREATE TRIGGER ledger_never_deleted BEFORE DELETE ON ledger BEGIN
    SELECT RAISE(ABORT, 'entries of the ledger are never deleted');
END;

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
    amount INTEGER NOT NULL CHECK (amount > 0),
    state TEXT NOT NULL,
    transaction_data TEXT,
    transaction_ref TEXT,
    reason TEXT,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL
);
-- A worker has one open payout at the most, so that nothing is paid out twice.
CREATE UNIQUE INDEX payouts_open ON payouts (pubkey) WHERE state IN ('recorded', 'sent', 'unknown');
CREATE INDEX payouts_of_worker ON payouts (pubkey, created_at_ms);

-- The CAIP-2 id of the chain that all of this is about; one row, since the first start with this version.
CREATE TABLE network (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    caip2 TEXT NOT NULL
);
