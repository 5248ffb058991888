"""A facilitator and the node that it asks: of the same chain, or no payment is offered."""

from __future__ import annotations

import pytest

from compute_router.protocol.networks import Chain
from tests.payments.paying import Scene

MAINNET_GENESIS = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d"
DEVNET_BEGINNING = "EtWTRABZaYq6iMfeYKouRu166VU2xqa1"

ASKED = {Chain.MONAD: "eth_chainId", Chain.SOLANA: "getGenesisHash"}
OTHER = {Chain.MONAD: "0x1", Chain.SOLANA: MAINNET_GENESIS}


def test_a_node_of_the_same_chain_is_no_problem(scene: Scene) -> None:
    with scene.facilitator() as facilitator:
        assert facilitator.side.problem() is None
    assert scene.local.requests[ASKED[scene.chain]]


def test_a_node_of_another_chain_is_a_problem(scene: Scene) -> None:
    scene.local.methods[ASKED[scene.chain]] = lambda: OTHER[scene.chain]
    with scene.facilitator() as facilitator:
        problem = facilitator.side.problem()
    assert "The node serves" in (problem or "")


@pytest.mark.parametrize("nonsense", [None, 7, "", DEVNET_BEGINNING[:-1], ["x"]])
def test_a_node_that_names_no_chain_is_a_problem(scene: Scene, nonsense: object) -> None:
    scene.local.methods[ASKED[scene.chain]] = lambda: nonsense
    with scene.facilitator() as facilitator:
        assert facilitator.side.problem() is not None


def test_a_node_that_is_down_is_asked_again_what_it_serves(scene: Scene) -> None:
    with scene.facilitator() as facilitator:
        scene.local.faults.down = True
        assert "cannot be asked" in (facilitator.side.problem() or "")
        scene.local.faults.down = False
        assert facilitator.side.problem() is None


def test_a_node_of_the_other_kind_of_chain_is_told_without_names_of_the_code(scene: Scene) -> None:
    scene.local.methods.pop(ASKED[scene.chain])
    with scene.facilitator() as facilitator:
        problem = facilitator.side.problem()
    assert problem is not None
    assert "does not answer like one of" in problem
    assert "See --rpc-url" in problem
    assert "Error" not in problem
    assert "Unavailable" not in problem
