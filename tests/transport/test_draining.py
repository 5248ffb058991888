"""The coordinator is about to stop: it takes no more jobs, and lets running ones finish."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from compute_router.protocol.units import DurationMs
from tests.transport.harness import TASK, Coordinator, coordinator
from tests.transport.worker_client import worker

LONG = DurationMs(60_000)


async def commit(router: Coordinator, **headers: str) -> httpx.Response:
    return await router.http.post("/v1/jobs/commit/cheap", json=TASK, headers=headers)


async def draining(router: Coordinator) -> asyncio.Task[None]:
    """A drain that has begun."""
    drain = asyncio.ensure_future(router.system.drain(LONG))
    while not await router.problems():
        pass
    return drain


async def test_commits_are_refused_and_told_to_come_again(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        earlier = await commit(router, **{"Idempotency-Key": "key"})
        job_id = earlier.json()["job_id"]
        await client.receive("job_assign")
        drain = await draining(router)
        answer = await commit(router)
        assert (answer.status_code, answer.json()["error"]) == (503, "draining")
        assert answer.headers["retry-after"] == "1"
        assert (await commit(router, **{"Idempotency-Key": "key"})).json() == earlier.json()
        assert router.count("jobs") == 1
        assert not drain.done()
        client.send(client.completion(job_id, attempt=1))
        await drain


async def test_a_running_job_finishes_and_whoever_waits_for_it_hears(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        job_id = await router.commit()
        await client.receive("job_assign")
        poll = asyncio.ensure_future(router.job(job_id, wait=60))
        while len(router.watch) == 0:
            await router.workers_online()
        drain = await draining(router)
        ack = await client.ask(client.completion(job_id, attempt=1))
        assert ack["status"] == "accepted"
        assert (await poll)["status"] == "completed"
        await drain
        await router.stop()
        assert await client.closed() == 1001


async def test_waiting_jobs_are_given_to_nobody_and_stay_for_the_next_start(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        job_id = await router.commit()
        await (await draining(router))
        await client.register(proven=True)
        await client.hears_nothing()
        assert (await router.job(job_id))["status"] == "pending"
        await router.stop()
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        await client.serve(job_id)


async def test_a_job_that_takes_too_long_stays_with_its_worker_for_the_next_start(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        job_id = await router.commit()
        await client.receive("job_assign")
        await router.system.drain(DurationMs(50))
        assert (await router.job(job_id))["status"] == "assigned"
        await router.stop()
        assert await client.closed() == 1001
    async with coordinator(tmp_path) as router, worker(router.port, client.key) as again:
        await again.register(proven=True, active_jobs=[{"job_id": job_id, "attempt": 1}])
        assert (await again.ask(again.completion(job_id, attempt=1)))["status"] == "accepted"
        assert (await router.job(job_id))["status"] == "completed"


async def test_health_says_that_it_is_about_to_stop(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        await (await draining(router))
        assert await router.problems() == ["coordinator: It is about to stop and takes no more jobs."]


async def test_jobs_can_be_cancelled_and_read_during_the_drain(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        job_id = await router.commit()
        await client.receive("job_assign")
        drain = await draining(router)
        assert (await router.http.delete(f"/v1/jobs/{job_id}")).json()["status"] == "cancelled"
        await client.receive("job_cancel")
        await drain


async def test_a_worker_that_drains_delivers_and_gets_nothing_more(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True, slots=2)
        job_id = await router.commit()
        await client.receive("job_assign")
        client.send({"type": "drain"})
        await client.hears_nothing()
        waits = await router.commit()
        assert (await client.ask(client.completion(job_id)))["status"] == "accepted"
        await client.hears_nothing()
        assert (await router.job(waits))["status"] == "pending"
