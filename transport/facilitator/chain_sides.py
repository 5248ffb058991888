"""The facilitator's side of each chain; the slow imports of one are spared the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compute_router.protocol.networks import Chain
from compute_router.protocol.recursion_limit import kept_recursion_limit

if TYPE_CHECKING:
    from compute_router.transport.facilitator.evm_side import EvmSide
    from compute_router.transport.facilitator.solana_side import SolanaSide


def open_chain_side(
    chain: Chain, key: bytes, rpc_url: str, *, confirm_seconds: float = 30.0
) -> EvmSide | SolanaSide:
    """The library's facilitator for one chain.

    Raises:
        ValueError: the key is none of this chain.
    """
    if chain is Chain.MONAD:
        with kept_recursion_limit():
            from compute_router.transport.facilitator.evm_side import EvmSide

        return EvmSide(key, rpc_url, confirm_seconds=confirm_seconds)
    from compute_router.transport.facilitator.solana_side import SolanaSide

    return SolanaSide(key, rpc_url, confirm_seconds=confirm_seconds)
