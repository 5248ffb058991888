"""SQLite and the reference side by side, for random histories: asked the same, they answer the same."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hypothesis.stateful import RuleBasedStateMachine, rule

from compute_router.storage.interface import Store
from compute_router.storage.sqlite_store import open_sqlite_store
from tests.storage.memory_store import MemoryStore, Tables

T = TypeVar("T")


class HistoriesOfTwoStores(RuleBasedStateMachine):
    """All rules but that of a restart are its subclasses'."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self._path = Path(self._directory.name) / "coordinator.db"
        self._sqlite: Store = open_sqlite_store(self._path)
        self._reference: Store = MemoryStore(Tables())

    def teardown(self) -> None:
        self._sqlite.close()
        self._directory.cleanup()

    def _both(self, ask: Callable[[Store], T]) -> T:
        with self._sqlite.transaction(), self._reference.transaction():
            expected = ask(self._reference)
            assert ask(self._sqlite) == expected
            return expected

    @rule()
    def restart(self) -> None:
        self._sqlite.close()
        self._sqlite = open_sqlite_store(self._path)
