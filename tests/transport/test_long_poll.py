"""``?wait=SECONDS``: the answer comes when the job ends, or when the wait is over, whichever is first."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.transport.harness import coordinator
from tests.transport.raw_http import connect, request
from tests.transport.worker_client import worker


async def test_it_ends_as_soon_as_the_job_is_delivered(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        job_id = await router.commit()
        async with asyncio.TaskGroup() as tasks:
            polls = [tasks.create_task(router.job(job_id, wait=60)) for _ in range(5)]
            async with asyncio.timeout(5):
                while len(router.watch) == 0:
                    await client_turn(router.port)
            async with asyncio.timeout(5):
                await client.serve(job_id)
                answers = await asyncio.gather(*polls)
        assert {answer["status"] for answer in answers} == {"completed"}
        assert all(answer == answers[0] for answer in answers)
        assert answers[0]["receipt"]["verified"] is True


async def test_it_waits_no_longer_than_asked(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        job_id = await router.commit()
        loop = asyncio.get_running_loop()
        started = loop.time()
        job = await router.job(job_id, wait=0.2)
        assert job["status"] == "pending"
        assert 0.2 <= loop.time() - started < 2
        assert len(router.watch) == 0


async def test_for_a_finished_or_unknown_job_it_does_not_wait(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        job_id = await router.commit()
        await client.serve(job_id)
        async with asyncio.timeout(5):
            assert (await router.job(job_id, wait=60))["status"] == "completed"
            assert (await router.http.get("/v1/jobs/nope?wait=60")).status_code == 404
            assert (await router.http.get(f"/v1/jobs/{job_id}?wait=0")).status_code == 200


async def test_a_client_that_leaves_is_forgotten(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        job_id = await router.commit()
        async with connect(router.port) as connection:
            connection.send(request("GET", f"/v1/jobs/{job_id}?wait=60"))
            async with asyncio.timeout(5):
                while len(router.watch) == 0:
                    await client_turn(router.port)
            connection.abort()
            async with asyncio.timeout(5):
                while len(router.watch) > 0:
                    await client_turn(router.port)


async def test_a_failure_ends_it_too(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        job_id = await router.commit()
        await client.receive("job_assign")
        poll = asyncio.ensure_future(router.job(job_id, wait=60))
        failed = {"type": "job_failed", "job_id": job_id, "attempt": 1, "code": "c", "message": "m"}
        client.send(failed | {"retryable": False})
        async with asyncio.timeout(5):
            assert (await poll)["status"] == "failed"


async def client_turn(port: int) -> None:
    """One request and its answer, during which the coordinator sees to its sockets."""
    async with connect(port) as connection:
        connection.send(request("GET", "/v1/health"))
        await connection.answer()
