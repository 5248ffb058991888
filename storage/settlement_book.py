"""What a local facilitator must not forget: which payments it sent to the chain, and what became of them.

A small database of its own, apart from the coordinator's. A transaction is written here before it is sent.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

from compute_router.protocol.errors import ConfigurationError, DatabaseInUseError
from compute_router.storage.faults import FAULTS, unavailable
from compute_router.storage.file_lock import FileLock
from compute_router.storage.file_modes import create_private

_SURELY_FINAL_MS: Final = 3_600_000
"""After an hour no chain takes a block back. Until then a settled transaction is kept, to be sent again."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS settlements (
    payment_key TEXT PRIMARY KEY,
    transaction_ref TEXT,
    raw_transaction BLOB,
    settled INTEGER,
    reason TEXT,
    payer TEXT,
    updated_at_ms INTEGER NOT NULL
)
"""
_LATER_COLUMNS: Final = ("failures INTEGER NOT NULL DEFAULT 0", "failed_ref TEXT")
"""How many transactions failed, and the last one of them: books of earlier versions lack these."""


class Outcome(msgspec.Struct, frozen=True):
    """How a settlement ended. ``reason`` says why it was refused; without a transaction its ref is empty."""

    settled: bool
    transaction_ref: str
    payer: str
    reason: str | None = None


class SentTransaction(msgspec.Struct, frozen=True):
    """A signed transaction that was sent, or was about to be."""

    transaction_ref: str
    raw: bytes


class SettlementBook:
    """The book of one key's settlements. May be used by several threads."""

    def __init__(self, path: Path) -> None:
        """Open or create the book at this path.

        Raises:
            DatabaseInUseError: another facilitator holds it.
            ConfigurationError: it cannot be read or written, or is no such book.
        """
        path = path.resolve()
        create_private(path)
        try:
            self._lock_file = FileLock(path)
        except DatabaseInUseError:
            raise DatabaseInUseError(
                f"Another facilitator uses {path}. Stop it, or choose another file with --db."
            ) from None
        try:
            self._connection = apsw.Connection(str(path))
            self._connection.pragma("journal_mode", "wal")
            self._connection.pragma("synchronous", "FULL")
            self._connection.execute(_SCHEMA)
            self._add_later_columns()
            self._connection.execute(
                "UPDATE settlements SET raw_transaction = NULL WHERE settled = 1 "
                "AND raw_transaction IS NOT NULL AND updated_at_ms < ?",
                (_now_ms() - _SURELY_FINAL_MS,),
            )
        except (*FAULTS, apsw.SQLError) as error:
            self._lock_file.release()
            raise ConfigurationError(
                f"{path} cannot be used as the facilitator's book ({error}). Choose another file with --db."
            ) from error
        self._one_at_a_time = threading.Lock()

    def outcome(self, payment_key: str) -> Outcome | None:
        """How this payment ended, or None.

        Raises:
            StorageUnavailableError: the book cannot be read.
        """
        row = self._row(
            "SELECT settled, transaction_ref, payer, CASE WHEN settled = 0 THEN reason END FROM settlements "
            "WHERE payment_key = ? AND settled IS NOT NULL",
            (payment_key,),
        )
        if row is None:
            return None
        settled, transaction_ref, payer, reason = row
        return Outcome(bool(settled), transaction_ref or "", payer or "", reason)

    def failures(self, payment_key: str) -> int:
        """How many transactions for this payment failed on the chain.

        Raises:
            StorageUnavailableError: the book cannot be read.
        """
        row = self._row("SELECT failures FROM settlements WHERE payment_key = ?", (payment_key,))
        return 0 if row is None else int(row[0])

    def sent(self, payment_key: str) -> SentTransaction | None:
        """The transaction that may be under way for this payment, or None.

        Raises:
            StorageUnavailableError: the book cannot be read.
        """
        row = self._row(
            "SELECT transaction_ref, raw_transaction FROM settlements "
            "WHERE payment_key = ? AND settled IS NULL AND raw_transaction IS NOT NULL",
            (payment_key,),
        )
        return None if row is None else SentTransaction(row[0], row[1])

    def not_final(self, payment_key: str) -> SentTransaction | None:
        """The transaction that settled this payment, while its block may still be taken back; or None.

        Raises:
            StorageUnavailableError: the book cannot be read.
        """
        row = self._row(
            "SELECT transaction_ref, raw_transaction FROM settlements "
            "WHERE payment_key = ? AND settled = 1 AND raw_transaction IS NOT NULL AND updated_at_ms >= ?",
            (payment_key, _now_ms() - _SURELY_FINAL_MS),
        )
        return None if row is None else SentTransaction(row[0], row[1])

    def make_final(self, payment_key: str) -> None:
        """The block of the transaction that settled this payment stays.

        Raises:
            StorageUnavailableError: nothing was changed.
        """
        self._row(
            "UPDATE settlements SET raw_transaction = NULL WHERE payment_key = ? AND settled = 1",
            (payment_key,),
        )

    def reopen(self, payment_key: str) -> None:
        """The transaction that settled this payment is no longer on the chain: it is under way again.

        Raises:
            StorageUnavailableError: nothing was changed.
        """
        self._row(
            "UPDATE settlements SET settled = NULL "
            "WHERE payment_key = ? AND settled = 1 AND raw_transaction IS NOT NULL",
            (payment_key,),
        )

    def record_signed(self, payment_key: str, transaction: SentTransaction) -> None:
        """Keep a transaction that is about to be sent, in place of one that failed or cannot land.

        Raises:
            StorageUnavailableError: nothing was stored, so it must not be sent.
        """
        self._row(
            "INSERT INTO settlements (payment_key, transaction_ref, raw_transaction, updated_at_ms) "
            "VALUES (?, ?, ?, ?) ON CONFLICT (payment_key) DO UPDATE SET "
            "failed_ref = CASE WHEN settled = 0 THEN transaction_ref ELSE failed_ref END, settled = NULL, "
            "transaction_ref = excluded.transaction_ref, raw_transaction = excluded.raw_transaction, "
            "updated_at_ms = excluded.updated_at_ms WHERE settled IS NOT 1",
            (payment_key, transaction.transaction_ref, transaction.raw, _now_ms()),
        )

    def forget_signed(self, payment_key: str) -> None:
        """Drop a transaction that can never land. If one before it failed, that is the outcome again.

        Raises:
            StorageUnavailableError: the book cannot be written.
        """
        self._row(
            "UPDATE settlements SET settled = 0, transaction_ref = failed_ref, raw_transaction = NULL "
            "WHERE payment_key = ? AND settled IS NULL AND failures > 0",
            (payment_key,),
        )
        self._row("DELETE FROM settlements WHERE payment_key = ? AND settled IS NULL", (payment_key,))

    def record_outcome(self, payment_key: str, outcome: Outcome) -> None:
        """Keep how a payment ended, and count failures. The first outcome stays.

        It stays until a settled one is reopened, or another transaction takes the place of one that failed.

        Raises:
            StorageUnavailableError: nothing was stored.
        """
        self._row(
            "INSERT INTO settlements "
            "(payment_key, transaction_ref, settled, reason, payer, updated_at_ms, failures) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (payment_key) DO UPDATE SET "
            "raw_transaction = CASE WHEN excluded.settled AND transaction_ref = excluded.transaction_ref "
            "THEN raw_transaction END, "
            "transaction_ref = excluded.transaction_ref, settled = excluded.settled, "
            "reason = coalesce(excluded.reason, reason), payer = excluded.payer, "
            "updated_at_ms = excluded.updated_at_ms, failures = failures + excluded.failures "
            "WHERE settled IS NULL",
            (
                payment_key,
                outcome.transaction_ref,
                int(outcome.settled),
                outcome.reason,
                outcome.payer,
                _now_ms(),
                int(not outcome.settled),
            ),
        )

    def close(self) -> None:
        """Close the book and give up its lock."""
        with self._one_at_a_time:
            self._connection.close()
            self._lock_file.release()

    def _add_later_columns(self) -> None:
        known = self._connection.execute("SELECT name FROM pragma_table_info('settlements')")
        if ("failures",) in known.fetchall():
            return
        with self._connection:
            for column in _LATER_COLUMNS:
                self._connection.execute(f"ALTER TABLE settlements ADD COLUMN {column}")
            self._connection.execute("UPDATE settlements SET failures = 1 WHERE settled = 0")

    def _row(self, statement: str, bindings: tuple[str | bytes | int | None, ...]) -> tuple[Any, ...] | None:
        with self._one_at_a_time:
            try:
                rows = list(self._connection.execute(statement, bindings))
            except FAULTS as error:
                raise unavailable(error) from error
        return rows[0] if rows else None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
