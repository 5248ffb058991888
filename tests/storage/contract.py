"""What an implementation of the store brings to the contract; see ``test_contract.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

import pytest

from compute_router.storage.interface import Store

OpenStore = Callable[[], Store]


class StoreContract:
    """Subclasses say how to open a store, and what it raises on a broken constraint."""

    constraint_error: ClassVar[type[Exception]]

    @pytest.fixture
    def open_store(self) -> OpenStore:
        """Opens one and the same database at every call."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, open_store: OpenStore) -> Iterator[Store]:
        store = open_store()
        yield store
        store.close()
