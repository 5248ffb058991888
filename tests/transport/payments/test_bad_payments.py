"""Every payment that must not be taken, on both chains: the job is not stored, and the code says why."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from compute_router.protocol.chain_addresses import evm_checksum
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payment_offer import PAYMENT_HEADER, PAYMENT_HEADER_V1
from compute_router.protocol.units import MicroUsd
from compute_router.transport.payments.solana_programs import SYSTEM
from tests.fakes.signed_payments import as_header, v1_headers, v2_headers
from tests.transport.payments.till import DOLLAR, HURRIED, PAY_TO, PRICE, Paid, both_chains, paid, told
from tests.transport.worker_client import worker

REFUSED = (402, "payment_refused")
MISMATCH = (402, "payment_mismatch")
MALFORMED = (400, "payment_malformed")


async def nothing_happened(till: Paid) -> None:
    """No job, no payment, nothing held: a good payment is still taken."""
    assert (till.router.count("jobs"), till.router.count("payments"), till.left) == (0, 0, DOLLAR)
    await till.commit()


# Used before


@both_chains
async def test_a_payment_pays_for_one_job_before_its_settlement(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till:
        headers = await till.payment()
        await till.commit(headers)
        assert told(await till.post(headers)) == (402, "payment_already_used")
        assert told(await till.post(headers, user_id="mallory")) == (402, "payment_already_used")
        assert till.router.count("jobs") == 1


@both_chains
async def test_a_payment_pays_for_one_job_after_its_settlement(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till, worker(till.router.port) as client:
        await client.register(proven=True)
        headers = await till.payment()
        job_id = await till.serve(client, headers)
        await till.router.job(job_id, wait=10)
        assert told(await till.post(headers)) == (402, "payment_already_used")
        assert (till.left, till.router.count("jobs")) == (DOLLAR - PRICE, 1)


@both_chains
async def test_a_payment_whose_job_was_cancelled_is_not_taken_for_another(
    tmp_path: Path, chain: Chain
) -> None:
    async with paid(tmp_path, chain) as till:
        headers = await till.payment()
        await till.router.http.delete(f"/v1/jobs/{await till.commit(headers)}")
        assert told(await till.post(headers)) == (402, "payment_already_used")


@both_chains
async def test_of_many_commits_at_once_with_one_payment_one_is_taken(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till:
        headers = await till.payment()
        answers = await asyncio.gather(*(till.post(headers) for _ in range(10)))
        assert sorted(answer.status_code for answer in answers) == [201] + [402] * 9
        assert {told(answer)[1] for answer in answers if answer.status_code == 402} == {
            "payment_already_used"
        }


async def test_the_case_of_hex_digits_does_not_make_another_payment(tmp_path: Path) -> None:
    async with paid(tmp_path, Chain.MONAD) as till:
        wanted = await till.wanted()
        inner = till.seeker.sign(wanted)
        await till.commit(v2_headers(wanted, inner))
        said = inner["authorization"]
        for other in (
            said | {"nonce": "0x" + said["nonce"][2:].upper()},
            said | {"from": said["from"].lower()},
            said | {"from": "0x" + said["from"][2:].upper()},
        ):
            headers = v2_headers(wanted, inner | {"authorization": other})
            assert told(await till.post(headers)) == (402, "payment_already_used")


async def test_another_signature_of_the_one_who_pays_the_fee_does_not_make_another_payment(
    tmp_path: Path,
) -> None:
    async with paid(tmp_path, Chain.SOLANA) as till:
        wanted = await till.wanted()
        inner = till.seeker.sign(wanted)
        await till.commit(v2_headers(wanted, inner))
        raw = bytearray(base64.b64decode(inner["transaction"]))
        raw[1:65] = b"7" * 64
        again = {"transaction": base64.b64encode(bytes(raw)).decode()}
        assert told(await till.post(v2_headers(wanted, again))) == (402, "payment_already_used")


@both_chains
async def test_a_repeated_commit_with_its_key_and_its_payment_is_the_same_job(
    tmp_path: Path, chain: Chain
) -> None:
    async with paid(tmp_path, chain) as till, worker(till.router.port) as client:
        await client.register(proven=True)
        headers = await till.payment() | {"Idempotency-Key": "key-1"}
        job_id = await till.serve(client, headers)
        await till.router.job(job_id, wait=10)
        assert (await till.post(headers)).json()["job_id"] == job_id
        assert (await till.post({"Idempotency-Key": "key-1"})).json()["job_id"] == job_id
        assert (till.left, till.facilitator.count("/verify")) == (DOLLAR - PRICE, 1)


# Too little money


@both_chains
async def test_two_payments_on_one_balance_are_not_both_taken(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain, funds=PRICE + PRICE // 2) as till:
        first, second = await till.payment(), await till.payment()
        job_id = await till.commit(first)
        assert told(await till.post(second)) == (402, "insufficient_funds")
        await till.router.http.delete(f"/v1/jobs/{job_id}")
        await till.commit(second)


@both_chains
async def test_of_many_payments_at_once_as_many_are_taken_as_the_balance_covers(
    tmp_path: Path, chain: Chain
) -> None:
    async with paid(tmp_path, chain, funds=3 * PRICE) as till:
        payments = [await till.payment() for _ in range(8)]
        answers = await asyncio.gather(*map(till.post, payments))
        assert sorted(answer.status_code for answer in answers) == [201] * 3 + [402] * 5


@both_chains
async def test_while_the_chain_cannot_be_read_a_payer_may_owe_so_much_and_no_more(
    tmp_path: Path, chain: Chain
) -> None:
    policy = msgspec.structs.replace(HURRIED, max_unsettled=MicroUsd(2 * PRICE))
    async with paid(tmp_path, chain, policy=policy) as till:
        till.play.readable = False
        answers = [await till.post(await till.payment()) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [201, 201, 429]
        assert answers[2].json()["error"] == "too_much_unsettled"
        assert int(answers[2].headers["retry-after"]) >= 1
        till.play.readable = True
        await till.commit()


@both_chains
async def test_an_empty_wallet_pays_for_nothing(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain, funds=0) as till:
        assert told(await till.post(await till.payment())) == (402, "insufficient_funds")
        assert till.router.count("jobs") == 0


# Signed for something else


@both_chains
@pytest.mark.parametrize("amount", [PRICE - 1, PRICE + 1, 0, 10**15])
async def test_another_amount_than_the_price_is_refused(tmp_path: Path, chain: Chain, amount: int) -> None:
    async with paid(tmp_path, chain) as till:
        wanted = await till.wanted()
        field = "value" if chain is Chain.MONAD else "amount"
        inner = till.seeker.sign(wanted, **{field: str(amount)})
        assert told(await till.post(v2_headers(wanted, inner))) == MISMATCH
        assert told(await till.post(v1_headers(wanted, inner))) == MISMATCH
        other = wanted | {"amount": str(amount)}
        assert told(await till.post(v2_headers(other, till.seeker.sign(other)))) == MISMATCH
        await nothing_happened(till)


@both_chains
async def test_a_payment_to_somebody_else_is_refused(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till:
        wanted = await till.wanted()
        thief = evm_checksum("0x" + "66" * 20) if chain is Chain.MONAD else str(Keypair().pubkey())
        field = "to" if chain is Chain.MONAD else "payTo"
        inner = till.seeker.sign(wanted, **{field: thief})
        assert told(await till.post(v2_headers(wanted, inner))) == MISMATCH
        assert told(await till.post(v1_headers(wanted, inner))) == MISMATCH
        other = wanted | {"payTo": thief}
        assert told(await till.post(v2_headers(other, till.seeker.sign(other)))) == MISMATCH
        await nothing_happened(till)


@both_chains
async def test_another_asset_is_refused(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till:
        wanted = await till.wanted()
        asset = evm_checksum("0x" + "77" * 20) if chain is Chain.MONAD else str(Keypair().pubkey())
        other = wanted | {"asset": asset}
        inner = till.seeker.sign(other)
        assert told(await till.post(v2_headers(other, inner))) == MISMATCH
        # Said to be ours: on EVM the signature does not fit then, on Solana the transaction itself tells.
        assert told(await till.post(v2_headers(wanted, inner))) == (
            REFUSED if chain is Chain.MONAD else MISMATCH
        )
        await nothing_happened(till)


@both_chains
@pytest.mark.parametrize(
    "changes",
    [
        {"network": "eip155:1"},
        {"network": NETWORKS[Chain.SOLANA].caip2 + "x"},
        {"network": "monad-testnet"},
        {"scheme": "upto"},
        {"scheme": None},
        {"maxTimeoutSeconds": 1},
        {"maxTimeoutSeconds": "3600"},
        {"extra": {}},
        {"extra": None},
        {"more": 1},
        {"amount": 1000},
        {"amount": "1e3"},
        {"amount": "01000"},
    ],
    ids=str,
)
async def test_a_payment_must_accept_exactly_what_was_offered(
    tmp_path: Path, chain: Chain, changes: dict[str, Any]
) -> None:
    async with paid(tmp_path, chain) as till:
        wanted = await till.wanted()
        headers = v2_headers(wanted | changes, till.seeker.sign(wanted))
        assert told(await till.post(headers)) == MISMATCH
        await nothing_happened(till)


@both_chains
@pytest.mark.parametrize("changes", [{"scheme": "upto"}, {"network": "base"}], ids=str)
async def test_a_payment_of_version_1_for_another_scheme_or_network_is_refused(
    tmp_path: Path, chain: Chain, changes: dict[str, Any]
) -> None:
    async with paid(tmp_path, chain) as till:
        wanted = await till.wanted()
        assert told(await till.post(v1_headers(wanted, till.seeker.sign(wanted), **changes))) == MISMATCH
        await nothing_happened(till)


# Tampered with


async def test_an_authorization_that_was_changed_after_it_was_signed_is_refused(tmp_path: Path) -> None:
    async with paid(tmp_path, Chain.MONAD) as till:
        wanted = await till.wanted()
        inner = till.seeker.sign(wanted)
        said, signature = inner["authorization"], inner["signature"]
        later = str(int(said["validBefore"]) + 100)
        for changed in (
            {"authorization": said | {"nonce": "0x" + "12" * 32}, "signature": signature},
            {"authorization": said | {"validBefore": later}, "signature": signature},
            {"authorization": said, "signature": signature[:-4] + "ff1b"},
        ):
            assert told(await till.post(v2_headers(wanted, changed))) == REFUSED
        await nothing_happened(till)


async def test_an_authorization_of_somebody_else_is_refused(tmp_path: Path) -> None:
    async with paid(tmp_path, Chain.MONAD) as till:
        victim = evm_checksum("0x" + "99" * 20)
        till.play.has[victim.lower()] = DOLLAR
        wanted = await till.wanted()
        headers = v2_headers(wanted, till.seeker.sign(wanted, **{"from": victim}))
        assert told(await till.post(headers)) == REFUSED
        await nothing_happened(till)


async def test_a_transaction_that_was_changed_after_it_was_signed_is_refused(tmp_path: Path) -> None:
    async with paid(tmp_path, Chain.SOLANA) as till:
        wanted = await till.wanted()
        raw = base64.b64decode(till.seeker.sign(wanted)["transaction"])
        for place in (70, len(raw) - 2, 100, 129):
            changed = bytearray(raw)
            changed[place] ^= 1
            headers = v2_headers(wanted, {"transaction": base64.b64encode(bytes(changed)).decode()})
            status, code = told(await till.post(headers))
            assert (status, code) in (REFUSED, MISMATCH, MALFORMED)
        assert till.facilitator.count("/verify") == 0
        await nothing_happened(till)


async def test_a_transaction_that_does_more_than_one_plain_transfer_is_refused(tmp_path: Path) -> None:
    async with paid(tmp_path, Chain.SOLANA) as till:
        wanted = await till.wanted()
        mine = Pubkey.from_string(till.seeker.address)
        fee_payer = Pubkey.from_string(wanted["extra"]["feePayer"])
        robbery = Instruction(
            SYSTEM,
            (2).to_bytes(4, "little") + (10**9).to_bytes(8, "little"),
            [AccountMeta(fee_payer, True, True), AccountMeta(mine, False, True)],
        )
        nonce = Instruction(SYSTEM, (4).to_bytes(4, "little"), [AccountMeta(mine, True, True)])
        for more in ([robbery], [nonce]):
            headers = v2_headers(wanted, till.seeker.sign(wanted, more=more))
            assert told(await till.post(headers)) == MISMATCH
        await nothing_happened(till)


async def test_a_transaction_whose_fee_another_would_pay_is_refused(tmp_path: Path) -> None:
    async with paid(tmp_path, Chain.SOLANA) as till:
        wanted = await till.wanted()
        inner = till.seeker.sign(wanted, feePayer=str(Keypair().pubkey()))
        assert told(await till.post(v2_headers(wanted, inner))) == MISMATCH
        other = wanted | {"extra": {"feePayer": str(Keypair().pubkey())}}
        assert told(await till.post(v2_headers(other, till.seeker.sign(other)))) == MISMATCH
        await nothing_happened(till)


# At the wrong time


@pytest.mark.parametrize("ends", [-10, 0, 20])
async def test_an_authorization_that_is_over_or_nearly_is_refused(tmp_path: Path, ends: int) -> None:
    async with paid(tmp_path, Chain.MONAD) as till:
        headers = await till.payment(validBefore=str(int(time.time()) + ends))
        assert told(await till.post(headers)) == (402, "payment_expired")
        await nothing_happened(till)


async def test_an_authorization_whose_time_has_not_come_is_refused(tmp_path: Path) -> None:
    async with paid(tmp_path, Chain.MONAD) as till:
        headers = await till.payment(validAfter=str(int(time.time()) + 100))
        assert told(await till.post(headers)) == (402, "payment_too_early")
        await nothing_happened(till)


@pytest.mark.parametrize("ends", [str(2**63), str(2**256 - 1), "9" * 78])
async def test_an_authorization_for_ever_is_refused(tmp_path: Path, ends: str) -> None:
    async with paid(tmp_path, Chain.MONAD) as till:
        wanted = await till.wanted()
        inner = till.seeker.sign(wanted)
        inner["authorization"]["validBefore"] = ends
        assert told(await till.post(v2_headers(wanted, inner))) == MISMATCH
        await nothing_happened(till)


async def test_a_transaction_that_can_never_expire_is_refused_even_if_the_facilitator_would_take_it(
    tmp_path: Path,
) -> None:
    async with paid(tmp_path, Chain.SOLANA) as till:
        wanted = await till.wanted()
        mine = Pubkey.from_string(till.seeker.address)
        nonce = Instruction(SYSTEM, (4).to_bytes(4, "little"), [AccountMeta(mine, True, True)])
        assert told(await till.post(v2_headers(wanted, till.seeker.sign(wanted, more=[nonce])))) == MISMATCH


# Of the wrong version, or in the wrong place


@both_chains
async def test_each_version_belongs_into_its_own_header(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till:
        newer, older = await till.payment(), await till.payment_v1()
        wrong = (402, "payment_version")
        assert told(await till.post({PAYMENT_HEADER: older[PAYMENT_HEADER_V1]})) == wrong
        assert told(await till.post({PAYMENT_HEADER_V1: newer[PAYMENT_HEADER]})) == wrong
        assert told(await till.post(newer | older)) == MALFORMED
        await nothing_happened(till)


@both_chains
@pytest.mark.parametrize("version", [0, 3, -1, 10**30])
async def test_another_version_is_refused(tmp_path: Path, chain: Chain, version: int) -> None:
    async with paid(tmp_path, chain) as till:
        wanted = await till.wanted()
        inner = till.seeker.sign(wanted)
        codes = {(402, "payment_version"), MALFORMED}
        assert told(await till.post(v2_headers(wanted, inner, x402Version=version))) in codes
        assert told(await till.post(v1_headers(wanted, inner, x402Version=version))) in codes
        await nothing_happened(till)


# Malformed


RUBBISH = [
    "",
    "%%%",
    "e30",
    "e3==",
    "\u00e9\u00e9",
    "A" * 8000,
    base64.b64encode(b"\xff\xfe").decode(),
    base64.b64encode(b'{"x402Version":2,"accepted":{},"payload":"\xed\xa0\x80"}').decode(),
    base64.b64encode(b"null").decode(),
    base64.b64encode(b"[]").decode(),
    base64.b64encode(b"{").decode(),
    base64.b64encode(b"[" * 5000).decode(),
    base64.b64encode(b'{"x402Version":2,"accepted":' + b'{"a":' * 1500 + b"1" + b"}" * 1500 + b"}").decode(),
    as_header({"x402Version": "2"}),
    as_header({"x402Version": True, "accepted": {}, "payload": {}}),
    as_header({"x402Version": 2.5, "accepted": {}, "payload": {}}),
    as_header({"x402Version": 2, "payload": {}}),
    as_header({"x402Version": 2, "accepted": []}),
    as_header({"x402Version": 2, "accepted": None, "payload": {}}),
    as_header({"accepted": {}, "payload": {}}),
]


@both_chains
@pytest.mark.parametrize("name", [PAYMENT_HEADER, PAYMENT_HEADER_V1])
async def test_rubbish_in_a_header_is_told_from_a_payment(tmp_path: Path, chain: Chain, name: str) -> None:
    async with paid(tmp_path, chain) as till:
        for text in RUBBISH:
            answer = await till.post({name: text.encode("latin-1")})  # type: ignore[dict-item]
            assert told(answer) in (MALFORMED, (402, "payment_version")), text
        await nothing_happened(till)


BAD_INNER: list[Any] = [
    None,
    [],
    "x",
    {},
    {"transaction": None},
    {"transaction": 7},
    {"transaction": ""},
    {"transaction": "AAAA"},
    {"transaction": "not base64 at all"},
    {"transaction": base64.b64encode(b"\x01" + b"\x00" * 200).decode()},
    {"transaction": base64.b64encode(b"\xff" * 1232).decode()},
    {"transaction": "A" * 2052},
    {"authorization": {}, "signature": "0x"},
    {"permit2Authorization": {}, "signature": "0x" + "11" * 65},
]


@both_chains
async def test_a_payload_that_is_no_authorization_is_malformed(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till:
        wanted = await till.wanted()
        for inner in BAD_INNER:
            assert told(await till.post(v2_headers(wanted, inner))) == MALFORMED, inner
            assert told(await till.post(v1_headers(wanted, inner))) == MALFORMED, inner
        await nothing_happened(till)


@pytest.mark.parametrize(
    "changes",
    [
        {"value": 1000},
        {"value": "1e3"},
        {"value": "-1000"},
        {"value": "0x3e8"},
        {"value": "1000 "},
        {"value": "1000\n"},
        {"value": "\u0661\u0660\u0660\u0660"},
        {"value": "1" * 5000},
        {"value": "01000"},
        {"validBefore": 4_000_000_000},
        {"validBefore": "NaN"},
        {"validBefore": ""},
        {"validAfter": None},
        {"validAfter": "-1"},
        {"nonce": "0x12"},
        {"nonce": "12" * 33},
        {"nonce": "0x" + "zz" * 32},
        {"from": "0x12"},
        {"from": "\u0430" * 42},
        {"to": PAY_TO[Chain.SOLANA]},
    ],
    ids=lambda changes: json.dumps(changes)[:40],
)
async def test_wrong_numbers_and_addresses_are_malformed(tmp_path: Path, changes: dict[str, Any]) -> None:
    async with paid(tmp_path, Chain.MONAD) as till:
        wanted = await till.wanted()
        inner = till.seeker.sign(wanted)
        inner["authorization"] |= changes
        assert told(await till.post(v2_headers(wanted, inner))) == MALFORMED
        assert told(await till.post(v1_headers(wanted, inner))) == MALFORMED
        await nothing_happened(till)
