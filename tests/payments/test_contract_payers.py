"""A payer whose account is a contract: what its code does is about this payment, and about no other."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from eth_utils.address import to_canonical_address

from compute_router.transport.facilitator import settling
from compute_router.transport.facilitator.settling import NotNowError
from tests.payments.paying import PRICE, EvmScene
from tools.local_chains.rpc_server import RpcError

if TYPE_CHECKING:
    from tools.local_chains.evm import LocalEvm

PATIENCE_SECONDS = 8.0
"""Less than one request may take, and far more than the check may in the test of that."""

INVALID = b"\xfe"
ENDLESS = b"\x5b\x60\x00\x56"
REVERT_WITHOUT_A_WORD = b"\x60\x00\x60\x00\xfd"
TOO_LITTLE_ON_THE_STACK = b"\x01"
TOO_MUCH_ON_THE_STACK = b"\x5b\x60\x00\x60\x00\x56"
JUMP_TO_NOWHERE = b"\x60\xff\x56"
NOTHING = b"\x00"


@pytest.fixture
def scene(evm: LocalEvm, tmp_path: Path) -> EvmScene:
    return EvmScene(tmp_path, evm)


def of_contract(scene: EvmScene, code: bytes) -> bytes:
    """A payment of a payer with this code and enough money."""
    payer = "0x" + os.urandom(20).hex()
    scene.local.chain.set_code(to_canonical_address(payer), code)  # type: ignore[union-attr]
    scene.local.fund(payer, PRICE)
    inner = scene.signed() | {"signature": "0x" + os.urandom(66).hex()}
    inner["authorization"]["from"] = payer
    return scene.body(inner)


@pytest.mark.parametrize(
    "code",
    [
        INVALID,
        ENDLESS,
        REVERT_WITHOUT_A_WORD,
        TOO_LITTLE_ON_THE_STACK,
        TOO_MUCH_ON_THE_STACK,
        JUMP_TO_NOWHERE,
        NOTHING,
    ],
    ids=bytes.hex,
)
def test_whatever_goes_wrong_in_a_payers_contract_is_a_refusal_of_this_payment(
    scene: EvmScene, code: bytes
) -> None:
    body = of_contract(scene, code)
    with scene.facilitator() as facilitator:
        assert not facilitator.verify(body).is_valid
        assert not facilitator.settle(body).success
        assert facilitator.verify(scene.body()).is_valid


def test_a_contract_that_runs_for_ever_gets_no_more_gas_than_a_settlement_would(scene: EvmScene) -> None:
    body = of_contract(scene, ENDLESS)
    call, gas = scene.local.methods["eth_call"], set[str]()

    def noting(asked: dict[str, Any], *more: Any) -> Any:
        gas.add(asked.get("gas", "all of a block's"))
        return call(asked, *more)

    scene.local.methods["eth_call"] = noting
    with scene.facilitator() as facilitator:
        assert not facilitator.verify(body).is_valid
    assert gas == {hex(500_000)}


@pytest.mark.parametrize(
    "trouble",
    [
        RpcError(-32005, "limit exceeded"),
        RpcError(-32000, "header not found"),
        RpcError(-32603, "Internal error"),
        RpcError(-32601, "the method does not exist"),
    ],
    ids=str,
)
def test_trouble_of_the_node_refuses_no_payment(scene: EvmScene, trouble: RpcError) -> None:
    def fail(*_: Any) -> Any:
        raise trouble

    body = scene.body()
    call, scene.local.methods["eth_call"] = scene.local.methods["eth_call"], fail
    with scene.facilitator() as facilitator:
        for ask in (facilitator.verify, facilitator.settle):
            with pytest.raises(NotNowError):
                ask(body)
        scene.local.methods["eth_call"] = call
        assert facilitator.verify(body).is_valid


def test_an_error_that_is_gone_at_the_second_try_is_nobodys_fault(scene: EvmScene) -> None:
    failures = [RpcError(-32603, "Internal error")]
    call = scene.local.methods["eth_call"]

    def fails_once(*params: Any) -> Any:
        if failures:
            raise failures.pop()
        return call(*params)

    scene.local.methods["eth_call"] = fails_once
    with scene.facilitator() as facilitator:
        assert facilitator.verify(scene.body()).is_valid


def test_a_check_ends_when_its_time_is_over_and_is_no_refusal(
    scene: EvmScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "_CHECK_SECONDS", 0.3)
    over, call = threading.Event(), scene.local.methods["eth_call"]

    def too_late(*params: Any) -> Any:
        # Whoever has more patience gets a good answer.
        over.wait(PATIENCE_SECONDS)
        return call(*params)

    scene.local.methods["eth_call"] = too_late
    with scene.facilitator() as facilitator:
        with pytest.raises(NotNowError):
            facilitator.verify(scene.body())
        over.set()
