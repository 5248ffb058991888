"""One settlement on the chain settles one payment, whatever else its transaction does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from compute_router.protocol.networks import Chain
from compute_router.protocol.payments import PAYMENT_NETWORKS, NotSettled, Payment, Settled, StillOpen
from compute_router.transport.payments.settling_logs import AUTHORIZATION_USED, TRANSFER, carries_out
from tests.payments.paying import PRICE, EvmScene, SolanaScene

if TYPE_CHECKING:
    pass

ASSET = PAYMENT_NETWORKS[Chain.MONAD].asset
CALL = "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)"
KINDS = ["address", "address", "uint256", "uint256", "uint256", "bytes32", "uint8", "bytes32", "bytes32"]
ELSEWHERE = NotSettled("authorization_used_for_another_payment")


def carry_out_together(scene: EvmScene, inners: Sequence[dict[str, Any]]) -> str:
    """Send one transaction that carries out several authorizations, and return its hash."""
    calls = []
    for inner in inners:
        said, signature = inner["authorization"], bytes.fromhex(inner["signature"][2:])
        numbers = [int(said[name]) for name in ("value", "validAfter", "validBefore")]
        parts = [said["from"], said["to"], *numbers, bytes.fromhex(said["nonce"][2:])]
        parts += [signature[64], signature[:32], signature[32:64]]
        calls.append(keccak(text=CALL)[:4] + encode(KINDS, parts))
    # A constructor that copies each call from behind its own code and makes it.
    length = len(calls[0]).to_bytes(2, "big")
    code, behind = b"", 44 * len(calls) + 1
    for number in range(len(calls)):
        at = (behind + number * len(calls[0])).to_bytes(2, "big")
        code += b"\x61" + length + b"\x61" + at + b"\x60\x00\x39\x60\x00\x60\x00\x61" + length
        code += b"\x60\x00\x60\x00\x73" + bytes.fromhex(ASSET[2:]) + b"\x5a\xf1\x50"
    assert len(code) + 1 == behind
    chain = scene.local.chain
    scene.local.fund_gas(scene.seeker)
    signed = scene.account.sign_transaction(
        {
            "nonce": 0,
            "gas": 5_000_000,
            "gasPrice": 60 * 10**9,
            "value": 0,
            "data": code + b"\x00" + b"".join(calls),
            "chainId": 10143,
        }
    )
    return "0x" + chain.send_raw(bytes(signed.raw_transaction)).hex()  # type: ignore[union-attr]


def named(payment: Payment, reference: str | None) -> Payment:
    return msgspec.structs.replace(payment, transaction_ref=reference)


def again_for_nothing(scene: EvmScene, inner: dict[str, Any]) -> dict[str, Any]:
    """The same nonce, signed once more: to the payer himself."""
    return scene.signed(nonce=inner["authorization"]["nonce"], to=scene.seeker, value="0")


def test_of_many_nonces_that_one_transaction_uses_only_those_with_a_transfer_of_their_own_are_settled(
    on_evm: EvmScene,
) -> None:
    good, bad = on_evm.signed(), [on_evm.signed() for _ in range(2)]
    spoilt = [again_for_nothing(on_evm, inner) for inner in bad]
    reference = carry_out_together(on_evm, [spoilt[0], good, spoilt[1]])
    assert on_evm.paid == PRICE
    for said in (None, reference):
        assert on_evm.outcome(named(on_evm.payment(good), said)) == Settled(reference)
        for inner in bad:
            assert on_evm.outcome(named(on_evm.payment(inner), said)) == ELSEWHERE


def test_one_transaction_may_carry_out_several_payments(on_evm: EvmScene) -> None:
    inners = [on_evm.signed() for _ in range(3)]
    reference = carry_out_together(on_evm, inners)
    assert on_evm.paid == 3 * PRICE
    for inner in inners:
        assert on_evm.outcome(on_evm.payment(inner)) == Settled(reference)


def test_a_transfer_next_to_a_nonce_that_was_used_for_less_is_not_the_nonces_own(on_evm: EvmScene) -> None:
    cheap = on_evm.signed(value="1")
    inner = on_evm.signed()
    less = on_evm.signed(nonce=inner["authorization"]["nonce"], value="1")
    carry_out_together(on_evm, [less, cheap])
    assert on_evm.outcome(on_evm.payment(inner)) == ELSEWHERE


def test_a_facilitator_that_was_forestalled_believes_the_nonces_own_transfer_only(on_evm: EvmScene) -> None:
    good, bad = on_evm.signed(), on_evm.signed()
    with on_evm.facilitator(confirm_seconds=0.3) as facilitator:
        on_evm.local.faults.hold_transactions = True
        for inner in (good, bad):
            assert not facilitator.settle(on_evm.body(inner)).success
        on_evm.local.faults.hold_transactions = False
        reference = carry_out_together(on_evm, [good, again_for_nothing(on_evm, bad)])
        on_evm.local.release()
        first, second = (facilitator.settle(on_evm.body(inner)) for inner in (good, bad))
    assert (first.success, first.transaction) == (True, reference)
    assert (second.success, second.error_reason) == (False, "transaction_failed")
    assert on_evm.paid == PRICE


PAYER, PAY_TO, NONCE = "0x" + "a" * 40, "0x" + "b" * 40, "0x" + "c" * 64


def word(value: str) -> str:
    return "0x" + value[2:].rjust(64, "0")


def log(index: int, *topics: str, data: str = "0x", address: str = ASSET) -> dict[str, Any]:
    return {"address": address, "logIndex": hex(index), "topics": list(topics), "data": data}


USED = log(3, AUTHORIZATION_USED, word(PAYER), NONCE)
MOVED = log(4, TRANSFER, word(PAYER), word(PAY_TO), data=hex(PRICE))


def carried(*logs: dict[str, Any]) -> bool:
    return carries_out(logs, ASSET, PAYER, NONCE, PAY_TO, PRICE)


def test_the_log_right_behind_the_use_of_the_nonce_is_its_transfer() -> None:
    assert carried(USED, MOVED)
    assert carried(MOVED, USED)


@pytest.mark.parametrize(
    "moved",
    [
        MOVED | {"logIndex": "0x5"},
        MOVED | {"logIndex": "0x2"},
        MOVED | {"address": "0x" + "d" * 40},
        MOVED | {"data": hex(PRICE - 1)},
        MOVED | {"data": hex(PRICE + 1)},
        MOVED | {"topics": [TRANSFER, word(PAY_TO), word(PAYER)]},
        MOVED | {"topics": [AUTHORIZATION_USED, word(PAYER), word(PAY_TO)]},
    ],
    ids=lambda moved: json.dumps(moved)[-40:],
)
def test_any_other_log_is_not(moved: dict[str, Any]) -> None:
    assert not carried(USED, moved)


def test_the_use_of_a_nonce_of_another_token_counts_for_nothing() -> None:
    with pytest.raises(LookupError):
        carried(USED | {"address": "0x" + "d" * 40}, MOVED)


# Solana: a transaction is known by all that its payer signed.


def test_two_payments_with_the_same_memo_are_two(on_solana: SolanaScene) -> None:
    first, second = (on_solana.signed(memo="same", unit_price=price) for price in (1, 2))
    with on_solana.facilitator() as facilitator:
        ended = facilitator.settle(on_solana.body(first))
    for said in (None, ended.transaction):
        assert on_solana.outcome(named(on_solana.payment(first), said)) == Settled(ended.transaction)
        assert on_solana.outcome(named(on_solana.payment(second), said)) == StillOpen()
    assert on_solana.paid == PRICE
