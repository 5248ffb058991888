from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.ledger import (
    after_completion,
    after_failure,
    after_payout,
    after_reservation,
    after_step,
)
from compute_router.protocol.payment_state import PaymentEvent
from compute_router.protocol.payments import NewPayment
from compute_router.protocol.payout_state import PayoutEvent
from compute_router.protocol.units import MicroUsd
from compute_router.storage.interface import Store
from compute_router.storage.money_check import MONEY_RULES
from compute_router.storage.sqlite_store import open_sqlite_store
from tests.storage.money_samples import TOKEN_HASH, a_credit, a_payment, a_payout, by_credit
from tests.storage.samples import DESKTOP, ERROR, LEASE_END, NOON, OUTPUT, a_job, later
from tests.storage.test_check import found, spoil

UNLOCK = ("DROP TRIGGER ledger_never_changed", "DROP TRIGGER ledger_never_deleted")


def commit(store: Store, name: str, payment: NewPayment | None = None) -> None:
    payment = payment or a_payment(name, credit_token_hash=name)
    store.insert_job(a_job(f"job-{name}"), paid=True)
    store.reserve_payment(payment, f"job-{name}", NOON)
    for journal in after_reservation(payment):
        store.post(journal, NOON)


def step(store: Store, name: str, event: PaymentEvent, job: JobStatus = JobStatus.PENDING) -> None:
    payment = store.payment(name)
    assert payment is not None
    store.move_payment(name, event, later(6))
    for journal in after_step(payment, event, job).journals:
        store.post(journal, later(6))


def complete(store: Store, name: str) -> None:
    store.assign_job(f"job-{name}", 1, DESKTOP, LEASE_END)
    view = store.complete_job(f"job-{name}", 1, DESKTOP, OUTPUT, later(5))
    assert view is not None
    assert view.payment is not None
    for journal in after_completion(view.payment, DESKTOP):
        store.post(journal, later(5))


def fail(store: Store, name: str) -> None:
    view = store.fail_job(f"job-{name}", 0, ERROR, later(5))
    assert view is not None
    assert view.payment is not None
    consequence = after_failure(view.payment)
    for event in consequence.steps:
        store.move_payment(name, event, later(5))
    for journal in consequence.journals:
        store.post(journal, later(5))


def fill(store: Store) -> None:
    """A payment in every state that a job can leave it in, named after that, and a payout."""
    with store.transaction():
        names = ("waiting", "asked", "early", "due", "done", "lost", "released", "credited", "delivered")
        for name in (*names, "recovered"):
            commit(store, name)
        for name in ("early", "credited", "delivered"):
            step(store, name, PaymentEvent.ASK)
            step(store, name, PaymentEvent.CONFIRM)
        step(store, "asked", PaymentEvent.ASK)
        for name in ("due", "done", "lost", "delivered", "recovered"):
            complete(store, name)
        for name in ("done", "lost"):
            step(store, name, PaymentEvent.ASK, JobStatus.COMPLETED)
        step(store, "done", PaymentEvent.CONFIRM, JobStatus.COMPLETED)
        step(store, "lost", PaymentEvent.REFUSE, JobStatus.COMPLETED)
        store.note_loss("lost", later(6))
        step(store, "recovered", PaymentEvent.ASK, JobStatus.COMPLETED)
        step(store, "recovered", PaymentEvent.REFUSE, JobStatus.COMPLETED)
        step(store, "recovered", PaymentEvent.CONFIRM, JobStatus.COMPLETED)
        fail(store, "released")
        fail(store, "credited")
        store.put_credit(a_credit(payment_id="credited"), NOON)
        spent = by_credit("spent", amount=MicroUsd(3_000))
        store.spend_credit(TOKEN_HASH, spent.payer, spent.amount)
        commit(store, "spent", spent)
        store.insert_job(a_job("free"))
        payout = a_payout()
        store.put_payout(payout)
        store.move_payout("out-1", PayoutEvent.SEND, NOON, transaction_data="0xf8", transaction_ref="0x01")
        store.move_payout("out-1", PayoutEvent.SETTLE, NOON)
        store.post(after_payout(payout), NOON)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "coordinator.db"
    store = open_sqlite_store(path)
    fill(store)
    store.close()
    return path


def test_books_with_payments_in_every_state_are_in_order(database: Path) -> None:
    assert found(database) == []


@pytest.mark.parametrize("statement", ["UPDATE ledger SET amount = 0", "DELETE FROM ledger"])
def test_entries_are_neither_changed_nor_deleted(database: Path, statement: str) -> None:
    with pytest.raises(apsw.ConstraintError, match="entries of the ledger are never"):
        spoil(database, statement)
    assert found(database) == []


# What nobody can have written, and the sentence that names it. Other sentences may come with it.
SPOILED = [
    (
        "UPDATE payments SET state = 'odd' WHERE payment_id = 'waiting'",
        "Payment waiting has the unknown state 'odd'.",
    ),
    ("UPDATE payouts SET state = 'odd'", "Payout out-1 has the unknown state 'odd'."),
    (
        "INSERT INTO ledger (journal, account, amount, created_at_ms) VALUES ('gift:1', 'payer:x', 5, 0)",
        "The ledger sums to 5 and not to zero.",
    ),
    (
        "INSERT INTO ledger (journal, account, amount, created_at_ms) VALUES ('gift:1', 'payer:x', 5, 0)",
        "Journal gift:1 sums to 5 and not to zero.",
    ),
    (
        "UPDATE balances SET amount = 7 WHERE account = 'operator:losses'",
        "Account operator:losses has the balance 7, and its entries sum to -10000.",
    ),
    (
        "INSERT INTO balances VALUES ('payer:nobody', 7)",
        "Account payer:nobody has the balance 7, and its entries sum to 0.",
    ),
    (
        "UPDATE balances SET amount = -1 WHERE account GLOB 'worker:*'",
        f"Account worker:{DESKTOP} is overdrawn: -1.",
    ),
    (
        "DELETE FROM payments WHERE payment_id = 'released'",
        "Job job-released is paid for and has no payment.",
    ),
    (
        "UPDATE jobs SET paid = 0 WHERE id = 'job-done'",
        "Payment done belongs to job job-done, which is free.",
    ),
    ("DELETE FROM jobs WHERE id = 'job-asked'", "Payment asked is settling and its job is not there."),
    (
        "DELETE FROM ledger WHERE journal = 'completion:due'",
        "Job job-due is completed and payment due has no journal of that.",
    ),
    (
        "UPDATE jobs SET status = 'failed' WHERE id = 'job-done'",
        "Payment done has a journal of completion, and job job-done is failed.",
    ),
    (
        "UPDATE payments SET amount = 9999 WHERE payment_id = 'done'",
        "Payment done is of 9999, and its journals are of another amount.",
    ),
    (
        "DELETE FROM ledger WHERE journal = 'settlement:done'",
        "Payment done is settled and has no journal of its settlement.",
    ),
    (
        "DELETE FROM ledger WHERE journal = 'early:early'",
        "Payment early is settled and has no journal of its settlement.",
    ),
    (
        "DELETE FROM ledger WHERE journal = 'spending:credit/spent'",
        "Payment credit/spent is settled and has no journal of its settlement.",
    ),
    (
        "UPDATE payments SET state = 'unknown' WHERE payment_id = 'done'",
        "Payment done is unknown and has a journal of its settlement.",
    ),
    (
        "DELETE FROM ledger WHERE journal = 'delivery:delivered'",
        (
            "Payment delivered was settled early for job job-delivered, which is completed, "
            "and has no journal of delivery."
        ),
    ),
    (
        "UPDATE payments SET lost_at_ms = NULL WHERE payment_id = 'lost'",
        "Payment lost is void and its loss is not noted as its journals have it.",
    ),
    (
        "UPDATE payments SET lost_at_ms = 1 WHERE payment_id = 'recovered'",
        "Payment recovered is settled and its loss is not noted as its journals have it.",
    ),
    (
        "DELETE FROM ledger WHERE journal = 'loss:recovered'",
        "Payment recovered has a journal that its loss was made good, and none of the loss.",
    ),
    (
        "UPDATE payments SET look_at_ms = 1 WHERE payment_id = 'waiting'",
        "Payment waiting is reserved and waits to be looked up as if it were void.",
    ),
    (
        "DELETE FROM ledger WHERE journal = 'loss:lost'",
        "Payment lost is void and job job-lost completed, and there is no journal of the loss.",
    ),
    (
        "UPDATE payments SET state = 'reserved' WHERE payment_id = 'released'",
        (
            "Payment released is reserved and job job-released is failed: "
            "its money was neither released nor given back."
        ),
    ),
    (
        "UPDATE payments SET state = 'settled' WHERE payment_id = 'credited'",
        (
            "Payment credited is settled and job job-credited is failed: "
            "its money was neither released nor given back."
        ),
    ),
    (
        """
        INSERT INTO receipts (id, job_id, provider_pubkey, receipt_json, signature, created_at, payment_ref)
        VALUES ('r', 'job-done', 'p', '{}', 's', '2026-02-09T12:00:05.000Z', '0xother')
        """,
        "The receipt of job job-done names the settlement 0xother, and payment done was settled by None.",
    ),
    (
        "UPDATE payment_totals SET payments = 7 WHERE state = 'credited'",
        "Of payments that are credited there are 7 of 10000 by their tally, and 1 of 10000.",
    ),
    (
        "UPDATE ledger_totals SET amount = 1 WHERE kind = 'credit'",
        "The accounts credit come to 1 by their tally, and to 7000.",
    ),
    ("DELETE FROM credits", "Payment credited is credited and there is no credit of it."),
    (
        "UPDATE credits SET amount_left = 10000",
        "The credits of 0x" + "aa" * 20 + " come to 10000, and by the ledger to 7000.",
    ),
    ("DELETE FROM credits", "The credits of 0x" + "aa" * 20 + " come to 0, and by the ledger to 7000."),
    (
        "UPDATE payments SET state = 'credited' WHERE payment_id = 'early'",
        "The ledger holds 13000 for unfinished jobs, and they were paid 3000.",
    ),
    (
        "UPDATE payments SET state = 'void' WHERE payment_id = 'due'",
        "The ledger awaits -10000 for completed jobs, and their open payments make it 0.",
    ),
    ("DELETE FROM ledger WHERE journal = 'payout:out-1'", "Payout out-1 is settled and has no journal."),
    ("UPDATE payouts SET state = 'refused'", "Payout out-1 is refused and has a journal."),
    ("UPDATE payouts SET transaction_data = NULL", "Payout out-1 is settled and has no transaction."),
]


@pytest.mark.parametrize(("statement", "sentence"), SPOILED)
def test_money_that_nobody_can_have_moved_so_is_a_problem(
    database: Path, statement: str, sentence: str
) -> None:
    spoil(database, *UNLOCK, statement)
    assert sentence in found(database)


def test_every_rule_is_broken_by_one_of_these() -> None:
    for sentence, _ in MONEY_RULES:
        words = sentence.replace("{!r}", "{}").split("{}")
        assert any(all(part in spoiled for part in words) for _, spoiled in SPOILED), sentence
