"""No test of the SDK reads or writes the trust file of whoever runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from compute_router.protocol.networks import Chain
from compute_router.sdk import Wallet
from compute_router.sdk.purse_file import PurseFile
from tests.sdk.clients import URL


@pytest.fixture(autouse=True)
def trust_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the SDK keeps tokens and pinned keys in this test."""
    path = tmp_path / "trust" / "trust.json"
    monkeypatch.setenv("COMPUTE_ROUTER_TRUST_FILE", str(path))
    for name in ("WALLET", "WALLET_KEY", "RPC_URL"):
        monkeypatch.delenv(f"COMPUTE_ROUTER_{name}", raising=False)
    return path


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    """A node of Solana, which wallets ask for a blockhash."""
    from tools.local_chains.solana import LocalSolana

    with LocalSolana() as chain:
        yield chain.rpc_url


@pytest.fixture
def wallets(node: str) -> Callable[[Chain], Wallet]:
    def wallet(chain: Chain) -> Wallet:
        if chain is Chain.MONAD:
            return Wallet(chain, bytes([9] * 32))
        key = SigningKey(bytes([9] * 32))
        return Wallet(chain, bytes(key) + bytes(key.verify_key), node)

    return wallet


@pytest.fixture
def evm() -> Wallet:
    return Wallet(Chain.MONAD, bytes([9] * 32))


@pytest.fixture
def purse(trust_path: Path) -> PurseFile:
    """What the client keeps, as another program sees it."""
    return PurseFile(trust_path.with_name("purse.json"), URL, lambda: 0.0)
