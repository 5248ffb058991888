"""A node that answers nonsense once: no payment is refused for it, and each is settled when asked again."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from compute_router.transport.facilitator.settling import NotNowError
from tests.payments.paying import PRICE, EvmScene, Scene, SolanaScene
from tools.local_chains.rpc_server import RpcError

if TYPE_CHECKING:
    from tools.local_chains.evm import LocalEvm
    from tools.local_chains.solana import LocalSolana

NONSENSE: list[Any] = [None, {}, [], "", 7, "oops", RpcError(-32603, "internal error")]
REVERTED = RpcError(3, "execution reverted")


@pytest.mark.parametrize("method", ["eth_chainId", "eth_gasPrice", "eth_getTransactionCount", "eth_getCode"])
def test_what_a_monad_node_knows_of_itself_is_never_the_payments_fault(
    evm: LocalEvm, tmp_path: Path, method: str
) -> None:
    scene = EvmScene(tmp_path, evm)
    for odd in (*NONSENSE, REVERTED):
        _not_refused_and_settled_after(scene, method, odd)
    assert scene.paid == PRICE * (len(NONSENSE) + 1)


def test_a_call_that_a_monad_node_answers_with_nonsense_is_not_the_payments_fault(
    evm: LocalEvm, tmp_path: Path
) -> None:
    scene = EvmScene(tmp_path, evm)
    for odd in NONSENSE:
        _not_refused_and_settled_after(scene, "eth_call", odd)
    assert scene.paid == PRICE * len(NONSENSE)


def test_a_trial_that_a_solana_node_answers_with_nonsense_is_not_the_payments_fault(
    solana: LocalSolana, tmp_path: Path
) -> None:
    scene = SolanaScene(tmp_path, solana)
    for odd in (*NONSENSE, {"value": None}):
        _not_refused_and_settled_after(scene, "simulateTransaction", odd)
    assert scene.paid == PRICE * (len(NONSENSE) + 1)


def test_a_call_that_failed_once_is_a_refusal_that_is_not_kept(evm: LocalEvm, tmp_path: Path) -> None:
    scene = EvmScene(tmp_path, evm)
    body = scene.body()
    with scene.facilitator() as facilitator:
        evm.odd["eth_call"] = [REVERTED]
        assert not facilitator.settle(body).success
    with scene.facilitator() as facilitator:
        assert facilitator.settle(body).success
    assert scene.paid == PRICE


def _not_refused_and_settled_after(scene: Scene, method: str, odd: Any) -> None:
    """Settled all the same, or nothing is sent and the same question is answered later."""
    body = scene.body()
    with scene.facilitator() as facilitator:
        scene.local.odd[method] = [odd]
        with contextlib.suppress(NotNowError):
            assert facilitator.settle(body).success, odd
        assert not scene.local.odd[method], "was asked"
        assert facilitator.settle(body).success, odd
