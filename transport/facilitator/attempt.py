"""One attempt to settle a payment, as it passes through the x402 library and the signers below it.

The library calls its signers in the thread that called it, and turns whatever they raise into a refusal. What
really happened, whether something was sent or the node could not be reached, is noted here on the way.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from compute_router.protocol.errors import StorageUnavailableError
from compute_router.storage.settlement_book import SentTransaction, SettlementBook


class Attempt:
    """What is known of one verification or settlement while it runs, in one thread."""

    def __init__(
        self, book: SettlementBook | None = None, payment_key: str = "", *, seconds: float | None = None
    ) -> None:
        """``seconds`` is how long it may ask the node, all questions together; None: as long as it takes."""
        self._book = book
        self._payment_key = payment_key
        self.sent: SentTransaction | None = None
        """What was handed to the node, by this attempt or by one before it."""
        self.trouble: str | None = None
        """Why the chain could not be asked or did not take the transaction; never the payer's fault."""
        self.failed_on_chain: str | None = None
        self.reason: str | None = None
        """Why it is refused, where the signer knows it better than the library tells it."""
        self.until = None if seconds is None else time.monotonic() + seconds

    def about_to_send(self, transaction_ref: str, raw: bytes) -> None:
        """Keep a signed transaction, durably, before it is sent.

        Raises:
            StorageUnavailableError: it could not be kept and must not be sent.
        """
        transaction = SentTransaction(transaction_ref, raw)
        if self._book is not None:
            try:
                self._book.record_signed(self._payment_key, transaction)
            except StorageUnavailableError:
                self.trouble = "the facilitator's book cannot be written"
                raise
        self.sent = transaction

    def not_sent(self, trouble: str) -> None:
        """The node answered that it does not take the transaction."""
        if self._book is not None:
            self._book.forget_signed(self._payment_key)
        self.sent = None
        self.trouble = trouble


_current: ContextVar[Attempt | None] = ContextVar("attempt", default=None)


def current_attempt() -> Attempt:
    """The attempt that this thread works on; a new one that nobody looks at, outside of any."""
    return _current.get() or Attempt()


@contextmanager
def working_on(attempt: Attempt) -> Iterator[Attempt]:
    """Make this the attempt that the signers report to."""
    token = _current.set(attempt)
    try:
        yield attempt
    finally:
        _current.reset(token)


class AttemptPending:
    """The library's store of transactions under way: it asks for the one of the attempt.

    Having one, the library waits for that transaction and sends none.
    """

    def get(self, key: str) -> str | None:
        """The transaction that an earlier attempt sent, or None."""
        sent = current_attempt().sent
        return None if sent is None else sent.transaction_ref

    def set(self, key: str, tx_hash: str) -> None:
        """Nothing to do: the book has it since before it was sent."""

    def delete(self, key: str) -> None:
        """Nothing to do: the book keeps it until there is an outcome."""
