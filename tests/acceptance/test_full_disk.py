"""The database cannot grow: the process stays up, promises nothing that it cannot keep, and goes on later."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.processes import CoordinatorProcess, coordinator_process
from tests.transport.harness import TASK
from tests.transport.worker_client import worker

pytestmark = pytest.mark.acceptance

COMMIT = "/v1/jobs/commit/cheap"


async def commit(router: CoordinatorProcess) -> str:
    answer = await router.http.post(COMMIT, json=TASK)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["job_id"])


async def job(router: CoordinatorProcess, job_id: str, wait: int = 0) -> dict[str, Any]:
    return dict((await router.http.get(f"/v1/jobs/{job_id}?wait={wait}")).json())


async def health(router: CoordinatorProcess) -> str:
    return str((await router.http.get("/v1/health")).json()["status"])


def size_of_the_log(directory: Path) -> int:
    return (directory / "solana.db-wal").stat().st_size


async def fills_up(router: CoordinatorProcess, directory: Path) -> None:
    """No file of the database can grow any more, and the coordinator has noticed."""
    router.process.limit_file_sizes(size_of_the_log(directory))
    while (answer := await router.http.post(COMMIT, json=TASK)).is_success:
        pass
    assert (answer.status_code, answer.json()["error"]) == (503, "storage_unavailable")
    assert answer.headers["Retry-After"] == "1"
    assert await health(router) == "degraded"


async def test_a_result_that_comes_meanwhile_is_acknowledged_when_there_is_room_again(tmp_path: Path) -> None:
    async with coordinator_process(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        job_id = await commit(router)
        await client.receive("job_assign")
        await fills_up(router, tmp_path)
        client.send(client.completion(job_id, attempt=1))
        await client.hears_nothing()
        assert (await job(router, job_id))["status"] == "assigned"
        poll = asyncio.ensure_future(job(router, job_id, wait=60))
        router.process.limit_file_sizes(None)
        assert (await client.receive("job_ack"))["status"] == "accepted"
        assert (await poll)["receipt"]["verified"] is True
        while await health(router) != "ok":
            pass
        await client.serve(await commit(router))
        assert await router.process.stop() == 0
        assert "Traceback" not in router.process.stderr


async def test_a_kill_meanwhile_loses_no_acknowledged_job(tmp_path: Path) -> None:
    async with coordinator_process(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        held, waits = await commit(router), await commit(router)
        await client.receive("job_assign")
        await fills_up(router, tmp_path)
        result = client.completion(held, attempt=1)
        client.send(result)
        await client.hears_nothing()
        await router.process.kill()
    async with coordinator_process(tmp_path) as router, worker(router.port, client.key) as again:
        await again.register(proven=True, active_jobs=[{"job_id": held, "attempt": 1}])
        again.send(result)
        frames = [await again.receive() for _ in range(2)]
        assert {frame["type"] for frame in frames} == {"job_ack", "job_assign"}
        again.send(again.completion(waits))
        for job_id in (held, waits):
            assert (await job(router, job_id, wait=20))["status"] == "completed"


async def test_a_stop_meanwhile_ends_in_good_order(tmp_path: Path) -> None:
    async with coordinator_process(tmp_path, "--drain-seconds", "0") as router, worker(router.port) as client:
        await client.register(proven=True)
        job_id = await commit(router)
        await client.receive("job_assign")
        await fills_up(router, tmp_path)
        client.send(client.completion(job_id, attempt=1))
        await client.hears_nothing()
        assert await router.process.stop() == 0
        assert await client.closed() == 1001
        assert "could not be stored before the stop" in router.process.stderr
        assert "Traceback" not in router.process.stderr
    async with coordinator_process(tmp_path) as router:
        assert (await job(router, job_id))["status"] == "assigned"
