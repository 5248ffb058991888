"""A worker names where its earnings go, and hears how payouts end."""

from __future__ import annotations

import json
import logging

import pytest
from nacl.signing import SigningKey

from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.jobs import ProviderType
from compute_router.protocol.messages import WORKER_FRAMES, Register, registration_message
from compute_router.protocol.receipts import public_key_hex, verify_signature
from compute_router.worker.backoff import Backoff
from compute_router.worker.machine import MachineLoad
from compute_router.worker.session import Identity, Session
from compute_router.worker.session_events import (
    Connected,
    Effect,
    FrameReceived,
    ModelsChanged,
    MonotonicMs,
    SendFrame,
    Tick,
)
from compute_router.worker.settings import read_settings

KEY = SigningKey(bytes(32))
PUBKEY = public_key_hex(KEY)
NETWORK = "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"
HOME = "So11111111111111111111111111111111111111112"
NOW = MonotonicMs(1_000)


def connected(address: str | None) -> Session:
    identity = Identity(KEY, ProviderType.DESKTOP, 1, "test/1", "run-1", address)
    session = Session(identity, Backoff(lambda: 0.5), lambda: MachineLoad(0.0, 0.0))
    session.handle(ModelsChanged(()), NOW)
    session.handle(Connected(), NOW)
    return session


def hears(session: Session, **frame: object) -> list[Effect]:
    return session.handle(FrameReceived(json.dumps(frame)), NOW)


def registration(effects: list[Effect]) -> Register:
    (effect,) = effects
    assert isinstance(effect, SendFrame)
    frame = WORKER_FRAMES.decode(effect.data)
    assert isinstance(frame, Register)
    return frame


def test_the_address_is_signed_together_with_the_proof_of_the_key() -> None:
    register = registration(hears(connected(HOME), type="challenge", nonce="n1", network=NETWORK))
    assert register.payout_address == HOME
    message = b"compute-router/register/v2\n" + f"{NETWORK}\nn1\n{PUBKEY}\n{HOME}".encode()
    assert registration_message(NETWORK, "n1", PUBKEY, HOME) == message
    verify_signature(PUBKEY, message, register.signature or "")


def test_without_a_challenge_no_address_is_named() -> None:
    session = connected(HOME)
    assert session.wake_at is not None
    assert registration(session.handle(Tick(), session.wake_at)).payout_address is None


def test_without_an_address_the_registration_is_the_old_one() -> None:
    register = registration(hears(connected(None), type="challenge", nonce="n1", network=NETWORK))
    assert register.payout_address is None
    verify_signature(PUBKEY, registration_message(NETWORK, "n1", PUBKEY), register.signature or "")


def test_payouts_are_told_to_whoever_reads_the_log(caplog: pytest.LogCaptureFixture) -> None:
    session = connected(HOME)
    hears(session, type="challenge", nonce="n1", network=NETWORK)
    hears(session, type="register_ack", status="ok", worker_id="1")
    facts = {"job_ids": [], "payout_id": "p", "amount": "$0.005", "address": HOME}
    with caplog.at_level(logging.INFO):
        assert hears(session, type="payment_posted", transaction_ref="0xabc", **facts) == []
        assert hears(session, type="payment_failed", reason="no gas", **facts) == []
    assert [record.getMessage() for record in caplog.records] == [
        f"Paid out: $0.005 to {HOME}, by 0xabc.",
        "A payout of $0.005 did not happen: no gas",
    ]


def test_the_address_comes_from_a_flag_or_from_the_environment() -> None:
    assert read_settings([], {}).payout_address is None
    assert read_settings(["--payout-address", HOME], {}).payout_address == HOME
    assert read_settings([], {"COMPUTE_ROUTER_PAYOUT_ADDRESS": HOME}).payout_address == HOME


@pytest.mark.parametrize(
    "address",
    ["0x534b2f3A21130d7a60830c2Df862319e593943A3", "0x" + "ab" * 20, "0x" + "AB" * 20, HOME],
)
def test_an_address_of_either_chain_is_taken_as_it_is(address: str) -> None:
    assert read_settings(["--payout-address", address], {}).payout_address == address


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("0x12", "not an address on Monad"),
        ("0x534b2f3a21130d7a60830c2df862319e593943A3", "mistyped"),
        ("0x" + "00" * 20, "belongs to nobody"),
        ("alice", "on Solana, in base58"),
        (HOME[:-1], "not an address on Solana"),
        ("ab" * 32, "looks like a private key"),
    ],
)
@pytest.mark.parametrize("by", ["flag", "variable"])
def test_what_is_no_address_is_refused_before_anything_is_connected(address: str, why: str, by: str) -> None:
    flags = ["--payout-address", address] if by == "flag" else []
    variables = {"COMPUTE_ROUTER_PAYOUT_ADDRESS": address} if by == "variable" else {}
    with pytest.raises(ConfigurationError, match=why):
        read_settings(flags, variables)
