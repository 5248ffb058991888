"""A paid job that is cancelled while its money is on the way is told what became of both."""

from __future__ import annotations

from pathlib import Path

import pytest

from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.protocol.networks import Chain
from compute_router.protocol.payments import CREDIT_HEADER
from compute_router.protocol.units import DurationMs
from compute_router.transport import job as job_resource
from tests.fakes.facilitator_server import SILENT
from tests.transport.payments.till import DOLLAR, PRICE, both_chains, paid
from tests.transport.worker_client import worker

SETTLES_AT_ONCE = PaymentPolicy(early=DurationMs(10**10), retry_backoff=DurationMs(20))
"""Every authorization is about to expire, by this policy."""


@both_chains
async def test_a_job_that_is_done_and_not_paid_yet_cannot_be_cancelled(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till, worker(till.router.port) as client:
        await client.register(proven=True)
        till.facilitator.faults["/settle"] = SILENT
        till.play.readable = False
        job_id = await till.serve(client)
        answer = await till.router.http.delete(f"/v1/jobs/{job_id}")
        assert (answer.status_code, answer.json()["error"]) == (409, "payment_in_progress")
        assert (await till.router.job(job_id))["status"] == "running"
        till.play.readable = True
        assert (await till.router.job(job_id, wait=20))["status"] == "completed"
        answer = await till.router.http.delete(f"/v1/jobs/{job_id}")
        assert (answer.status_code, answer.json()["error"]) == (409, "job_finished")
        assert till.left == DOLLAR - PRICE


@both_chains
async def test_a_cancel_during_an_early_settlement_is_told_before_that_is_decided(
    tmp_path: Path, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_resource, "_CANCEL_SECONDS", 0.05)
    async with paid(tmp_path, chain, policy=SETTLES_AT_ONCE) as till:
        till.facilitator.faults["/settle"] = SILENT
        till.play.readable = False
        job_id, token = await till.commit_for_token()
        while not till.facilitator.count("/settle"):
            await till.router.job(job_id)
        answer = await till.router.http.delete(f"/v1/jobs/{job_id}")
        job = answer.json()
        assert (answer.status_code, job["status"]) == (200, "cancelled")
        assert job["payment"]["state"] in ("settling", "unknown")
        assert "credit_token" not in job["payment"]
        till.play.readable = True
        while (await till.router.job(job_id))["payment"]["state"] != "credited":
            pass
        await till.commit({CREDIT_HEADER: token})
        assert till.left == DOLLAR - PRICE


@both_chains
async def test_a_job_whose_settlement_was_refused_has_failed_for_a_cancel_too(
    tmp_path: Path, chain: Chain
) -> None:
    async with paid(tmp_path, chain) as till, worker(till.router.port) as client:
        await client.register(proven=True)
        job_id = await till.commit()
        till.play.has[till.seeker.address.lower()] = 0
        await client.serve(job_id)
        assert (await till.router.job(job_id, wait=20))["status"] == "failed"
        answer = await till.router.http.delete(f"/v1/jobs/{job_id}")
        assert (answer.status_code, answer.json()["error"]) == (409, "job_finished")
        assert answer.json()["message"] == "The job is failed already."
