"""``DELETE /v1/jobs/{id}``: the owner wants the job no more, and the race of that wish with its end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from compute_router.transport import job as job_resource
from tests.fakes.legacy_worker import legacy_worker
from tests.transport.disks import Disk
from tests.transport.harness import Coordinator, coordinator
from tests.transport.raw_http import connect, request
from tests.transport.worker_client import WorkerClient, worker

TASKS = {"capabilities": ["TASK"]}


async def delete(router: Coordinator, job_id: str) -> httpx.Response:
    return await router.http.delete(f"/v1/jobs/{job_id}")


async def assigned(router: Coordinator, client: WorkerClient) -> str:
    """A job that a worker holds."""
    job_id = await router.commit()
    assert (await client.receive("job_assign"))["job_id"] == job_id
    return job_id


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, str(answer.json()["error"])


async def test_a_waiting_job_is_cancelled_and_says_so_ever_after(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        job_id = await router.commit()
        answer = await delete(router, job_id)
        assert answer.status_code == 200
        job: dict[str, Any] = answer.json()
        assert (job["id"], job["status"], job["receipt"]) == (job_id, "cancelled", None)
        assert job["result"]["error"] == "cancelled"
        assert job["completed_at"] is not None
        assert await router.job(job_id) == job
        assert told(await delete(router, job_id)) == (409, "job_finished")
        assert await router.job(job_id) == job


async def test_an_unknown_job_cannot_be_cancelled(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        for unknown in ("nobody-s", "%20", "x" * 500, "..%2F..", "%00"):
            assert told(await delete(router, unknown)) == (404, "not_found")


async def test_a_finished_job_cannot_be_cancelled(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        job_id = await router.commit()
        await client.serve(job_id)
        assert told(await delete(router, job_id)) == (409, "job_finished")
        assert (await router.job(job_id))["status"] == "completed"


async def test_a_worker_of_ours_is_told_to_stop_and_takes_the_next_job(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        job_id = await assigned(router, client)
        following = await router.commit()
        assert (await delete(router, job_id)).status_code == 200
        assert await client.receive("job_cancel") == {"type": "job_cancel", "job_id": job_id, "attempt": 1}
        client.send({"type": "job_started", "job_id": job_id, "attempt": 1})
        frames = [await client.receive() for _ in range(2)]
        assert {frame["type"] for frame in frames} == {"job_ack", "job_assign"}
        assert {frame["job_id"] for frame in frames} == {job_id, following}


async def test_another_worker_works_on_and_is_free_when_it_answers(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, legacy_worker(router.port) as client:
        await client.register()
        job_id = await assigned(router, client)
        following = await router.commit()
        assert (await delete(router, job_id)).status_code == 200
        await client.hears_nothing()
        client.deliver(job_id)
        assert (await client.receive("job_assign"))["job_id"] == following
        assert [frame["type"] for frame in client.skipped][-2:] == ["job_cancel", "job_ack"]
        assert (await router.job(job_id))["status"] == "cancelled"
        assert router.count("receipts") == 0


async def test_a_long_poll_is_answered_by_the_cancel(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        job_id = await router.commit()
        poll = asyncio.ensure_future(router.job(job_id, wait=60))
        while len(router.watch) == 0:
            await router.workers_online()
        cancelled = await delete(router, job_id)
        assert await poll == cancelled.json()


async def test_two_cancels_at_once_are_answered_alike_or_told_that_it_is_over(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        job_id = await router.commit()
        answers = await asyncio.gather(*(delete(router, job_id) for _ in range(10)))
        assert {answer.status_code for answer in answers} == {200, 409}
        assert (await router.job(job_id))["status"] == "cancelled"


# Races with the result


async def test_a_result_that_comes_first_wins_while_the_disk_is_slow(tmp_path: Path) -> None:
    disk = Disk()
    async with coordinator(tmp_path, disk=disk) as router, worker(router.port) as client:
        await client.register(proven=True)
        job_id = await assigned(router, client)
        disk.stall()
        client.send(client.completion(job_id, attempt=1))
        await disk.stalled()
        cancels = [asyncio.ensure_future(delete(router, job_id)) for _ in range(2)]
        while len(router.watch) == 0:
            await router.workers_online()
        disk.go_on()
        for cancel in cancels:
            assert told(await cancel) == (409, "job_finished")
        assert (await client.receive("job_ack"))["status"] == "accepted"
        assert (await router.job(job_id))["receipt"]["verified"] is True


async def test_a_cancel_that_comes_first_wins_while_the_disk_is_slow(tmp_path: Path) -> None:
    disk = Disk()
    async with coordinator(tmp_path, disk=disk) as router, worker(router.port) as client:
        await client.register(proven=True)
        job_id = await assigned(router, client)
        disk.stall()
        cancel = asyncio.ensure_future(delete(router, job_id))
        await disk.stalled()
        client.send(client.completion(job_id, attempt=1))
        await client.receive("job_cancel")
        await client.hears_nothing()
        assert not cancel.done(), "a cancel is told only when it is stored"
        disk.go_on()
        assert (await cancel).json()["status"] == "cancelled"
        assert (await client.receive("job_ack"))["status"] == "stale"
        assert (await router.job(job_id))["status"] == "cancelled"
        assert router.count("receipts") == 0


async def test_of_many_results_and_cancels_at_once_each_job_has_one_end(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True, slots=40)
        jobs = [await assigned(router, client) for _ in range(40)]
        for job_id in jobs:
            client.send(client.completion(job_id, attempt=1))
        answers = await asyncio.gather(*(delete(router, job_id) for job_id in jobs))
        acks: dict[str, str] = {}
        while len(acks) < len(jobs):
            frame = await client.receive()
            if frame["type"] == "job_ack":
                acks[frame["job_id"]] = frame["status"]
        for job_id, answer in zip(jobs, answers, strict=True):
            status = (await router.job(job_id))["status"]
            expected = {"completed": ("accepted", 409), "cancelled": ("stale", 200)}
            assert (acks[job_id], answer.status_code) == expected[status]
        assert router.count("receipts") == sum(answer.status_code == 409 for answer in answers)


# Clients that leave


async def test_a_client_that_leaves_cancels_nothing(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        job_id = await router.commit()
        async with connect(router.port) as connection:
            connection.send(request("GET", f"/v1/jobs/{job_id}?wait=60"))
            while len(router.watch) == 0:
                await router.workers_online()
            connection.abort()
        while len(router.watch) > 0:
            await router.workers_online()
        await client.register(proven=True)
        await client.serve(job_id)
        assert (await router.job(job_id))["status"] == "completed"


async def test_a_cancel_whose_client_leaves_is_carried_through(tmp_path: Path) -> None:
    disk = Disk()
    async with coordinator(tmp_path, disk=disk) as router:
        job_id = await router.commit()
        disk.stall()
        async with connect(router.port) as connection:
            connection.send(request("DELETE", f"/v1/jobs/{job_id}"))
            await disk.stalled()
            connection.abort()
        disk.go_on()
        assert (await router.job(job_id, wait=10))["status"] == "cancelled"


async def test_a_cancel_that_the_disk_does_not_take_is_told_so_and_stored_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_resource, "_CANCEL_SECONDS", 0.05)
    disk = Disk()
    async with coordinator(tmp_path, disk=disk) as router:
        job_id = await router.commit()
        disk.full = True
        answer = await delete(router, job_id)
        assert told(answer) == (503, "storage_unavailable")
        assert answer.headers["retry-after"] == "1"
        assert (await router.job(job_id))["status"] == "pending"
        disk.full = False
        while await router.problems():
            pass
        assert (await router.job(job_id))["status"] == "cancelled"
