"""The chains that a coordinator can serve: one coordinator instance, port and database for each."""

from __future__ import annotations

from enum import Enum
from typing import Final

import msgspec


class Chain(Enum):
    """Short names of the chains, as flags and the SDK use them."""

    SOLANA = "solana"
    MONAD = "monad"


class Network(msgspec.Struct, frozen=True):
    """Facts of one chain. ``caip2`` is its CAIP-2 chain id."""

    caip2: str
    label: str
    default_port: int
    default_database: str


NETWORKS: Final = {
    Chain.SOLANA: Network("solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1", "Solana devnet", 4020, "solana.db"),
    Chain.MONAD: Network("eip155:10143", "Monad testnet", 4010, "monad.db"),
}


def chain_of(caip2: str) -> Chain:
    """The chain with a CAIP-2 id.

    Raises:
        KeyError: it is none of ours.
    """
    return _CHAINS[caip2]


_CHAINS: Final = {network.caip2: chain for chain, network in NETWORKS.items()}
