"""A payer whose account is a contract: what its code does is about this payment, and about no other."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from eth_utils.address import to_canonical_address

from compute_router.transport.facilitator import settling
from compute_router.transport.facilitator.settling import NotNowError
from tests.payments.paying import PRICE, EvmScene
from tools.local_chains.evm_rpc import EvmRpc
from tools.local_chains.faults import Faults
from tools.local_chains.rpc_server import RpcError, RpcServer

if TYPE_CHECKING:
    from tools.local_chains.evm import LocalEvm

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


def test_a_contract_that_runs_for_ever_is_stopped_soon(scene: EvmScene) -> None:
    body = of_contract(scene, ENDLESS)
    with scene.facilitator() as facilitator:
        began = time.monotonic()
        assert not facilitator.verify(body).is_valid
        # All the gas of a block would take this chain half a minute.
        assert time.monotonic() - began < 20


@contextmanager
def node_with(scene: EvmScene, call: Callable[..., Any]) -> Iterator[None]:
    """Let the chain's node answer ``eth_call`` as told."""
    own = scene.local.rpc_url
    server = RpcServer(EvmRpc(scene.local.chain).methods() | {"eth_call": call}, Faults())  # type: ignore[arg-type]
    scene.local.rpc_url = server.url
    try:
        yield
    finally:
        server.close()
        scene.local.rpc_url = own


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
    with node_with(scene, fail), scene.facilitator() as facilitator:
        for ask in (facilitator.verify, facilitator.settle):
            with pytest.raises(NotNowError):
                ask(body)
    with scene.facilitator() as facilitator:
        assert facilitator.verify(body).is_valid


def test_an_error_that_is_gone_at_the_second_try_is_nobodys_fault(scene: EvmScene) -> None:
    failures = [RpcError(-32603, "Internal error")]
    call = EvmRpc(scene.local.chain).methods()["eth_call"]  # type: ignore[arg-type]

    def fails_once(*params: Any) -> Any:
        if failures:
            raise failures.pop()
        return call(*params)

    with node_with(scene, fails_once), scene.facilitator() as facilitator:
        assert facilitator.verify(scene.body()).is_valid


def test_a_check_ends_when_its_time_is_over_and_is_no_refusal(
    scene: EvmScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "_CHECK_SECONDS", 0.3)
    called = threading.Event()

    def never(*_: Any) -> Any:
        called.wait(30)
        return "0x"

    began = time.monotonic()
    with node_with(scene, never), scene.facilitator() as facilitator, pytest.raises(NotNowError):
        facilitator.verify(scene.body())
    called.set()
    assert time.monotonic() - began < 5
