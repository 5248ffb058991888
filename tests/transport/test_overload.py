"""Bounded queues: what is too much is refused before anything is stored, and told when to come again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import msgspec

from tests.transport.harness import QUICK, TASK, Coordinator, coordinator
from tests.transport.worker_client import worker

FEW = msgspec.structs.replace(QUICK, max_jobs_per_user=3, max_jobs=5)


async def commit(router: Coordinator, user: str = "alice") -> httpx.Response:
    return await router.http.post("/v1/jobs/commit/cheap", json=TASK | {"user_id": user})


def refused(answer: httpx.Response) -> tuple[int, str, str]:
    return answer.status_code, str(answer.json()["error"]), answer.headers["retry-after"]


async def test_a_user_may_have_so_many_unfinished_jobs_and_no_more(tmp_path: Path) -> None:
    async with coordinator(tmp_path, policy=FEW) as router:
        for _ in range(3):
            assert (await commit(router)).status_code == 201
        for _ in range(3):
            assert refused(await commit(router)) == (429, "user_queue_full", "1")
        assert (await commit(router, "bob")).status_code == 201
        assert router.count("jobs") == 4


async def test_all_users_together_may_have_so_many_and_no_more(tmp_path: Path) -> None:
    async with coordinator(tmp_path, policy=FEW) as router:
        for number in range(5):
            assert (await commit(router, f"user-{number}")).status_code == 201
        assert refused(await commit(router, "bob")) == (503, "queue_full", "1")
        assert router.count("jobs") == 5


async def test_each_end_of_a_job_makes_room(tmp_path: Path) -> None:
    async with coordinator(tmp_path, policy=FEW) as router, worker(router.port) as client:
        await client.register(proven=True, slots=2)
        done, failed, cancelled = [str((await commit(router)).json()["job_id"]) for _ in range(3)]
        assert (await commit(router)).status_code == 429
        for _ in range(2):
            await client.receive("job_assign")
        client.send(client.completion(done))
        await router.job(done, wait=10)
        assert (await commit(router)).status_code == 201
        failure = {"type": "job_failed", "job_id": failed, "attempt": 1, "code": "c", "message": "m"}
        client.send(failure | {"retryable": False})
        await router.job(failed, wait=10)
        assert (await commit(router)).status_code == 201
        await router.http.delete(f"/v1/jobs/{cancelled}")
        assert (await commit(router)).status_code == 201
        assert (await commit(router)).status_code == 429


async def test_a_burst_fills_the_queue_and_never_overfills_it(tmp_path: Path) -> None:
    async with coordinator(tmp_path, policy=FEW) as router:
        answers = await asyncio.gather(*(commit(router, f"user-{n % 2}") for n in range(60)))
        assert sum(answer.status_code == 201 for answer in answers) == 5 == router.count("jobs")
        assert {answer.status_code for answer in answers} == {201, 429, 503}


async def test_a_private_job_that_is_refused_takes_no_place(tmp_path: Path) -> None:
    private = TASK | {"privacy_class": "PRIVATE"}
    async with coordinator(tmp_path, policy=FEW) as router:
        for _ in range(10):
            answer = await router.http.post("/v1/jobs/commit/cheap", json=private)
            assert answer.status_code == 422
        for _ in range(3):
            assert (await commit(router)).status_code == 201


async def test_a_bad_request_takes_no_place(tmp_path: Path) -> None:
    async with coordinator(tmp_path, policy=FEW) as router:
        for _ in range(10):
            answer = await router.http.post("/v1/jobs/commit/cheap", json=TASK | {"ttl_s": -1})
            assert answer.status_code == 400
        assert (await commit(router)).status_code == 201
