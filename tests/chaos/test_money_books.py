"""The comparison of the four books: sound ones agree, and each kind of wrong is found. Both layers use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import apsw
import msgspec
import pytest

from tests.chaos.journal import Journal, Violation
from tests.chaos.money_books import Books, ChainBook, Transfer, WorkersBook
from tests.chaos.money_promises import MoneyPromise
from tests.chaos.purses import Purchase, Purse

_FILE = """
CREATE TABLE jobs (id, status, worker_pubkey);
CREATE TABLE payments (payment_id, payer, network, amount, state, transaction_ref, job_id);
CREATE TABLE credits (payer, amount_left);
CREATE TABLE ledger (journal, account, amount);
CREATE TABLE payouts (address, amount, transaction_ref, state);
CREATE VIEW balances AS SELECT account, sum(amount) AS amount FROM ledger GROUP BY account;
INSERT INTO jobs VALUES
    ('done', 'completed', 'ann'), ('failed', 'failed', NULL), ('again', 'completed', 'ann');
INSERT INTO payments VALUES
    ('pay-1', 'eve', 'chain', 1000, 'settled', 'tx-1', 'done'),
    ('pay-2', 'eve', 'chain', 1000, 'credited', 'tx-2', 'failed'),
    ('credit/again', 'eve', 'credit', 1000, 'settled', NULL, 'again');
INSERT INTO credits VALUES ('eve', 0);
INSERT INTO ledger VALUES
    ('completion:1', 'worker:ann', 950), ('completion:1', 'operator:fees', 50),
    ('completion:1', 'receivable', -1000),
    ('settlement:1', 'payer:eve', -1000), ('settlement:1', 'receivable', 1000),
    ('early:2', 'payer:eve', -1000), ('early:2', 'held', 1000),
    ('credit:2', 'held', -1000), ('credit:2', 'credit:eve', 1000),
    ('spending:3', 'credit:eve', -1000), ('spending:3', 'held', 1000),
    ('completion:3', 'worker:ann', 950), ('completion:3', 'operator:fees', 50),
    ('completion:3', 'receivable', -1000),
    ('delivery:3', 'held', -1000), ('delivery:3', 'receivable', 1000),
    ('payout:4', 'worker:ann', -1900), ('payout:4', 'payout:ann', 1900);
INSERT INTO payouts VALUES ('ann''s', 1900, 'tx-3', 'settled');
"""
_CHAIN = ChainBook(
    payments=[Transfer("pay-1", 1000, "tx-1"), Transfer("pay-2", 1000, "tx-2")],
    payouts=[Transfer("ann's", 1900, "tx-3")],
    gone={"eve": 2000},
    came=2000,
    wages={"ann's": 1900},
)


class _Eve:
    payer = "eve"

    def sign(self, requirement: object) -> tuple[dict[str, object], str]:
        raise NotImplementedError


class Evidence:
    """Four books that agree, until a test changes one."""

    def __init__(self) -> None:
        self.journal = Journal(0)
        self.file = apsw.Connection(":memory:")
        for _ in self.file.execute(_FILE):
            pass
        self.chain = _CHAIN
        self.workers = WorkersBook({"done": "ann"}, {"ann": "ann's"})
        self.purse = Purse(_Eve(), self.journal)
        for job_id, signed in (("done", ["pay-1", "pay-1b"]), ("failed", ["pay-2"]), ("again", [])):
            purchase = Purchase(self.purse, "TASK cheap", None)
            purchase.price, purchase.job_id, purchase.signed = 1000, job_id, signed
            self.purse.purchases.append(purchase)

    def sql(self, *statements: str) -> None:
        """Change the coordinator's file."""
        for statement in statements:
            self.file.execute(statement)

    def moved_too(self, name: str, amount: int = 1000) -> None:
        """One more transfer on the chain, with what it does to balances."""
        self.chain = ChainBook(
            [*self.chain.payments, Transfer(name, amount, "tx-9")],
            self.chain.payouts,
            {"eve": self.chain.gone["eve"] + amount},
            self.chain.came + amount,
            self.chain.wages,
        )

    def paid_out_too(self, amount: int) -> None:
        """One more transfer to the worker."""
        payouts = [*self.chain.payouts, Transfer("ann's", amount, "tx-9")]
        wages = {"ann's": 1900 + amount}
        self.chain = msgspec.structs.replace(self.chain, payouts=payouts, wages=wages)

    def compare(self) -> None:
        """Compare them."""
        Books(self.journal, self.file, [self.purse], self.chain, self.workers).compare()


@pytest.fixture
def evidence() -> Iterator[Evidence]:
    books = Evidence()
    yield books
    books.file.close()


def test_sound_books_keep_every_promise_that_can_be_seen_in_them(evidence: Evidence) -> None:
    evidence.compare()
    assert set(evidence.journal.looks) == {promise.name for promise in MoneyPromise} - {"RELEASED"}


Change = Callable[[Evidence], None]

WRONGS: dict[str, tuple[MoneyPromise, Change]] = {
    "one authorization moved money twice": (
        MoneyPromise.NOT_TWICE,
        lambda books: books.moved_too("pay-1"),
    ),
    "two payments of one commit moved money": (
        MoneyPromise.NOT_TWICE,
        lambda books: books.moved_too("pay-1b"),
    ),
    "money moved that nobody signed for": (MoneyPromise.NOT_TWICE, lambda books: books.moved_too("pay-7")),
    "a failed job was charged and not credited": (
        MoneyPromise.DELIVERED,
        lambda books: books.sql("UPDATE payments SET state = 'settled' WHERE payment_id = 'pay-2'"),
    ),
    "a payment is void though its money moved": (
        MoneyPromise.DELIVERED,
        lambda books: books.sql("UPDATE payments SET state = 'void' WHERE payment_id = 'pay-1'"),
    ),
    "a payment names another transaction": (
        MoneyPromise.DELIVERED,
        lambda books: books.sql("UPDATE payments SET transaction_ref = 'tx-8' WHERE payment_id = 'pay-1'"),
    ),
    "a job that a seeker bought is not in the file": (
        MoneyPromise.DELIVERED,
        lambda books: books.sql("DELETE FROM payments WHERE payment_id = 'credit/again'"),
    ),
    "a credit is gone": (
        MoneyPromise.CREDITS,
        lambda books: books.sql(
            "DELETE FROM jobs WHERE id = 'again'",
            "INSERT INTO jobs VALUES ('again', 'failed', NULL)",
            "UPDATE payments SET state = 'credited' WHERE payment_id = 'credit/again'",
        ),
    ),
    "a credit is there twice": (
        MoneyPromise.CREDITS,
        lambda books: books.sql("UPDATE credits SET amount_left = 1000"),
    ),
    "a worker's job is not booked": (
        MoneyPromise.WORKERS,
        lambda books: books.sql("DELETE FROM ledger WHERE journal = 'completion:3'"),
    ),
    "another worker got the money": (
        MoneyPromise.WORKERS,
        lambda books: books.sql("UPDATE ledger SET account = 'worker:ben' WHERE journal = 'completion:1'"),
    ),
    "a worker was told that it delivered what another did": (
        MoneyPromise.WORKERS,
        lambda books: books.sql("UPDATE jobs SET worker_pubkey = 'ben' WHERE id = 'done'"),
    ),
    "a journal is not zero": (
        MoneyPromise.ZERO,
        lambda books: books.sql("INSERT INTO ledger VALUES ('loss:5', 'operator:losses', -1)"),
    ),
    "money is held for nothing": (
        MoneyPromise.ZERO,
        lambda books: books.sql(
            "INSERT INTO ledger VALUES ('early:5', 'payer:eve', -5), ('early:5', 'held', 5)"
        ),
    ),
    "the payer gave more than is booked": (
        MoneyPromise.CHAIN,
        lambda books: books.sql(
            "UPDATE ledger SET account = 'operator:losses' "
            "WHERE journal = 'settlement:1' AND account = 'payer:eve'"
        ),
    ),
    "the payer has less than the transfers say": (
        MoneyPromise.CHAIN,
        lambda books: setattr(books, "chain", msgspec.structs.replace(books.chain, gone={"eve": 2001})),
    ),
    "the operator got less": (
        MoneyPromise.CHAIN,
        lambda books: setattr(books, "chain", msgspec.structs.replace(books.chain, came=1999)),
    ),
    "a worker's address has less than was paid out": (
        MoneyPromise.CHAIN,
        lambda books: setattr(books, "chain", msgspec.structs.replace(books.chain, wages={})),
    ),
    "a payment stays in doubt": (
        MoneyPromise.DECIDED,
        lambda books: books.sql(
            "INSERT INTO jobs VALUES ('free', 'failed', NULL)",
            "INSERT INTO payments VALUES ('credit/free', 'eve', 'credit', 1, 'unknown', NULL, 'free')",
        ),
    ),
    "a payout went out twice": (MoneyPromise.CHAIN, lambda books: books.paid_out_too(1900)),
    "a payout of nothing earned went out": (MoneyPromise.PAYOUTS, lambda books: books.paid_out_too(0)),
    "a payout stays open": (
        MoneyPromise.PAYOUTS,
        lambda books: books.sql("INSERT INTO payouts VALUES ('ann''s', 5, 'tx-5', 'sent')"),
    ),
}


@pytest.mark.parametrize("wrong", WRONGS)
def test_what_is_wrong_is_found(evidence: Evidence, wrong: str) -> None:
    promise, change = WRONGS[wrong]
    change(evidence)
    with pytest.raises(Violation) as found:
        evidence.compare()
    assert promise.value in str(found.value)
