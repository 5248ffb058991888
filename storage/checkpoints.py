"""Moves what the write-ahead log holds into the database file, now and then."""

from __future__ import annotations

import logging
from typing import Final

import apsw

from compute_router.storage.faults import FAULTS

CHECKPOINT_PAGES: Final = 4_000

logger = logging.getLogger(__name__)


class Checkpoints:
    """Takes the place of SQLite's automatic checkpoints, which tell nobody when they fail.

    A checkpoint that fails takes nothing back: what was committed is in the log. But the log grows.
    """

    __slots__ = ("_connection", "_failing", "_pages")

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._pages = 0
        self._failing = False
        connection.set_wal_hook(self._note_size)

    def after_commit(self) -> None:
        """Make a checkpoint if the log is long enough. Never waits for readers, never raises a fault."""
        if self._pages < CHECKPOINT_PAGES:
            return
        try:
            self._connection.wal_checkpoint()
        except FAULTS as fault:
            # Once, and not after each commit until it works again.
            if not self._failing:
                logger.warning("the write-ahead log cannot be moved into the database and grows: %s", fault)
            self._failing = True
        else:
            if self._failing:
                logger.warning("the write-ahead log can be moved into the database again")
            self._failing = False

    def _note_size(self, connection: apsw.Connection, database: str, pages: int) -> int:
        self._pages = pages
        return apsw.SQLITE_OK
