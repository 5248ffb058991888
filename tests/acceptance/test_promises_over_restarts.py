"""What one coordinator process promised, the next one keeps: keys, ends, acknowledgements, deadlines."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.processes import CoordinatorProcess, coordinator_process
from tests.transport.harness import TASK
from tests.transport.worker_client import worker

pytestmark = pytest.mark.acceptance


async def commit(router: CoordinatorProcess, key: str | None = None, **changes: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return await router.http.post("/v1/jobs/commit/cheap", json=TASK | changes, headers=headers)


async def job(router: CoordinatorProcess, job_id: str, wait: int = 0) -> dict[str, Any]:
    return dict((await router.http.get(f"/v1/jobs/{job_id}?wait={wait}")).json())


async def test_a_repeated_commit_after_a_kill_is_the_same_job(tmp_path: Path) -> None:
    async with coordinator_process(tmp_path) as router:
        first = await commit(router, "key")
        private = await commit(router, "private", privacy_class="PRIVATE")
        assert (first.status_code, private.status_code) == (201, 422)
        await router.process.kill()
    async with coordinator_process(tmp_path) as router:
        assert (await commit(router, "key")).json() == first.json()
        again = await commit(router, "private", privacy_class="PRIVATE")
        assert (again.status_code, again.json()) == (422, private.json())
        assert (await commit(router, "key", ttl_s=20)).json()["error"] == "idempotency_conflict"


async def test_commits_that_are_repeated_through_a_kill_are_one_job_each(tmp_path: Path) -> None:
    """Fifty seekers do not know whether their commit arrived before the kill; each repeats it."""

    async def try_once(number: int) -> str | None:
        try:
            answer = await commit(router, f"key-{number}", user_id=f"user-{number}")
        except httpx.TransportError:
            return None
        return str(answer.json()["job_id"]) if answer.is_success else None

    async with coordinator_process(tmp_path) as router:
        sent = asyncio.gather(*(try_once(number) for number in range(50)))
        await router.http.get("/v1/health")
        await router.process.kill()
        before = await sent
    async with coordinator_process(tmp_path) as router:
        after = await asyncio.gather(*(try_once(number) for number in range(50)))
    assert len(set(after)) == 50
    for first, repeated in zip(before, after, strict=True):
        assert first in (None, repeated)


async def test_a_result_sent_again_after_a_kill_is_answered_as_before(tmp_path: Path) -> None:
    async with coordinator_process(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        job_id = (await commit(router)).json()["job_id"]
        await client.receive("job_assign")
        result = client.completion(job_id, attempt=1)
        acks = [await client.ask(result), await client.ask(result)]
        await router.process.kill()
    async with coordinator_process(tmp_path) as router, worker(router.port, client.key) as again:
        await again.register(proven=True)
        acks += [await again.ask(result), await again.ask(result)]
        other = b'{"summary":"Another text.","word_count":2}'
        late = await again.ask(again.completion(job_id, other, attempt=1))
        assert late["status"] == "stale"
        assert acks == [{"type": "job_ack", "job_id": job_id, "status": "accepted", "attempt": 1}] * 4


async def test_a_cancelled_job_stays_cancelled_after_a_kill(tmp_path: Path) -> None:
    async with coordinator_process(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        job_id = (await commit(router)).json()["job_id"]
        await client.receive("job_assign")
        cancelled = (await router.http.delete(f"/v1/jobs/{job_id}")).json()
        await router.process.kill()
    async with coordinator_process(tmp_path) as router, worker(router.port, client.key) as again:
        await again.register(proven=True, active_jobs=[{"job_id": job_id, "attempt": 1}])
        assert (await again.receive("job_cancel"))["job_id"] == job_id
        assert (await again.ask(again.completion(job_id, attempt=1)))["status"] == "stale"
        assert await job(router, job_id) == cancelled


async def test_a_long_poll_of_a_client_that_comes_back_is_answered_when_the_job_ends(tmp_path: Path) -> None:
    async with coordinator_process(tmp_path) as router:
        job_id = (await commit(router)).json()["job_id"]
        poll = asyncio.ensure_future(job(router, job_id, wait=60))
        await router.http.get("/v1/health")
        await router.process.kill()
        with pytest.raises(httpx.TransportError):
            await poll
    async with coordinator_process(tmp_path) as router, worker(router.port) as client:
        poll = asyncio.ensure_future(job(router, job_id, wait=60))
        await router.http.get("/v1/health")
        await client.register(proven=True)
        await client.serve(job_id)
        assert (await poll)["status"] == "completed"


async def test_bounds_of_the_queue_hold_for_jobs_of_the_last_run(tmp_path: Path) -> None:
    bounds = ("--max-jobs-per-user", "2", "--max-jobs", "3", "--queue-window-seconds", "60")
    async with coordinator_process(tmp_path, *bounds) as router:
        for _ in range(2):
            assert (await commit(router)).status_code == 201
        assert (await commit(router)).status_code == 429
        await router.process.kill()
    async with coordinator_process(tmp_path, *bounds) as router:
        assert (await commit(router)).json()["error"] == "user_queue_full"
        assert (await commit(router, user_id="bob")).status_code == 201
        full = await commit(router, user_id="carol")
        assert (full.status_code, full.json()["error"], full.headers["Retry-After"]) == (
            503,
            "queue_full",
            "1",
        )


async def test_finished_jobs_are_deleted_when_they_have_been_kept_long_enough(tmp_path: Path) -> None:
    async with coordinator_process(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        old, new = [str((await commit(router)).json()["job_id"]) for _ in range(2)]
        await client.serve(old)
        await client.serve(new)
        assert await router.process.stop() == 0
    with closing(sqlite3.connect(tmp_path / "solana.db")) as database, database:
        long_ago = "2020-01-01T00:00:00.000Z"
        database.execute("UPDATE jobs SET completed_at = ? WHERE id = ?", (long_ago, old))
    async with coordinator_process(tmp_path, "--keep-days", "1") as router:
        async with asyncio.timeout(20):
            while (await router.http.get(f"/v1/jobs/{old}")).status_code == 200:
                pass
        assert (await job(router, new))["receipt"]["verified"] is True
