"""Processes are killed at bad moments: every job that was acknowledged ends, and ends once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.ollama_server import Gate, OllamaServer
from tests.fakes.processes import coordinator_process, worker_process
from tests.transport.harness import LLM, TASK
from tests.transport.worker_client import WorkerClient, worker

pytestmark = pytest.mark.acceptance

OURS: dict[str, Any] = {"provider_type": "SEEKER", "capabilities": ["TASK"]}


async def commit(http: httpx.AsyncClient, tier: str = "cheap", **changes: Any) -> str:
    answer = await http.post(f"/v1/jobs/commit/{tier}", json=TASK | changes)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["job_id"])


async def ended(http: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    answer = await http.get(f"/v1/jobs/{job_id}?wait=60")
    assert answer.json()["status"] in ("completed", "failed"), answer.text
    return dict(answer.json())


async def serve_whatever_comes(client: WorkerClient) -> None:
    """Deliver every job that is assigned, until cancelled."""
    while True:
        frame = await client.receive()
        if frame["type"] == "job_assign":
            client.send(client.completion(frame["job_id"], attempt=frame["attempt"]))


async def test_a_killed_coordinator_takes_up_every_acknowledged_job(tmp_path: Path) -> None:
    """A finished job, one whose worker returns with it, one whose worker lost it, and five that wait."""
    async with coordinator_process(tmp_path) as router, worker(router.port) as holder:
        await holder.register(proven=True, **OURS)
        finished = await commit(router.http)
        await holder.serve(finished)
        before = await ended(router.http, finished)
        held = await commit(router.http)
        assert (await holder.receive("job_assign"))["job_id"] == held
        async with worker(router.port) as forgetful:
            await forgetful.register(proven=True, **OURS)
            forgotten = await commit(router.http)
            assert (await forgetful.receive("job_assign"))["job_id"] == forgotten
            waiting = [await commit(router.http) for _ in range(5)]
            await router.process.kill()
            await holder.closed()
    async with coordinator_process(tmp_path) as router:
        await router.process.line("took up 7 unfinished jobs")
        async with worker(router.port, holder.key) as returned, worker(router.port, forgetful.key) as empty:
            await returned.register(proven=True, active_jobs=[{"job_id": held, "attempt": 1}], **OURS)
            returned.send(returned.completion(held, attempt=1))
            await empty.register(proven=True, **OURS)
            serving = [asyncio.ensure_future(serve_whatever_comes(each)) for each in (returned, empty)]
            jobs = {job_id: await ended(router.http, job_id) for job_id in (held, forgotten, *waiting)}
            for task in serving:
                task.cancel()
        assert await ended(router.http, finished) == before
    for job in jobs.values():
        assert (job["status"], job["receipt"]["verified"]) == ("completed", True)
    assert jobs[held]["receipt"]["provider_pubkey"] == holder.pubkey


async def test_real_workers_return_to_a_coordinator_that_was_killed(tmp_path: Path) -> None:
    async with coordinator_process(tmp_path) as router:
        port = router.port
        async with worker_process(router.url, tmp_path, "--type", "seeker") as seeker:
            assert (await ended(router.http, await commit(router.http)))["status"] == "completed"
            seeker.send_signal(signal.SIGSTOP)
            jobs = [await commit(router.http) for _ in range(3)]
            await router.process.kill()
            seeker.send_signal(signal.SIGCONT)
            async with coordinator_process(tmp_path, "--port", str(port)) as again:
                for job_id in jobs:
                    job = await ended(again.http, job_id)
                    assert (job["status"], job["receipt"]["verified"]) == ("completed", True)
                assert await seeker.stop() == 0


async def test_a_coordinator_killed_under_load_loses_no_acknowledged_job(tmp_path: Path) -> None:
    acknowledged: list[str] = []
    async with coordinator_process(tmp_path) as router:
        port = router.port

        async def submit_until_it_dies() -> None:
            with contextlib.suppress(httpx.TransportError):
                while True:
                    acknowledged.append(await commit(router.http))

        async with worker_process(router.url, tmp_path, "--type", "seeker", "--slots", "4"):
            seekers = asyncio.gather(*(submit_until_it_dies() for _ in range(10)))
            async with asyncio.timeout(10):
                while len(acknowledged) < 200:
                    await router.http.get("/v1/health")
            await router.process.kill()
            await seekers
            async with coordinator_process(tmp_path, "--port", str(port)) as again:
                for job_id in acknowledged:
                    job = await ended(again.http, job_id)
                    assert (job["status"], job["receipt"]["verified"]) == ("completed", True)


async def test_the_job_of_a_killed_worker_is_finished_by_another(tmp_path: Path) -> None:
    gate = Gate("Hel", "lo")
    with OllamaServer(script=gate) as stuck, OllamaServer() as sound:
        async with coordinator_process(tmp_path) as router:
            async with worker_process(router.url, tmp_path, "--ollama", stuck.url, name="first") as first:
                job_id = await commit(router.http, "fast", **LLM)
                # The job is in the middle of its answer when the worker dies.
                assert gate.reached.wait(10)
                await first.kill()
            gate.open()
            async with worker_process(router.url, tmp_path, "--ollama", sound.url, name="second"):
                job = await ended(router.http, job_id)
    assert (job["status"], job["result"]["text"]) == ("completed", "Hello world")
    assert job["receipt"]["verified"] is True


async def test_three_failing_attempts_end_the_job(tmp_path: Path) -> None:
    async with coordinator_process(tmp_path) as router, worker(router.port) as broken:
        await broken.register(proven=True, **OURS)
        job_id = await commit(router.http)
        for attempt in (1, 2, 3):
            assert (await broken.receive("job_assign"))["attempt"] == attempt
            failed = {"type": "job_failed", "job_id": job_id, "attempt": attempt, "retryable": True}
            broken.send(failed | {"code": "out_of_memory", "message": "No memory."})
        job = await ended(router.http, job_id)
    assert job["status"] == "failed"
    assert job["result"]["error"] == "attempts_exhausted"
    assert job["result"]["last_reason"] == "worker_error"


async def test_with_nobody_online_a_job_fails_when_the_queue_window_is_over(tmp_path: Path) -> None:
    async with coordinator_process(tmp_path, "--queue-window-seconds", "1") as router:
        job = await ended(router.http, await commit(router.http))
    assert (job["status"], job["result"]["error"]) == ("failed", "no_eligible_worker")


async def test_a_coordinator_stopped_under_load_ends_cleanly_and_loses_nothing(tmp_path: Path) -> None:
    acknowledged: list[str] = []
    async with coordinator_process(tmp_path) as router:

        async def submit_until_it_ends() -> None:
            with contextlib.suppress(httpx.TransportError):
                while (answer := await router.http.post("/v1/jobs/commit/cheap", json=TASK)).is_success:
                    job_id = str(answer.json()["job_id"])
                    acknowledged.append(job_id)
                    await router.http.get(f"/v1/jobs/{job_id}?wait=60")
                assert (answer.status_code, answer.json()["error"]) in (
                    (503, "draining"),
                    (503, "unavailable"),
                )
                assert answer.headers["Retry-After"] == "1"

        async with worker_process(router.url, tmp_path, "--type", "seeker", "--slots", "4"):
            seekers = asyncio.gather(*(submit_until_it_ends() for _ in range(20)))
            async with asyncio.timeout(10):
                while len(acknowledged) < 100:
                    await router.http.get("/v1/health")
            assert await router.process.stop() == 0
            await seekers
        assert "ERROR" not in router.process.stderr
        assert "Traceback" not in router.process.stderr
    async with coordinator_process(tmp_path) as again:
        for job_id in acknowledged:
            answer = await again.http.get(f"/v1/jobs/{job_id}")
            assert answer.status_code == 200
