"""A local Solana chain with its JSON-RPC address, for tests and for ``python -m tools.local_chains``."""

from __future__ import annotations

from typing import Final

from solders.keypair import Keypair
from solders.pubkey import Pubkey

from compute_router.protocol.units import MicroUsd
from tools.local_chains.faults import Faults
from tools.local_chains.local_chain import LocalChain
from tools.local_chains.solana_chain import MINT, SolanaChain
from tools.local_chains.solana_rpc import SolanaRpc

GAS_MONEY: Final = 10**11


class LocalSolana(LocalChain):
    """LiteSVM with a mint at USDC's address of devnet."""

    token = str(MINT)

    def __init__(self, port: int = 0) -> None:
        faults = Faults()
        self.chain = SolanaChain(faults)
        super().__init__(SolanaRpc(self.chain).methods(), faults, port)

    def new_key(self) -> Keypair:
        """A new keypair with nothing; ``str(keypair.pubkey())`` is its address."""
        return Keypair()

    def fund(self, address: str, micro_usd: MicroUsd) -> None:
        """Make new tokens for an owner. Zero only makes his token account, which a receiver must have."""
        self.chain.change_tokens(Pubkey.from_string(address), micro_usd)

    def fund_gas(self, address: str) -> None:
        """Give an address what its own transactions cost."""
        self.chain.give_lamports(Pubkey.from_string(address), GAS_MONEY)

    def spend(self, address: str, micro_usd: MicroUsd) -> None:
        """Take tokens of an owner away, as he could spend them at any time."""
        self.chain.change_tokens(Pubkey.from_string(address), -micro_usd)

    def balance(self, address: str) -> MicroUsd:
        """Tokens of an owner; 0 when he has no token account."""
        return MicroUsd(self.chain.tokens(Pubkey.from_string(address)) or 0)

    def advance(self, seconds: float) -> None:
        """Move the chain's clock ahead; 61 seconds make every blockhash of now expire."""
        self.chain.ahead_s += seconds

    def forget(self) -> None:
        """Lose all history, and keep all balances, as a node does that is started from a snapshot."""
        self.chain.landed.clear()
        self.chain.oldest_slot = self.chain.slot

    def release(self) -> None:
        """Let held transactions land."""
        self.chain.release()
