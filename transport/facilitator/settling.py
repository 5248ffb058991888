"""Verifies and settles payments on one chain: the x402 library, with what it lets slip caught around it.

Everything here blocks and is called in threads. The same payment is settled at most once, however often and
by however many it is asked for: the outcome of a transaction is kept and answered again, after a restart
too. One that failed stays the outcome until another is signed in its place: only where the chain lets another
carry out the same payment, and only until the book counts too many failures. A refusal without a transaction
is only told: the node may have erred, and asking again costs nothing.
"""

from __future__ import annotations

import enum
import logging
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

import msgspec

from compute_router.protocol.errors import UnavailableError
from compute_router.protocol.log_format import describe
from compute_router.storage.settlement_book import Outcome, SentTransaction, SettlementBook
from compute_router.transport.facilitator.attempt import Attempt, working_on
from compute_router.transport.facilitator.bodies import Question

logger = logging.getLogger(__name__)

_CHECK_SECONDS: Final = 5.0
"""One check may keep its thread for so long. Whoever asks has given up by then."""
_FAILURES: Final = 3
"""So often a settlement may fail on the chain, which costs gas, before it is given up."""

PENDING: Final = "settlement_pending"
"""The reason x402 gives for a transaction that was sent and of which nothing is known yet."""


class NotNowError(UnavailableError):
    """Nothing was sent: the chain could not be asked. The same question may be answered later."""

    code = "chain_unavailable"


class Checked(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The answer to ``verify``, as x402 writes it."""

    is_valid: bool
    payer: str = ""
    invalid_reason: str | None = None


class Ended(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The answer to ``settle``, as x402 writes it. ``error_reason`` PENDING means that nobody knows yet."""

    success: bool
    transaction: str
    network: str
    payer: str = ""
    error_reason: str | None = None


class LibraryAnswer(msgspec.Struct, frozen=True):
    """What the library says, of a verification or a settlement."""

    ok: bool
    payer: str
    reason: str
    transaction_ref: str = ""


class Standing(enum.Enum):
    """Where a transaction is that was in a block."""

    FINAL = enum.auto()
    IN_A_BLOCK = enum.auto()
    NOWHERE = enum.auto()
    """Its block was taken back."""


class ChainSide(Protocol):
    """The library and a signer, for one chain."""

    def verify(self, question: Question) -> LibraryAnswer:
        """Ask the library. It may raise anything."""

    def settle(self, question: Question) -> LibraryAnswer:
        """Have the library settle. It may raise anything."""

    def revive(self, transaction: SentTransaction) -> bool:
        """Send a transaction of an earlier attempt again; False when it can never land."""

    def standing(self, transaction_ref: str) -> Standing:
        """Where a transaction is that has settled a payment. Raises when the node cannot be asked."""

    def can_sign_another(self) -> bool:
        """Whether another transaction than one that failed can carry out the same payment."""

    def carried_out_by(self, question: Question, failed: str) -> str | None:
        """The transaction of somebody else that carried out this payment while ours failed."""


class Settling:
    """The answers of one facilitator."""

    def __init__(self, chain: ChainSide, book: SettlementBook) -> None:
        self._chain = chain
        self._book = book
        self._locks = _KeyedLocks()

    def verify(self, question: Question) -> Checked:
        """Whether a payment could be settled now.

        Raises:
            NotNowError: the chain cannot be asked.
        """
        with working_on(Attempt(seconds=_CHECK_SECONDS)) as attempt:
            answer = _asked(self._chain.verify, question)
        if not answer.ok and attempt.trouble is not None:
            raise NotNowError(f"The payment cannot be checked: {attempt.trouble}.")
        return Checked(answer.ok, answer.payer, None if answer.ok else answer.reason)

    def settle(self, question: Question) -> Ended:
        """Settle a payment, or say what became of it.

        Raises:
            NotNowError: nothing was sent, and asking again may help.
            StorageUnavailableError: the book cannot be used; ask again.
        """
        with self._locks.holding(question.key):
            known = self._book.outcome(question.key)
            if known is not None and not self._is_worth_another(question.key, known):
                return _ended(question, known)
            attempt = Attempt(self._book, question.key)
            with working_on(attempt):
                outcome = self._outcome(question, attempt)
            if outcome is None:
                assert attempt.sent is not None
                logger.warning("transaction %s was sent and is not seen yet", attempt.sent.transaction_ref)
                return Ended(False, attempt.sent.transaction_ref, question.network, error_reason=PENDING)
            if outcome.transaction_ref:
                self._book.record_outcome(question.key, outcome)
            elif known is not None and not known.settled:
                logger.info("no other transaction for the one that failed: %s", outcome.reason)
                return _ended(question, known)
        if outcome.settled:
            logger.info("settled %s by %s", question.requirements.amount, outcome.transaction_ref)
        else:
            logger.info("refused to settle: %s %s", outcome.reason, outcome.transaction_ref)
        return _ended(question, outcome)

    def _is_worth_another(self, payment_key: str, known: Outcome) -> bool:
        """Whether another transaction may settle what has an outcome. The library tries it out first."""
        if known.settled:
            return self._was_taken_back(payment_key)
        return self._chain.can_sign_another() and self._book.failures(payment_key) < _FAILURES

    def _was_taken_back(self, payment_key: str) -> bool:
        """Whether a settlement that was seen is on the chain no more; it is then under way again."""
        transaction = self._book.not_final(payment_key)
        if transaction is None:
            return False
        try:
            standing = self._chain.standing(transaction.transaction_ref)
        except Exception as error:
            # What was seen once is said again.
            logger.warning("cannot ask about %s: %s", transaction.transaction_ref, describe(error))
            return False
        if standing is Standing.FINAL:
            self._book.make_final(payment_key)
        if standing is not Standing.NOWHERE:
            return False
        logger.warning(
            "transaction %s is on the chain no more; it is sent again", transaction.transaction_ref
        )
        self._book.reopen(payment_key)
        return True

    def _outcome(self, question: Question, attempt: Attempt) -> Outcome | None:
        """How it ended; None when something was sent and nobody knows."""
        earlier = self._book.sent(question.key)
        if earlier is not None:
            attempt.sent = earlier
            try:
                alive = self._chain.revive(earlier)
            except Exception as error:
                logger.warning("cannot ask about %s: %s", earlier.transaction_ref, describe(error))
                return None
            if not alive:
                # The book has it until there is another one: a node that lags behind may be wrong about it.
                attempt.sent = None
        answer = _asked(self._chain.settle, question)
        if answer.ok:
            return Outcome(True, answer.transaction_ref, answer.payer)
        if attempt.failed_on_chain is not None:
            return Outcome(False, answer.transaction_ref, answer.payer, attempt.failed_on_chain)
        if attempt.sent is not None:
            return self._after_sending(question, answer)
        if attempt.trouble is not None:
            raise NotNowError(f"The payment was not sent: {attempt.trouble}.")
        return Outcome(False, "", answer.payer, answer.reason)

    def _after_sending(self, question: Question, answer: LibraryAnswer) -> Outcome | None:
        if answer.reason == PENDING or not answer.transaction_ref:
            return None
        try:
            by_other = self._chain.carried_out_by(question, answer.transaction_ref)
        except Exception as error:
            logger.warning("cannot see why %s failed: %s", answer.transaction_ref, describe(error))
            return None
        if by_other is not None:
            return Outcome(True, by_other, answer.payer)
        return Outcome(False, answer.transaction_ref, answer.payer, answer.reason)


def _asked(ask: Any, question: Question) -> LibraryAnswer:
    try:
        answer = ask(question)
        assert isinstance(answer, LibraryAnswer)
        return answer
    except Exception as error:
        # The library raises for malformed payments; its sentence may quote them.
        logger.info("the x402 library raised %s", type(error).__name__)
        return LibraryAnswer(False, "", "invalid_payload")


def _ended(question: Question, outcome: Outcome) -> Ended:
    reason = None if outcome.settled else outcome.reason
    return Ended(outcome.settled, outcome.transaction_ref, question.network, outcome.payer, reason)


class _KeyedLocks:
    """A lock for each payment that is being settled."""

    def __init__(self) -> None:
        self._locks: dict[str, threading.Lock] = {}
        self._users: Counter[str] = Counter()
        self._guard = threading.Lock()

    @contextmanager
    def holding(self, key: str) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
            self._users[key] += 1
        try:
            with lock:
                yield
        finally:
            with self._guard:
                self._users[key] -= 1
                if not self._users[key]:
                    del self._locks[key], self._users[key]
