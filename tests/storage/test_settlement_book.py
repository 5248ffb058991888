"""The local facilitator's book: what was sent, and how it ended, kept through restarts."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from compute_router.protocol.errors import ConfigurationError, DatabaseInUseError
from compute_router.storage import settlement_book
from compute_router.storage.settlement_book import Outcome, SentTransaction, SettlementBook

SENT = SentTransaction("0x1", b"raw")
SETTLED = Outcome(True, "0x1", "payer")
FAILED = Outcome(False, "0x1", "payer", "failed")
REFUSED = Outcome(False, "", "payer", "insufficient_funds")

OLD_SCHEMA = """
CREATE TABLE settlements (
    payment_key TEXT PRIMARY KEY,
    transaction_ref TEXT,
    raw_transaction BLOB,
    settled INTEGER,
    reason TEXT,
    payer TEXT,
    updated_at_ms INTEGER NOT NULL
)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gas.book"


@pytest.fixture
def book(path: Path) -> Iterator[SettlementBook]:
    book = SettlementBook(path)
    yield book
    book.close()


def test_what_was_sent_and_how_it_ended_survive_a_restart(path: Path) -> None:
    book = SettlementBook(path)
    book.record_signed("sent", SENT)
    book.record_signed("ended", SENT)
    book.record_outcome("ended", SETTLED)
    book.record_outcome("refused", REFUSED)
    book.close()
    again = SettlementBook(path)
    assert (again.sent("sent"), again.outcome("sent")) == (SENT, None)
    assert (again.sent("ended"), again.outcome("ended")) == (None, SETTLED)
    assert (again.sent("refused"), again.outcome("refused")) == (None, REFUSED)
    again.close()


def test_the_first_outcome_stays(book: SettlementBook) -> None:
    book.record_outcome("one", REFUSED)
    book.record_outcome("one", SETTLED)
    book.record_signed("one", SENT)
    book.forget_signed("one")
    assert (book.outcome("one"), book.sent("one")) == (REFUSED, None)


def test_a_settled_transaction_is_kept_until_it_is_final_and_can_be_under_way_again(
    book: SettlementBook,
) -> None:
    book.record_signed("one", SENT)
    book.record_outcome("one", SETTLED)
    assert (book.not_final("one"), book.sent("one")) == (SENT, None)
    book.reopen("one")
    assert (book.outcome("one"), book.not_final("one"), book.sent("one")) == (None, None, SENT)
    book.record_outcome("one", SETTLED)
    book.make_final("one")
    assert (book.outcome("one"), book.not_final("one")) == (SETTLED, None)
    book.reopen("one")
    assert (book.outcome("one"), book.sent("one")) == (SETTLED, None)


def test_what_an_hour_ago_was_settled_is_final(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = SettlementBook(path)
    book.record_signed("one", SENT)
    book.record_outcome("one", SETTLED)
    later = settlement_book._now_ms() + 3_600_001
    monkeypatch.setattr(settlement_book, "_now_ms", lambda: later)
    assert book.not_final("one") is None
    book.close()
    again = SettlementBook(path)
    again.reopen("one")
    assert again.outcome("one") == SETTLED
    again.close()


@pytest.mark.parametrize("outcome", [Outcome(True, "0x2", "payer"), Outcome(False, "0x1", "payer", "failed")])
def test_a_transaction_that_did_not_settle_its_payment_is_not_kept(
    book: SettlementBook, outcome: Outcome
) -> None:
    book.record_signed("one", SENT)
    book.record_outcome("one", outcome)
    book.reopen("one")
    assert (book.not_final("one"), book.outcome("one")) == (None, outcome)


def test_a_transaction_that_can_never_land_is_forgotten_and_may_be_replaced(book: SettlementBook) -> None:
    book.record_signed("one", SENT)
    book.forget_signed("one")
    assert book.sent("one") is None
    other = SentTransaction("0x2", b"other")
    book.record_signed("one", other)
    assert book.sent("one") == other


def test_failures_are_counted_through_restarts(path: Path) -> None:
    for number in range(3):
        book = SettlementBook(path)
        assert book.failures("one") == number
        book.record_signed("one", SentTransaction(f"0x{number}", b"raw"))
        assert book.failures("one") == number
        book.record_outcome("one", Outcome(False, f"0x{number}", "payer", "failed"))
        book.record_outcome("one", FAILED)
        book.close()
    again = SettlementBook(path)
    assert again.failures("one") == 3
    again.record_signed("one", SENT)
    again.record_outcome("one", SETTLED)
    assert (again.failures("one"), again.outcome("one")) == (3, SETTLED)
    again.close()


def test_a_transaction_takes_the_place_of_one_that_failed_and_of_none_that_settled(
    book: SettlementBook,
) -> None:
    other = SentTransaction("0x2", b"other")
    book.record_signed("failed", SENT)
    book.record_outcome("failed", FAILED)
    assert (book.outcome("failed"), book.sent("failed")) == (FAILED, None)
    book.record_signed("failed", other)
    assert (book.outcome("failed"), book.sent("failed")) == (None, other)
    book.record_signed("settled", SENT)
    book.record_outcome("settled", SETTLED)
    book.record_signed("settled", other)
    assert (book.outcome("settled"), book.sent("settled")) == (SETTLED, None)


def test_when_the_other_one_is_forgotten_the_one_that_failed_is_the_outcome_again(
    book: SettlementBook,
) -> None:
    book.record_signed("one", SENT)
    book.record_outcome("one", FAILED)
    for number in range(3):
        book.record_signed("one", SentTransaction(f"0x2{number}", b"other"))
        book.record_signed("one", SentTransaction(f"0x3{number}", b"another"))
        book.forget_signed("one")
        assert (book.outcome("one"), book.sent("one"), book.failures("one")) == (FAILED, None, 1)


def test_a_failure_is_remembered_behind_a_settlement_that_was_taken_back(book: SettlementBook) -> None:
    book.record_signed("one", SENT)
    book.record_outcome("one", FAILED)
    book.record_signed("one", SentTransaction("0x2", b"other"))
    book.record_outcome("one", Outcome(True, "0x2", "payer"))
    book.reopen("one")
    assert book.sent("one") == SentTransaction("0x2", b"other")
    book.forget_signed("one")
    assert (book.outcome("one"), book.failures("one")) == (FAILED, 1)


def test_a_book_of_an_earlier_version_opens_and_its_failures_count(path: Path) -> None:
    old = apsw.Connection(str(path))
    old.execute(OLD_SCHEMA)
    old.executemany(
        "INSERT INTO settlements VALUES (?, ?, ?, ?, ?, ?, 1)",
        [
            ("failed", "0x1", None, 0, "failed", "payer"),
            ("sent", "0x1", b"raw", None, None, None),
            ("settled", "0x1", None, 1, None, "payer"),
        ],
    )
    old.close()
    for _ in range(2):
        book = SettlementBook(path)
        assert (book.outcome("failed"), book.failures("failed")) == (FAILED, 1)
        assert (book.sent("sent"), book.failures("sent")) == (SENT, 0)
        assert (book.outcome("settled"), book.failures("settled")) == (SETTLED, 0)
        book.close()


def test_nobody_knows_what_was_never_written(book: SettlementBook) -> None:
    assert (book.sent("none"), book.outcome("none"), book.failures("none")) == (None, None, 0)


def test_two_facilitators_do_not_share_a_book(book: SettlementBook, path: Path) -> None:
    with pytest.raises(DatabaseInUseError, match="Another facilitator"):
        SettlementBook(path)


def test_a_new_book_is_for_its_owner_alone(book: SettlementBook, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_no_book_is_refused_and_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"a poem" * 1000)
    with pytest.raises(ConfigurationError, match="cannot be used"):
        SettlementBook(path)
    assert path.read_bytes() == b"a poem" * 1000
    path.unlink()
    SettlementBook(path).close()
