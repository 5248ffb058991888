"""The chain reader of each chain. What only one of them needs is imported when it is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compute_router.protocol.networks import Chain
from compute_router.protocol.payments import PAYMENT_NETWORKS
from compute_router.transport.payments.json_rpc import JsonRpc

if TYPE_CHECKING:
    from compute_router.transport.payments.evm_chain_reader import EvmChainReader
    from compute_router.transport.payments.solana_chain_reader import SolanaChainReader


def open_chain_reader(chain: Chain, rpc_url: str, seconds: float = 5.0) -> EvmChainReader | SolanaChainReader:
    """A reader of this chain's USDC by a node, each of whose answers may take so many seconds."""
    rpc = JsonRpc(rpc_url, seconds)
    asset = PAYMENT_NETWORKS[chain].asset
    if chain is Chain.MONAD:
        from compute_router.transport.payments.evm_chain_reader import EvmChainReader

        return EvmChainReader(rpc, asset)
    from compute_router.transport.payments.solana_chain_reader import SolanaChainReader

    return SolanaChainReader(rpc, asset)
