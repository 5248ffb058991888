from __future__ import annotations

import re

import pytest

from compute_router.protocol.networks import NETWORKS, Chain

# CAIP-2: namespace, colon, reference.
CAIP2 = re.compile(r"[-a-z0-9]{3,8}:[-_a-zA-Z0-9]{1,32}")


def test_every_chain_has_a_network() -> None:
    assert set(NETWORKS) == set(Chain)


@pytest.mark.parametrize(
    ("chain", "caip2", "port", "database"),
    [
        (Chain.SOLANA, "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1", 4020, "solana.db"),
        (Chain.MONAD, "eip155:10143", 4010, "monad.db"),
    ],
)
def test_each_chain_has_its_published_name_port_and_database(
    chain: Chain, caip2: str, port: int, database: str
) -> None:
    network = NETWORKS[chain]
    assert (network.caip2, network.default_port, network.default_database) == (caip2, port, database)
    assert CAIP2.fullmatch(network.caip2)


def test_two_coordinators_on_one_machine_share_neither_port_nor_database() -> None:
    assert len({network.default_port for network in NETWORKS.values()}) == len(NETWORKS)
    assert len({network.default_database for network in NETWORKS.values()}) == len(NETWORKS)
