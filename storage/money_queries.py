"""Every SQL statement about payments, credits, the ledger and payouts, by name; as in ``job_queries``."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final

from compute_router.protocol.job_state import UNFINISHED, JobStatus
from compute_router.protocol.payment_state import OPEN_PAYMENTS, PaymentEvent, PaymentState, payment_sources
from compute_router.protocol.payout_state import OPEN_PAYOUTS, PayoutEvent, payout_sources


def _literals(states: Iterable[Enum]) -> str:
    return "(" + ", ".join(f"'{state.value}'" for state in states) + ")"


# Literals in the order of the table, so that SQLite sees that the condition of a partial index is the same.
open_payment: Final = _literals(state for state in PaymentState if state in OPEN_PAYMENTS)
_asked_payment: Final = _literals((PaymentState.SETTLING, PaymentState.UNKNOWN))
_open_payout: Final = _literals(OPEN_PAYOUTS)
_unfinished: Final = _literals(status for status in JobStatus if status in UNFINISHED)

_PAYMENT: Final = """
    payment.payment_id, payment.job_id, payment.payer, payment.network, payment.amount, payment.fee,
    payment.state, payment.transaction_ref, payment.reason, payment.asset, payment.pay_to,
    payment.expires_at_ms, payment.x402_version, CAST(payment.payload AS BLOB),
    CAST(payment.requirements AS BLOB), payment.credit_token_hash, payment.spends, payment.commit_key_hash
"""

_PAYOUT: Final = """
    payout_id, pubkey, address, amount, created_at_ms, state, transaction_data, transaction_ref, reason
"""

# Keep the payment of a job, unless its id was used before.
RESERVE_PAYMENT: Final = """
INSERT INTO payments (payment_id, job_id, payer, network, asset, pay_to, amount, fee, state, expires_at_ms,
    x402_version, payload, requirements, credit_token_hash, spends, created_at_ms, updated_at_ms,
    commit_key_hash)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, CAST(?12 AS TEXT), CAST(?13 AS TEXT), ?14, ?15, ?16,
    ?16, ?17)
ON CONFLICT (payment_id) DO NOTHING
"""

# One payment.
PAYMENT: Final = f"SELECT {_PAYMENT} FROM payments AS payment WHERE payment_id = ?1"  # noqa: S608 - our texts

# The payment of a job.
PAYMENT_OF_JOB: Final = f"SELECT {_PAYMENT} FROM payments AS payment WHERE job_id = ?1"  # noqa: S608 - as above

MOVE_PAYMENT: Final = {
    event: f"""
UPDATE payments SET state = ?2, transaction_ref = coalesce(?4, transaction_ref),
    updated_at_ms = CASE ?2 WHEN '{PaymentState.UNKNOWN.value}' THEN updated_at_ms ELSE ?3 END,
    reason = coalesce(?5, reason), look_at_ms = ?6
WHERE payment_id = ?1 AND state IN {_literals(payment_sources(event))}
"""  # noqa: S608 - constants of the state table
    for event in PaymentEvent
}
"""Make a step of a payment. One whose end nobody knows waits since it was asked for."""

# Name the settlement of a job on its receipt.
NAME_SETTLEMENT: Final = "UPDATE receipts SET payment_ref = ?2 WHERE job_id = ?1 AND payment_ref IS NULL"

# The payments whose money may still move, and where their jobs stand.
OPEN_PAYMENTS_OF_JOBS: Final = f"""
SELECT job.status, {_PAYMENT} FROM payments AS payment INDEXED BY payments_open
JOIN jobs AS job ON job.id = payment.job_id
WHERE payment.state IN {open_payment} ORDER BY payment.expires_at_ms, payment.rowid
"""  # noqa: S608 - as above

# The payments of unfinished jobs whose money came early.
EARLY_PAYMENTS_OF_JOBS: Final = f"""
SELECT job.status, {_PAYMENT} FROM jobs AS job INDEXED BY jobs_unfinished
JOIN payments AS payment ON payment.job_id = job.id
WHERE job.status IN {_unfinished} AND job.paid AND payment.state = '{PaymentState.SETTLED.value}'
ORDER BY payment.expires_at_ms, payment.rowid
"""  # noqa: S608 - as above

# Void payments that are to be looked up by now, longest due first.
PAYMENTS_TO_LOOK_AT: Final = f"""
SELECT {_PAYMENT} FROM payments AS payment INDEXED BY payments_to_look_at
WHERE look_at_ms IS NOT NULL AND look_at_ms <= ?1 ORDER BY look_at_ms, payment.rowid LIMIT ?2
"""  # noqa: S608 - as above

# When the next void payment is to be looked up.
NEXT_LOOK: Final = """
SELECT look_at_ms FROM payments INDEXED BY payments_to_look_at
WHERE look_at_ms IS NOT NULL ORDER BY look_at_ms LIMIT 1
"""

# Set when a void payment is to be looked up again; NULL: never.
LOOK_AGAIN: Final = f"""
UPDATE payments SET look_at_ms = ?2 WHERE payment_id = ?1 AND state = '{PaymentState.VOID.value}'
"""  # noqa: S608 - as above

# Note since when a payment is lost.
NOTE_LOSS: Final = "UPDATE payments SET lost_at_ms = ?2 WHERE payment_id = ?1 AND lost_at_ms IS NULL"

# Note that a payment that was lost came after all.
NOTE_RECOVERY: Final = (
    "UPDATE payments SET lost_at_ms = NULL WHERE payment_id = ?1 AND lost_at_ms IS NOT NULL"
)

# Everything that is lost. Read once, at the start.
LOSSES: Final = """
SELECT payment_id, payer, amount, lost_at_ms, reason FROM payments INDEXED BY payments_lost
WHERE lost_at_ms IS NOT NULL ORDER BY lost_at_ms, rowid
"""

# Keep a new credit.
PUT_CREDIT: Final = """
INSERT INTO credits (token_hash, payer, payment_id, amount_left, created_at_ms) VALUES (?1, ?2, ?3, ?4, ?5)
"""

# What is left of a credit.
CREDIT: Final = "SELECT payer, payment_id, amount_left FROM credits WHERE token_hash = ?1"

# Take from a credit what is there.
SPEND_CREDIT: Final = """
UPDATE credits SET amount_left = amount_left - ?3 WHERE token_hash = ?1 AND payer = ?2 AND amount_left >= ?3
"""

# Write one entry of a journal; the balance of its account follows by itself.
POST_ENTRY: Final = "INSERT INTO ledger (journal, account, amount, created_at_ms) VALUES (?1, ?2, ?3, ?4)"

# The sum of an account.
BALANCE: Final = "SELECT amount FROM balances WHERE account = ?1"

# The sum of all accounts. Read once, at the start.
LEDGER_SUM: Final = "SELECT coalesce(sum(amount), 0) FROM balances"

# How many payments are in each state, and what they come to. A row for each state.
PAYMENT_TOTALS: Final = "SELECT state, payments, amount FROM payment_totals"

# Since when the settlement that has been waiting longest is where it is.
OLDEST_SETTLEMENT: Final = f"""
SELECT min(updated_at_ms) FROM payments INDEXED BY payments_asked WHERE state IN {_asked_payment}
"""  # noqa: S608 - as above

# The sums of all accounts of each kind. A row for each kind.
LEDGER_TOTALS: Final = "SELECT kind, amount FROM ledger_totals"

# Keep where a worker wants its earnings, unless what is kept was signed then or later.
PUT_PAYOUT_ADDRESS: Final = """
INSERT INTO payout_addresses (pubkey, address, signed_at_ms) VALUES (?1, ?2, ?3)
ON CONFLICT (pubkey) DO UPDATE SET address = excluded.address, signed_at_ms = excluded.signed_at_ms
WHERE payout_addresses.signed_at_ms < excluded.signed_at_ms
"""

# Where a worker wants its earnings.
PAYOUT_ADDRESS: Final = "SELECT address, signed_at_ms FROM payout_addresses WHERE pubkey = ?1"

# Who is owed at least so much and can be paid. For an operator who pays out, so it may read all addresses.
PAYABLE: Final = f"""
SELECT named.pubkey, named.address, owed.amount FROM payout_addresses AS named
JOIN balances AS owed ON owed.account = 'worker:' || named.pubkey
WHERE owed.amount >= ?1 AND NOT EXISTS (
    SELECT 1 FROM payouts WHERE payouts.pubkey = named.pubkey AND payouts.state IN {_open_payout}
)
ORDER BY owed.amount DESC, named.pubkey LIMIT ?2
"""  # noqa: S608 - as above

# Keep a new payout, unless its worker has one that is open.
PUT_PAYOUT: Final = f"""
INSERT INTO payouts (payout_id, pubkey, address, amount, state, created_at_ms, updated_at_ms)
VALUES (?1, ?2, ?3, ?4, 'recorded', ?5, ?5)
ON CONFLICT (pubkey) WHERE state IN {_open_payout} DO NOTHING
"""  # noqa: S608 - as above

MOVE_PAYOUT: Final = {
    event: f"""
UPDATE payouts SET state = ?2, updated_at_ms = ?3, transaction_data = coalesce(?4, transaction_data),
    transaction_ref = coalesce(?5, transaction_ref), reason = coalesce(?6, reason)
WHERE payout_id = ?1 AND state IN {_literals(payout_sources(event))}
    AND (?7 IS NULL OR transaction_ref = ?7)
"""  # noqa: S608 - as above
    for event in PayoutEvent
}
"""Make a step of a payout; where a transaction is named, only while it is the one that is kept."""

# One payout.
PAYOUT: Final = f"SELECT {_PAYOUT} FROM payouts WHERE payout_id = ?1"  # noqa: S608 - as above

# The payouts that may still move money. Few: those that an operator is paying at the moment.
ALL_OPEN_PAYOUTS: Final = f"""
SELECT {_PAYOUT} FROM payouts INDEXED BY payouts_open WHERE state IN {_open_payout}
ORDER BY created_at_ms, rowid
"""  # noqa: S608 - as above

# A worker's newest payouts.
PAYOUTS_OF: Final = f"""
SELECT {_PAYOUT} FROM payouts WHERE pubkey = ?1 ORDER BY created_at_ms DESC, rowid DESC LIMIT ?2
"""  # noqa: S608 - as above

# What is on its way to a worker.
UNDER_WAY: Final = f"""
SELECT coalesce(sum(amount), 0) FROM payouts WHERE pubkey = ?1 AND state IN {_open_payout}
"""  # noqa: S608 - as above
