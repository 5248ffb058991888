"""A local EVM chain with its JSON-RPC address, for tests and for ``python -m tools.local_chains``."""

from __future__ import annotations

from typing import Final

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_canonical_address

from compute_router.protocol.units import MicroUsd
from tools.local_chains.evm_chain import CHAIN_ID, TOKEN, EvmChain
from tools.local_chains.evm_rpc import EvmRpc
from tools.local_chains.faults import Faults
from tools.local_chains.local_chain import LocalChain

GAS_MONEY: Final = 10**20


class LocalEvm(LocalChain):
    """Chain id 10143 and a play token at USDC's address of Monad's testnet."""

    chain_id = CHAIN_ID
    token = TOKEN

    def __init__(self, port: int = 0) -> None:
        faults = Faults()
        self.chain = EvmChain(faults)
        super().__init__(EvmRpc(self.chain).methods(), faults, port)

    def new_key(self) -> LocalAccount:
        """A new account with nothing; ``.key`` is the secret, ``.address`` who it is."""
        account: LocalAccount = Account.create()
        return account

    def fund(self, address: str, micro_usd: MicroUsd) -> None:
        """Make new tokens for an address."""
        self.chain.mint(to_canonical_address(address), micro_usd)

    def fund_gas(self, address: str) -> None:
        """Give an address what its own transactions cost."""
        self.chain.set_native_balance(to_canonical_address(address), GAS_MONEY)

    def spend(self, address: str, micro_usd: MicroUsd) -> None:
        """Move tokens of an address away, as its owner could at any time."""
        self.chain.move(to_canonical_address(address), b"\xde\xad" * 10, micro_usd)

    def balance(self, address: str) -> MicroUsd:
        """Tokens of an address."""
        return MicroUsd(self.chain.token_balance(to_canonical_address(address)))

    def advance(self, seconds: int) -> None:
        """Move the chain's clock ahead."""
        self.chain.ahead_s += seconds

    def release(self) -> None:
        """Let held transactions into blocks."""
        self.chain.release()
