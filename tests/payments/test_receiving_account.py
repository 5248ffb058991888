"""Whether an address on a real Solana chain can receive USDC."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from solders.keypair import Keypair

from compute_router.protocol.units import MicroUsd
from compute_router.transport.payments.json_rpc import JsonRpc
from compute_router.transport.payments.receiving_account import ReceivingAccount

if TYPE_CHECKING:
    from tools.local_chains.solana import LocalSolana


def told(chain: LocalSolana, owner: str) -> str | None:
    async def ask() -> str | None:
        account = ReceivingAccount(JsonRpc(chain.rpc_url), owner, chain.token)
        try:
            return await account.problem()
        finally:
            await account.close()

    return asyncio.run(ask())


def test_an_address_can_receive_once_it_owns_an_account_of_the_token(solana: LocalSolana) -> None:
    owner = str(Keypair().pubkey())
    assert owner in (told(solana, owner) or "")
    solana.fund(owner, MicroUsd(1))
    assert told(solana, owner) is None


def test_a_chain_that_cannot_be_read_shows_no_problem(solana: LocalSolana) -> None:
    solana.faults.down = True
    assert told(solana, str(Keypair().pubkey())) is None
