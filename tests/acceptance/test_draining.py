"""SIGTERM: no new jobs, running ones finish, then workers are told goodbye and the process ends with 0."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.processes import CoordinatorProcess, coordinator_process
from tests.transport.harness import TASK
from tests.transport.worker_client import WorkerClient, worker

pytestmark = pytest.mark.acceptance

COMMIT = "/v1/jobs/commit/cheap"
PATIENT = ("--drain-seconds", "60")


async def running_job(router: CoordinatorProcess, client: WorkerClient) -> str:
    await client.register(proven=True)
    job_id = str((await router.http.post(COMMIT, json=TASK)).json()["job_id"])
    assert (await client.receive("job_assign"))["job_id"] == job_id
    return job_id


async def drains(router: CoordinatorProcess) -> httpx.Response:
    """It was told to stop and has begun to drain; the answer to a commit at that time."""
    router.process.send_signal(signal.SIGTERM)
    await router.process.line("draining")
    return await router.http.post(COMMIT, json=TASK)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_running_job_finishes_and_its_long_poll_is_answered(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with coordinator_process(tmp_path, *PATIENT) as router, worker(router.port) as client:
        job_id = await running_job(router, client)
        poll = asyncio.ensure_future(router.http.get(f"/v1/jobs/{job_id}?wait=60"))
        router.process.send_signal(number)
        await router.process.line("draining")
        refused = await router.http.post(COMMIT, json=TASK)
        assert (refused.status_code, refused.json()["error"]) == (503, "draining")
        assert refused.headers["Retry-After"] == "1"
        assert (await router.http.get("/v1/health")).json()["status"] == "degraded"
        client.send(client.completion(job_id, attempt=1))
        assert (await client.receive("job_ack"))["status"] == "accepted"
        assert (await poll).json()["status"] == "completed"
        assert await client.closed() == 1001
        assert await router.process.ended() == 0
        assert "Traceback" not in router.process.stderr


async def test_without_running_jobs_it_ends_at_once(tmp_path: Path) -> None:
    async with coordinator_process(tmp_path, *PATIENT) as router, worker(router.port) as client:
        await router.http.post(COMMIT, json=TASK)
        assert await router.process.stop() == 0
        assert await client.closed() == 1001


async def test_a_second_signal_ends_it_at_once_and_the_job_is_kept(tmp_path: Path) -> None:
    async with coordinator_process(tmp_path, *PATIENT) as router, worker(router.port) as client:
        job_id = await running_job(router, client)
        assert (await drains(router)).status_code == 503
        assert await router.process.stop() == 0
        assert await client.closed() == 1001
    await delivered_after_restart(tmp_path, client, job_id)


async def test_when_its_time_is_over_it_ends_and_the_job_is_kept(tmp_path: Path) -> None:
    async with (
        coordinator_process(tmp_path, "--drain-seconds", "0.2") as router,
        worker(router.port) as client,
    ):
        job_id = await running_job(router, client)
        assert await router.process.stop() == 0
        assert await client.closed() == 1001
    await delivered_after_restart(tmp_path, client, job_id)


async def test_with_no_time_to_drain_it_ends_at_once(tmp_path: Path) -> None:
    async with coordinator_process(tmp_path, "--drain-seconds", "0") as router, worker(router.port) as client:
        job_id = await running_job(router, client)
        assert await router.process.stop() == 0
        assert "draining" not in router.process.stderr
    await delivered_after_restart(tmp_path, client, job_id)


async def delivered_after_restart(directory: Path, client: WorkerClient, job_id: str) -> None:
    """The next start has the job, and its worker may still deliver it."""
    async with coordinator_process(directory) as router, worker(router.port, client.key) as again:
        await again.register(proven=True, active_jobs=[{"job_id": job_id, "attempt": 1}])
        assert (await again.ask(again.completion(job_id, attempt=1)))["status"] == "accepted"
        job: dict[str, Any] = (await router.http.get(f"/v1/jobs/{job_id}?wait=20")).json()
        assert (job["status"], job["receipt"]["verified"]) == ("completed", True)
