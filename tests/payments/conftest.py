"""Real chains in this process, new for each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
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
