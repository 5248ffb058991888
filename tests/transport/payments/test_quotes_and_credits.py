"""Signed quotes are honoured, credits are spent, and the discovery document says what is sold."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from nacl.signing import SigningKey
from solders.keypair import Keypair

from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.protocol.chain_addresses import evm_checksum
from compute_router.protocol.jobs import JobType, Tier
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payments import CREDIT_HEADER, PAYMENT_NETWORKS
from compute_router.protocol.signed_quotes import PaidAt, sign_quote
from compute_router.protocol.units import DurationMs, MicroUsd, UnixMs, unix_ms_from_iso
from tests.fakes.signed_payments import v2_headers
from tests.transport.payments.till import DOLLAR, PAY_TO, PRICE, Paid, both_chains, paid, required, told
from tests.transport.worker_client import worker


def quote(
    key: bytes = b"k" * 32,
    tier: Tier = Tier.CHEAP,
    job_type: JobType = JobType.TASK,
    amount: int = 700,
    expires_at: int = 4_000_000_000_000,
    network: str = NETWORKS[Chain.MONAD].caip2,
    asset: str = PAYMENT_NETWORKS[Chain.MONAD].asset,
    pay_to: str = PAY_TO[Chain.MONAD],
) -> dict[str, str]:
    where = PaidAt(network, asset, pay_to)
    text = sign_quote(SigningKey(key), where, tier, job_type, MicroUsd(amount), UnixMs(expires_at))
    return {"Payment-Quote": text}


@both_chains
async def test_a_quote_is_signed_and_can_be_handed_back_with_the_commit(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till:
        answer = await till.router.http.get("/v1/quote?job_type=TASK")
        given = answer.json()
        assert unix_ms_from_iso(given["expires_at"]) > 0
        assert answer.headers["payment-quote"] == given["signed_quote"]
        headers = await till.payment() | {"Payment-Quote": given["signed_quote"]}
        await till.commit(headers)


async def test_the_price_of_a_quote_is_kept_whatever_the_list_says(tmp_path: Path) -> None:
    async with paid(tmp_path, Chain.MONAD) as till, worker(till.router.port) as client:
        await client.register(proven=True)
        (wanted,) = required(await till.post(quote()))["accepts"]
        assert wanted["amount"] == "700"
        headers = v2_headers(wanted, till.seeker.sign(wanted))
        assert told(await till.post(headers)) == (402, "payment_mismatch")
        job_id = await till.serve(client, headers | quote())
        await till.router.job(job_id, wait=10)
        assert till.left == DOLLAR - 700


@pytest.mark.parametrize(
    "bad",
    [
        quote(key=b"x" * 32),
        quote(tier=Tier.FAST),
        quote(job_type=JobType.LLM_INFER),
        quote(expires_at=1),
        quote(network=NETWORKS[Chain.SOLANA].caip2),
        quote(asset="0x" + "11" * 20),
        quote(pay_to="0x" + "22" * 20),
        {"Payment-Quote": ""},
        {"Payment-Quote": "."},
        {"Payment-Quote": "a.b"},
        {"Payment-Quote": "A" * 3000},
        {"Payment-Quote": quote()["Payment-Quote"][:-4] + "AAAA"},
    ],
    ids=lambda bad: str(bad)[-24:],
)
async def test_a_quote_that_is_not_good_is_refused_with_the_price_of_today(
    tmp_path: Path, bad: dict[str, str]
) -> None:
    async with paid(tmp_path, Chain.MONAD) as till:
        answer = await till.post(await till.payment() | bad)
        assert told(answer) == (402, "quote_refused")
        assert required(answer)["accepts"][0]["amount"] == str(PRICE)
        assert till.router.count("jobs") == 0


@both_chains
async def test_a_quote_given_before_the_operator_moved_his_money_is_refused(
    tmp_path: Path, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with paid(tmp_path, chain) as till:
        given = (await till.router.http.get("/v1/quote?job_type=TASK")).json()["signed_quote"]
    another = evm_checksum("0x" + "cd" * 20) if chain is Chain.MONAD else str(Keypair().pubkey())
    monkeypatch.setitem(PAY_TO, chain, another)
    async with paid(tmp_path, chain) as till:
        answer = await till.post(await till.payment() | {"Payment-Quote": given})
        assert told(answer) == (402, "quote_refused")
        assert "another address" in answer.json()["message"]
        assert required(answer)["accepts"][0]["payTo"] == another
        assert till.router.count("jobs") == 0


# Credits


SETTLES_AT_ONCE = PaymentPolicy(
    early=DurationMs(10**10), retry_backoff=DurationMs(20), settle_timeout=DurationMs(500)
)
"""Every authorization is about to expire, by this policy."""


async def credit(till: Paid) -> str:
    """The token of a credit: a job was settled early, and then cancelled."""
    job_id, token = await till.commit_for_token()
    while (await till.router.job(job_id))["payment"]["state"] != "settled":
        pass
    job = (await till.router.http.delete(f"/v1/jobs/{job_id}")).json()
    assert (job["status"], job["payment"]["state"]) == ("cancelled", "credited")
    return token


@both_chains
async def test_money_that_came_for_a_job_that_did_not_pays_for_another(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain, policy=SETTLES_AT_ONCE) as till:
        token = await credit(till)
        assert till.left == DOLLAR - PRICE
        async with worker(till.router.port) as client:
            await client.register(proven=True)
            job_id = await till.serve(client, {CREDIT_HEADER: token})
            job = await till.router.job(job_id, wait=10)
        assert (job["status"], job["payment"]["network"]) == ("completed", "credit")
        assert till.left == DOLLAR - PRICE
        assert told(await till.post({CREDIT_HEADER: token})) == (402, "credit_refused")


@both_chains
async def test_a_credit_of_a_job_that_fails_again_comes_back(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain, policy=SETTLES_AT_ONCE) as till:
        token = await credit(till)
        job_id, again = await till.commit_for_token({CREDIT_HEADER: token})
        assert again != token
        assert told(await till.post({CREDIT_HEADER: again})) == (402, "credit_refused")
        job = (await till.router.http.delete(f"/v1/jobs/{job_id}")).json()
        assert job["payment"]["state"] == "credited"
        await till.commit({CREDIT_HEADER: again})


@both_chains
async def test_a_credit_is_spent_once_however_many_try(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain, policy=SETTLES_AT_ONCE) as till:
        token = await credit(till)
        answers = await asyncio.gather(*(till.post({CREDIT_HEADER: token}) for _ in range(5)))
        assert sorted(answer.status_code for answer in answers) == [201] + [402] * 4


@both_chains
async def test_a_commit_by_credit_that_is_sent_many_times_at_once_is_one_job(
    tmp_path: Path, chain: Chain
) -> None:
    async with paid(tmp_path, chain, policy=SETTLES_AT_ONCE) as till:
        headers = {CREDIT_HEADER: await credit(till), "Idempotency-Key": "one"}
        answers = await asyncio.gather(*(till.post(headers) for _ in range(8)))
        assert [answer.status_code for answer in answers] == [201] * 8
        assert len({answer.json()["job_id"] for answer in answers}) == 1


@both_chains
async def test_credits_that_are_none_are_refused(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain, policy=SETTLES_AT_ONCE) as till:
        token = await credit(till)
        unknown = token[:-4] + "AAAA"
        assert told(await till.post({CREDIT_HEADER: unknown})) == (402, "credit_refused")
        for text in ("", "x", "crc_", token + "A", token.upper()):
            assert told(await till.post({CREDIT_HEADER: text})) in (
                (400, "payment_malformed"),
                (402, "credit_refused"),
            )
        both = await till.payment() | {CREDIT_HEADER: token}
        assert told(await till.post(both)) == (400, "payment_malformed")
        stale = {CREDIT_HEADER: token, "Payment-Quote": "a.b"}
        assert told(await till.post(stale)) == (402, "quote_refused")
        dear = {"job_type": "LLM_INFER", "payload": {"prompt": "x"}}
        assert told(await till.post({CREDIT_HEADER: token}, **dear)) == (402, "credit_refused")
        await till.commit({CREDIT_HEADER: token})
