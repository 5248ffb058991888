"""Real chains in this process, new for each test, and who pays whom on them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.payments.paying import EvmScene, Scene, SolanaScene
    from tools.local_chains.evm import LocalEvm
    from tools.local_chains.solana import LocalSolana


@pytest.fixture
def evm() -> Iterator[LocalEvm]:
    """Chain id 10143 with the play token at USDC's address."""
    from tools.local_chains.evm import LocalEvm  # imported late: it takes half a second

    with LocalEvm() as chain:
        yield chain


@pytest.fixture
def solana() -> Iterator[LocalSolana]:
    """LiteSVM with the play token at the address of devnet's USDC."""
    from tools.local_chains.solana import LocalSolana

    with LocalSolana() as chain:
        yield chain


@pytest.fixture
def on_evm(evm: LocalEvm, tmp_path: Path) -> EvmScene:
    """A seeker, somebody to pay, and a facilitator, on Monad."""
    from tests.payments.paying import EvmScene

    return EvmScene(tmp_path, evm)


@pytest.fixture
def on_solana(solana: LocalSolana, tmp_path: Path) -> SolanaScene:
    """The same on Solana."""
    from tests.payments.paying import SolanaScene

    return SolanaScene(tmp_path, solana)


@pytest.fixture(params=["on_evm", "on_solana"], ids=["evm", "solana"])
def scene(request: pytest.FixtureRequest) -> Scene:
    """The same on each chain."""
    placed: Scene = request.getfixturevalue(request.param)
    return placed
