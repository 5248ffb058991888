"""A payment is for the commit that came with it first, and holds its payer's funds once it is found good."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from compute_router.protocol.api_keys import KeyRequest, KeyScope
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.units import MicroUsd, UnixMs
from compute_router.storage.new_key import make_api_key
from compute_router.storage.sqlite_store import open_sqlite_store
from compute_router.transport.authentication import AuthMode
from tests.fakes.facilitator_server import LATE
from tests.fakes.signed_payments import v2_headers
from tests.transport.accounts import bearer
from tests.transport.disks import Disk
from tests.transport.payments.till import HURRIED, PRICE, Paid, both_chains, paid, told
from tests.transport.worker_client import worker


async def asked_to_verify(till: Paid, times: int) -> None:
    """The facilitator thinks about so many payments."""
    while till.facilitator.count("/verify") < times:
        await till.router.http.get("/v1/health")


async def checked_at_once(till: Paid, *payments: dict[str, str]) -> list[httpx.Response]:
    """Commit with each of these payments; all are found good before any job is stored."""
    till.facilitator.faults["/verify"] = LATE
    posts = [asyncio.ensure_future(till.post(headers)) for headers in payments]
    await asked_to_verify(till, len(posts))
    till.facilitator.faults.clear()
    till.facilitator.late.set()
    return list(await asyncio.gather(*posts))


def forged(wanted: dict[str, Any], inner: dict[str, Any], signature_bytes: int = 65) -> dict[str, str]:
    """A payment of somebody's that somebody else made up."""
    return v2_headers(wanted, inner | {"signature": "0x" + os.urandom(signature_bytes).hex()})


@pytest.mark.parametrize("what", ["noise", "another's", "v is 0", "large s", "zero"])
async def test_a_signature_that_no_key_of_the_payer_made_is_refused_before_anybody_is_asked(
    tmp_path: Path, what: str
) -> None:
    async with paid(tmp_path, Chain.MONAD) as till:
        wanted = await till.wanted()
        good = till.seeker.sign(wanted)
        raw = bytes.fromhex(good["signature"][2:])
        order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
        turned = order - int.from_bytes(raw[32:64], "big")
        signature = {
            "noise": os.urandom(64) + raw[64:],
            "another's": bytes.fromhex(till.seeker.sign(wanted)["signature"][2:]),
            "v is 0": raw[:64] + bytes([raw[64] - 27]),
            "large s": raw[:32] + turned.to_bytes(32, "big") + bytes([55 - raw[64]]),
            "zero": bytes(64) + raw[64:],
        }[what]
        answer = await till.post(v2_headers(wanted, good | {"signature": "0x" + signature.hex()}))
        assert told(answer) == (402, "payment_refused")
        assert (till.facilitator.count("/verify"), till.play.read) == (0, 0)
        await till.commit(v2_headers(wanted, good))


async def test_what_nobody_signed_holds_nobodys_funds(tmp_path: Path) -> None:
    async with paid(tmp_path, Chain.MONAD, funds=PRICE) as till:
        wanted = await till.wanted()
        till.facilitator.faults["/verify"] = LATE
        # As long as that of a wallet that is a contract, so the facilitator must be asked.
        forgeries = [
            asyncio.ensure_future(till.post(forged(wanted, till.seeker.sign(wanted), 97))) for _ in range(4)
        ]
        await asked_to_verify(till, 4)
        till.facilitator.faults.clear()
        await till.commit()
        till.facilitator.late.set()
        for answer in await asyncio.gather(*forgeries):
            assert told(answer) == (402, "payment_refused")


@both_chains
async def test_who_sees_a_payment_while_it_is_checked_cannot_have_a_job_for_it(
    tmp_path: Path, chain: Chain
) -> None:
    async with paid(tmp_path, chain) as till:
        headers = await till.payment()
        till.facilitator.faults["/verify"] = LATE
        first = asyncio.ensure_future(till.post(headers))
        await asked_to_verify(till, 1)
        till.facilitator.faults.clear()
        for key in ({}, {"Idempotency-Key": "mine"}):
            assert told(await till.post(headers | key, user_id="thief")) == (402, "payment_already_used")
        till.facilitator.late.set()
        assert (await first).status_code == 201
        assert till.router.query("SELECT user_id FROM jobs") == [("alice",)]


@both_chains
async def test_a_facilitator_that_refuses_a_payment_cannot_have_a_job_for_it(
    tmp_path: Path, chain: Chain
) -> None:
    async with paid(tmp_path, chain) as till:
        headers = await till.payment()
        till.facilitator.faults["/verify"] = (200, b'{"isValid": false, "invalidReason": "a lie"}')
        assert told(await till.post(headers)) == (402, "payment_refused")
        till.facilitator.faults.clear()
        assert told(await till.post(headers, user_id="thief")) == (402, "payment_already_used")
        await till.commit(headers)


@both_chains
async def test_a_commit_that_is_repeated_while_its_payment_is_checked_is_one_job(
    tmp_path: Path, chain: Chain
) -> None:
    async with paid(tmp_path, chain, funds=PRICE) as till:
        headers = await till.payment() | {"Idempotency-Key": "one"}
        till.facilitator.faults["/verify"] = LATE
        posts = [asyncio.ensure_future(till.post(headers)) for _ in range(3)]
        await asked_to_verify(till, 3)
        till.facilitator.late.set()
        answers = [(answer.status_code, answer.json()) for answer in await asyncio.gather(*posts)]
        assert answers[0][0] == 201
        assert answers == [answers[0]] * 3
        assert told(await till.post(await till.payment())) == (402, "insufficient_funds")


# A commit that is not stored


async def nothing_is_held_for(till: Paid) -> None:
    """The payer has money for one job more, and can have that one."""
    await till.commit()
    assert told(await till.post(await till.payment())) == (402, "insufficient_funds")


@both_chains
async def test_a_commit_that_the_disk_has_no_room_for_holds_no_funds(tmp_path: Path, chain: Chain) -> None:
    disk = Disk()
    async with paid(tmp_path, chain, funds=PRICE, disk=disk) as till:

        def fills_the_disk(asked: dict[str, Any]) -> tuple[int, bytes]:
            disk.full = True
            return 200, json.dumps(till.facilitator.truth("/verify", asked)).encode()

        headers = await till.payment()
        till.facilitator.faults["/verify"] = fills_the_disk
        answer = await till.post(headers)
        assert (answer.status_code, answer.json()["error"]) == (503, "storage_unavailable")
        till.facilitator.faults.clear()
        disk.full = False
        while await till.router.problems():
            pass
        await nothing_is_held_for(till)


@both_chains
async def test_of_two_commits_with_one_payment_the_one_that_gets_no_job_holds_no_funds(
    tmp_path: Path, chain: Chain
) -> None:
    async with paid(tmp_path, chain, funds=2 * PRICE) as till:
        headers = await till.payment()
        answers = await checked_at_once(till, headers, headers)
        assert sorted(answer.status_code for answer in answers) == [201, 402]
        (refused,) = (answer for answer in answers if answer.status_code == 402)
        assert told(refused) == (402, "payment_already_used")
        await nothing_is_held_for(till)


@both_chains
async def test_a_repeated_commit_holds_no_funds_for_the_second_payment_that_it_brings(
    tmp_path: Path, chain: Chain
) -> None:
    async with paid(tmp_path, chain, funds=2 * PRICE) as till:
        both = [await till.payment() | {"Idempotency-Key": "one"} for _ in range(2)]
        first, second = await checked_at_once(till, *both)
        assert (first.status_code, first.json()["job_id"]) == (201, second.json()["job_id"])
        await nothing_is_held_for(till)


async def test_a_commit_beyond_the_days_jobs_of_a_key_holds_no_funds(tmp_path: Path) -> None:
    database = tmp_path / NETWORKS[Chain.MONAD].default_database
    open_sqlite_store(database).close()
    one_a_day, others = (
        bearer(make_api_key(database, KeyRequest(KeyScope.USER, "alice", jobs_per_day=jobs), UnixMs(1)))
        for jobs in (1, None)
    )
    async with paid(tmp_path, Chain.MONAD, funds=2 * PRICE, auth=AuthMode.KEYS) as till:
        till.router.http.headers.update(one_a_day)
        await till.commit()
        answer = await till.post(await till.payment())
        assert (answer.status_code, answer.json()["error"]) == (429, "jobs_per_day")
        till.router.http.headers.update(others)
        await nothing_is_held_for(till)


# Losses


async def lose(till: Paid, client: Any) -> None:
    """A job is done, and the payer's money is elsewhere for a moment."""
    address = till.seeker.address.lower()
    job_id = await till.commit()
    till.play.has[address], had = 0, till.play.has[address]
    await client.serve(job_id)
    job = await till.router.job(job_id, wait=20)
    assert (job["status"], job["payment"]["state"]) == ("failed", "void")
    till.play.has[address] = had


@both_chains
async def test_the_money_that_was_moved_away_and_back_is_owed(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain, funds=PRICE) as till, worker(till.router.port) as client:
        await client.register(proven=True)
        await lose(till, client)
        assert told(await till.post(await till.payment())) == (402, "insufficient_funds")
        till.play.has[till.seeker.address.lower()] = 2 * PRICE
        await till.commit()


@both_chains
async def test_a_payer_who_lost_too_much_to_the_operator_is_told_that_he_is_in_debt(
    tmp_path: Path, chain: Chain
) -> None:
    policy = msgspec.structs.replace(HURRIED, max_unsettled=MicroUsd(PRICE))
    async with paid(tmp_path, chain, policy=policy) as till, worker(till.router.port) as client:
        await client.register(proven=True)
        await lose(till, client)
        answer = await till.post(await till.payment())
        assert told(answer) == (402, "payer_in_debt")
        assert "money did not come" in answer.json()["message"]


@both_chains
async def test_after_too_many_losses_nobody_is_asked_to_pay_and_health_says_why(
    tmp_path: Path, chain: Chain
) -> None:
    policy = msgspec.structs.replace(HURRIED, max_losses=MicroUsd(2 * PRICE))
    async with paid(tmp_path, chain, policy=policy) as till, worker(till.router.port) as client:
        await client.register(proven=True)
        repeated = await till.payment() | {"Idempotency-Key": "before"}
        job_id = await till.commit(repeated)
        await client.serve(job_id)
        for _ in range(2):
            await lose(till, client)
        for headers in ({}, {"X-PAYMENT": "x"}):
            answer = await till.post(headers)
            assert (answer.status_code, answer.json()["error"]) == (503, "payments_unavailable")
            assert 86_000 < int(answer.headers["retry-after"]) <= 86_400
        assert any("--max-losses" in problem for problem in await till.router.problems())
        # What was taken before is still answered.
        assert (await till.post(repeated)).json()["job_id"] == job_id
        assert till.play.got
