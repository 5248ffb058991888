from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from compute_router.storage.sqlite_store import open_sqlite_store
from tests.storage.claim_contract import ClaimContract
from tests.storage.contract import OpenStore, StoreContract
from tests.storage.evidence_contract import EvidenceContract
from tests.storage.job_contract import JobContract
from tests.storage.key_contract import ApiKeyContract
from tests.storage.memory_store import BrokenConstraintError, MemoryStore, Tables
from tests.storage.money_contract import MoneyContract
from tests.storage.pairing_contract import PairingContract
from tests.storage.receipt_contract import ReceiptContract
from tests.storage.replay_contract import ReplayContract
from tests.storage.retention_contract import RetentionContract
from tests.storage.track_contract import TrackContract
from tests.storage.transaction_contract import TransactionContract
from tests.storage.unfinished_contract import UnfinishedContract


class WholeContract(
    StoreContract,
    ClaimContract,
    EvidenceContract,
    JobContract,
    ApiKeyContract,
    MoneyContract,
    PairingContract,
    ReceiptContract,
    ReplayContract,
    RetentionContract,
    TrackContract,
    TransactionContract,
    UnfinishedContract,
):
    """All that every store must do."""


class TestSqliteStore(WholeContract):
    constraint_error = apsw.ConstraintError

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return lambda: open_sqlite_store(tmp_path / "coordinator.db")


class TestTheReferenceThatHistoriesAreComparedWith(WholeContract):
    constraint_error = BrokenConstraintError

    @pytest.fixture
    def open_store(self) -> OpenStore:
        tables = Tables()
        return lambda: MemoryStore(tables)
