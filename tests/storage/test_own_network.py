"""A database belongs to the chain whose money is in it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import pytest

from compute_router.protocol.errors import ConfigurationError
from compute_router.storage.migrate import load_migrations, migrate
from compute_router.storage.sqlite_store import open_sqlite_store
from tests.storage.money_samples import a_payment
from tests.storage.samples import NOON, a_job

MONAD, SOLANA = "eip155:10143", "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "coordinator.db"


def start(path: Path, network: str) -> None:
    open_sqlite_store(path, network=network).close()


def test_a_new_database_belongs_to_the_chain_it_is_made_for(path: Path) -> None:
    start(path, MONAD)
    start(path, MONAD)
    with pytest.raises(ConfigurationError) as refusal:
        start(path, SOLANA)
    assert str(refusal.value) == (
        f"{path} belongs to Monad testnet (eip155:10143), and this coordinator would serve Solana devnet "
        f"({SOLANA}). Choose another database path: each chain has its own."
    )
    start(path, MONAD)


def test_a_database_of_an_older_version_learns_its_chain_at_its_first_start(path: Path) -> None:
    with closing(apsw.Connection(str(path))) as old:
        migrate(old, load_migrations()[:4])
    start(path, SOLANA)
    with pytest.raises(ConfigurationError, match="belongs to Solana devnet"):
        start(path, MONAD)


def test_tools_that_serve_no_chain_open_any_database_and_teach_it_none(path: Path) -> None:
    open_sqlite_store(path).close()
    start(path, SOLANA)
    open_sqlite_store(path).close()
    with pytest.raises(ConfigurationError):
        start(path, MONAD)


def test_a_database_that_holds_payments_of_a_chain_learns_no_other(path: Path) -> None:
    with closing(open_sqlite_store(path)) as store, store.transaction():
        store.insert_job(a_job(), paid=True)
        store.reserve_payment(a_payment(network=SOLANA), a_job().job_id, NOON)
    with pytest.raises(ConfigurationError, match="belongs to Solana devnet"):
        start(path, MONAD)
    start(path, SOLANA)


def test_a_refused_database_is_free_for_the_right_coordinator_at_once(path: Path) -> None:
    start(path, MONAD)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="belongs"):
            start(path, SOLANA)
    with closing(open_sqlite_store(path, network=MONAD)):
        pass


def test_a_chain_that_this_version_does_not_know_is_named_as_it_is(path: Path) -> None:
    start(path, "eip155:1")
    with pytest.raises(ConfigurationError, match="belongs to eip155:1,"):
        start(path, MONAD)
