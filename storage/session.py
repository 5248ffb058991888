"""Runs statements on one connection: transactions, and SQLite's faults as our errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final

import apsw

from compute_router.protocol.errors import StorageUnavailableError
from compute_router.storage.checkpoints import Checkpoints
from compute_router.storage.faults import FAULTS, unavailable

Binding = str | bytes | int | float | None

# apsw hands text out as Python's; only a damaged file holds text that cannot be that.
_READ_FAULTS: Final = (*FAULTS, UnicodeDecodeError)


class Session:
    """One connection and the transaction on it; itself the context manager of that transaction.

    apsw's own ``with connection`` makes a savepoint, which takes the write lock too late and costs more.

    After a fault inside a transaction SQLite may have rolled back by itself, and later statements would
    each commit alone. So such a transaction takes no further statement and cannot commit.
    """

    __slots__ = ("_check_place", "_checkpoints", "_connection", "_cursor", "_fault", "_open")

    def __init__(self, connection: apsw.Connection, check_place: Callable[[], None] = lambda: None) -> None:
        """``check_place`` raises StorageUnavailableError when what is committed now would be lost."""
        self._connection = connection
        self._check_place = check_place
        self._cursor = connection.cursor()
        self._checkpoints = Checkpoints(connection)
        self._open = False
        self._fault: StorageUnavailableError | None = None

    def __enter__(self) -> None:
        """Begin.

        Raises:
            StorageUnavailableError: the write lock cannot be had.
            RuntimeError: a transaction is under way.
        """
        if self._open:
            raise RuntimeError("a transaction is already under way")
        self._fault = None
        # Only if undoing the one before failed, too.
        self._roll_back()
        self.read("BEGIN IMMEDIATE")
        self._open = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Commit; or roll back, after an exception or a fault.

        Raises:
            StorageUnavailableError: the commit failed, or a statement before it; nothing was stored.
        """
        self._open = False
        fault, self._fault = self._fault, None
        if error is None and fault is None:
            self._refuse_if_misplaced()
            try:
                self.read("COMMIT")
            except BaseException:
                self._roll_back()
                self._bury()
                raise
            self._checkpoints.after_commit()
            return
        self._roll_back()
        if error is None and fault is not None:
            raise StorageUnavailableError(str(fault)) from fault

    def read(self, sql: str, bindings: Sequence[Binding] = ()) -> Any:
        """Run a statement to its end; the rows in the least structure, see ``apsw.Cursor.get``.

        Raises:
            StorageUnavailableError: disk full, I/O error and the like.
        """
        self._refuse_after_fault()
        try:
            return self._cursor.execute(sql, bindings).get
        except _READ_FAULTS as error:
            raise self._note(error) from error

    def rows(self, sql: str, bindings: Sequence[Binding] = ()) -> list[tuple[Any, ...]]:
        """Run a query to its end; all rows as tuples. Raises what :meth:`read` raises."""
        self._refuse_after_fault()
        try:
            return self._cursor.execute(sql, bindings).fetchall()
        except _READ_FAULTS as error:
            raise self._note(error) from error

    def rows_of_each(self, sql: str, many: Sequence[Sequence[Binding]]) -> list[tuple[Any, ...]]:
        """Run a query once for each of the bindings; the rows of all. Raises what :meth:`read` raises."""
        self._refuse_after_fault()
        try:
            return self._cursor.executemany(sql, many).fetchall()
        except _READ_FAULTS as error:
            raise self._note(error) from error

    def change(self, sql: str, bindings: Sequence[Binding]) -> bool:
        """Run a statement that changes at most one row; whether it did.

        Raises:
            StorageUnavailableError: disk full, I/O error and the like.
            RuntimeError: no transaction is under way.
        """
        return self.change_many(sql, bindings) == 1

    def change_many(self, sql: str, bindings: Sequence[Binding]) -> int:
        """Run a statement that changes any number of rows; how many. Raises what :meth:`change` raises."""
        self._execute_change(sql, bindings)
        return self._connection.changes()

    def change_returning(self, sql: str, bindings: Sequence[Binding]) -> Any:
        """As :meth:`change_returning_row`, for a statement that returns one value; that value, or None."""
        row = self.change_returning_row(sql, bindings)
        return None if row is None else row[0]

    def change_returning_row(self, sql: str, bindings: Sequence[Binding]) -> Any:
        """Run a statement that changes at most one row; the row it returns, None if it changed nothing.

        SQLite makes all changes before it hands out the first row. Asking for the end of the rows would
        release the interpreter lock once more, and getting that back is slow beside a busy thread.
        Raises what :meth:`change` raises.
        """
        cursor = self._execute_change(sql, bindings)
        try:
            return cursor.fetchone()
        except _READ_FAULTS as error:
            raise self._note(error) from error

    def close(self) -> None:
        """Close the connection, undoing a transaction under way. Calling it twice is harmless.

        Raises:
            StorageUnavailableError: the disk failed meanwhile; what was committed is not touched.
        """
        try:
            self._connection.close()
        except FAULTS as error:
            raise unavailable(error) from error

    def _execute_change(self, sql: str, bindings: Sequence[Binding]) -> apsw.Cursor:
        if not self._open:
            raise RuntimeError("changes need a transaction")
        self._refuse_after_fault()
        try:
            return self._cursor.execute(sql, bindings)
        except FAULTS as error:
            raise self._note(error) from error

    def _refuse_after_fault(self) -> None:
        if self._fault is not None:
            raise StorageUnavailableError(str(self._fault)) from self._fault

    def _note(self, error: Exception) -> StorageUnavailableError:
        fault = unavailable(error)
        if self._open:
            self._fault = fault
        return fault

    def _bury(self) -> None:
        """Write over what a refused commit left in the log, where a crash would bring it back to life.

        A flush that fails comes after the write, so this works on a disk that fails to flush. On one that
        fails to write, the log has no whole commit.
        """
        with suppress(*FAULTS):
            version = self._connection.pragma("user_version")
            self._connection.pragma("user_version", version)

    def _refuse_if_misplaced(self) -> None:
        try:
            self._check_place()
        except StorageUnavailableError:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self.read("ROLLBACK")
