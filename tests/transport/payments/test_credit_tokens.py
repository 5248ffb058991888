"""The token of a credit is for whoever committed the job; its worker, who knows the job id, never sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.protocol.networks import Chain
from compute_router.protocol.payments import CREDIT_HEADER
from compute_router.protocol.units import DurationMs
from compute_router.transport.authentication import AuthMode
from tests.transport.accounts import Accounts, bearer, first_admin_key
from tests.transport.harness import Coordinator
from tests.transport.payments.till import Paid, both_chains, paid, told
from tests.transport.worker_client import worker

KEY = {"Idempotency-Key": "one-that-no-worker-is-told"}
SETTLES_AT_ONCE = PaymentPolicy(
    early=DurationMs(10**10), retry_backoff=DurationMs(20), settle_timeout=DurationMs(500)
)
"""Every authorization is about to expire, by this policy."""


async def settled_early(till: Paid, headers: dict[str, str]) -> tuple[str, str]:
    """A job that nobody has done yet and whose payment is settled, and what its commit was told."""
    answer = await till.post(await till.payment() | headers)
    assert answer.status_code == 201, answer.text
    job_id = answer.json()["job_id"]
    while (await look(till.router, job_id, headers))["payment"]["state"] != "settled":
        pass
    return job_id, answer.json()["credit_token"]


async def look(router: Coordinator, job_id: str, headers: dict[str, str], wait: int = 0) -> dict[str, Any]:
    answer = await router.http.get(f"/v1/jobs/{job_id}?wait={wait}", headers=headers)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def last_event(router: Coordinator, job_id: str, headers: dict[str, str]) -> str:
    return (await router.http.get(f"/v1/jobs/{job_id}/events", headers=headers)).text


@both_chains
async def test_the_worker_of_a_job_cannot_take_the_credit_that_the_job_becomes(
    tmp_path: Path, chain: Chain
) -> None:
    async with paid(tmp_path, chain, policy=SETTLES_AT_ONCE) as till, worker(till.router.port) as client:
        await client.register(proven=True)
        job_id, token = await settled_early(till, KEY)
        assigned = await client.receive("job_assign")
        assert assigned["job_id"] == job_id
        for guess in ({}, {"Idempotency-Key": job_id}, {"Idempotency-Key": ""}):
            assert token not in (await till.router.http.get(f"/v1/jobs/{job_id}", headers=guess)).text
        cancelled = await till.router.http.delete(f"/v1/jobs/{job_id}")
        assert cancelled.json()["payment"]["state"] == "credited"
        assert "credit_token" not in cancelled.json()["payment"]
        for guess in ({}, {"Idempotency-Key": job_id}, {"Idempotency-Key": KEY["Idempotency-Key"][:-1]}):
            assert "credit_token" not in (await look(till.router, job_id, guess))["payment"]
            assert "credit_token" not in (await look(till.router, job_id, guess, wait=1))["payment"]
            assert "credit_token" not in await last_event(till.router, job_id, guess)
        assert (await till.post({CREDIT_HEADER: token})).status_code == 201


@both_chains
async def test_whoever_shows_the_idempotency_key_of_the_commit_is_shown_the_token(
    tmp_path: Path, chain: Chain
) -> None:
    async with paid(tmp_path, chain, policy=SETTLES_AT_ONCE) as till:
        job_id, token = await settled_early(till, KEY)
        assert "credit_token" not in (await look(till.router, job_id, KEY))["payment"]
        cancelled = await till.router.http.delete(f"/v1/jobs/{job_id}", headers=KEY)
        assert cancelled.json()["payment"]["credit_token"] == token
        assert (await look(till.router, job_id, KEY))["payment"]["credit_token"] == token
        assert (await look(till.router, job_id, KEY, wait=1))["payment"]["credit_token"] == token
        assert token in await last_event(till.router, job_id, KEY)


@both_chains
async def test_a_repeated_commit_is_answered_with_the_same_token(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till:
        headers = await till.payment() | KEY
        first = await till.post(headers)
        again = await till.post(headers)
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.json() == again.json()
        assert first.json()["credit_token"].startswith("crc_")


@both_chains
async def test_the_token_of_a_job_that_did_not_fail_is_worth_nothing(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till, worker(till.router.port) as client:
        await client.register(proven=True)
        job_id, token = await till.commit_for_token()
        assert told(await till.post({CREDIT_HEADER: token})) == (402, "credit_refused")
        await client.serve(job_id)
        assert (await till.router.job(job_id, wait=10))["payment"]["state"] == "settled"
        assert told(await till.post({CREDIT_HEADER: token})) == (402, "credit_refused")
        cancelled, token = await till.commit_for_token()
        await till.router.http.delete(f"/v1/jobs/{cancelled}")
        assert told(await till.post({CREDIT_HEADER: token})) == (402, "credit_refused")


@pytest.mark.parametrize("named", [KEY, {}], ids=["with a key", "without"])
async def test_the_api_key_that_owns_a_job_is_shown_its_token(tmp_path: Path, named: dict[str, str]) -> None:
    admin = first_admin_key(tmp_path)
    async with paid(tmp_path, Chain.SOLANA, policy=SETTLES_AT_ONCE, auth=AuthMode.KEYS) as till:
        mine = await Accounts(till.router, admin).make_key()
        till.router.http.headers.update(bearer(mine))
        job_id, token = await settled_early(till, named)
        await till.router.http.delete(f"/v1/jobs/{job_id}")
        assert (await look(till.router, job_id, {}))["payment"]["credit_token"] == token
        assert token in await last_event(till.router, job_id, {})
        assert "credit_token" not in (await look(till.router, job_id, bearer(admin)))["payment"]
