"""``ttl_s`` and ``deadline_s`` of a commit: how long a job may wait, and how long it may run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from compute_router.protocol.units import DurationMs
from tests.transport.harness import LLM, QUICK, TASK, coordinator
from tests.transport.raw_http import connect, request
from tests.transport.worker_client import worker

COMMIT = "/v1/jobs/commit/cheap"
BAD_SECONDS = ["0", "-1", "-0.001", "1e9", "86400.1", "1e999", "NaN", "Infinity", '"30"', "true", "[]", "{}"]


@pytest.mark.parametrize("field", ["ttl_s", "deadline_s"])
@pytest.mark.parametrize("seconds", BAD_SECONDS)
async def test_an_absurd_number_of_seconds_is_refused_and_nothing_is_stored(
    tmp_path: Path, field: str, seconds: str
) -> None:
    body = json.dumps(TASK)[:-1] + f', "{field}": {seconds}}}'
    async with coordinator(tmp_path) as router, connect(router.port) as connection:
        connection.send(request("POST", COMMIT, body.encode(), Content_Type="application/json"))
        answer = await connection.answer()
        assert answer.status == 400
        assert answer.json()["error"] in ("invalid_request", "malformed_json")
        assert router.count("jobs") == 0


async def test_null_leaves_the_limits_to_the_coordinator(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        await router.commit(ttl_s=None, deadline_s=None)
        ((window, limit),) = router.query("SELECT queue_window_ms, run_limit_ms FROM jobs")
        assert (window, limit) == (QUICK.queue_window, None)


@pytest.mark.parametrize(
    ("field", "most"), [("ttl_s", QUICK.max_queue_window), ("deadline_s", QUICK.run_limit)]
)
async def test_the_operators_bounds_hold(tmp_path: Path, field: str, most: int) -> None:
    async with coordinator(tmp_path) as router:
        limits: dict[str, Any] = {field: most / 1000}
        await router.commit(**limits)
        answer = await router.http.post(COMMIT, json=TASK | {field: most / 1000 + 0.001})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
        assert f"{field} may be at most {most / 1000:g} seconds" in answer.json()["message"]
        assert router.count("jobs") == 1


async def test_a_job_that_nobody_takes_within_its_ttl_fails(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        patient = await router.commit()
        hasty = await router.commit(ttl_s=0.05)
        job = await router.job(hasty, wait=10)
        assert (job["status"], job["result"]["error"]) == ("failed", "no_eligible_worker")
        assert (await router.job(patient))["status"] == "pending"


async def test_a_ttl_may_be_longer_than_the_usual_wait(tmp_path: Path) -> None:
    policy = msgspec.structs.replace(QUICK, queue_window=DurationMs(50))
    async with coordinator(tmp_path, policy=policy) as router, worker(router.port) as client:
        patient = await router.commit(ttl_s=60)
        hasty = await router.commit()
        assert (await router.job(hasty, wait=10))["status"] == "failed"
        await client.register(proven=True)
        await client.serve(patient)


async def test_a_job_that_runs_past_its_deadline_fails_and_its_worker_is_told_to_stop(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        job_id = await router.commit(deadline_s=0.2)
        await client.receive("job_assign")
        client.send({"type": "job_started", "job_id": job_id, "attempt": 1})
        assert await client.receive("job_cancel") == {"type": "job_cancel", "job_id": job_id, "attempt": 1}
        job = await router.job(job_id, wait=10)
        assert (job["status"], job["result"]["error"]) == ("failed", "deadline_exceeded")
        ack = await client.ask(client.completion(job_id, attempt=1))
        assert (ack["type"], ack["status"]) == ("job_ack", "stale")
        await client.serve(await router.commit())


async def test_a_job_within_its_deadline_is_not_disturbed_by_its_ttl(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        job_id = await router.commit(ttl_s=0.05, deadline_s=60)
        await client.receive("job_assign")
        hasty = await router.commit(ttl_s=0.1)
        assert (await router.job(hasty, wait=10))["status"] == "failed"
        assert (await client.ask(client.completion(job_id)))["status"] == "accepted"


async def test_a_lease_grows_with_the_tokens_that_may_be_written(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True, slots=3)
        for max_tokens, lease in ((None, 120_000), (100, 65_000), (1_000_000, 600_000)):
            payload = {"prompt": "Why?"} | ({"max_tokens": max_tokens} if max_tokens else {})
            await router.commit("fast", **(LLM | {"payload": payload}))
            assert (await client.receive("job_assign"))["deadline_ms"] == lease


async def test_a_heartbeat_and_chunks_keep_a_long_job_with_its_worker(tmp_path: Path) -> None:
    policy = msgspec.structs.replace(QUICK, task_lease=DurationMs(1_000))
    async with (
        coordinator(tmp_path, policy=policy) as router,
        worker(router.port) as client,
        worker(router.port) as other,
    ):
        await client.register(proven=True, capabilities=["TASK"])
        job_id = await router.commit()
        await client.receive("job_assign")
        await other.register(proven=True, capabilities=["TASK"])
        hasty = [await router.commit("fast", **LLM, ttl_s=seconds / 2) for seconds in range(1, 6)]
        for number, clock in enumerate(hasty):
            # Half a second at a time passes with the end of a job that nobody can take.
            assert (await router.job(clock, wait=10))["status"] == "failed"
            if number % 2:
                chunk = {"type": "job_chunk", "job_id": job_id, "attempt": 1, "seq": number, "delta": "-"}
                client.send(chunk)
            else:
                held = [{"job_id": job_id, "attempt": 1}]
                client.send({"type": "heartbeat", "provider_pubkey": client.pubkey, "jobs": held})
                await client.receive("heartbeat_ack")
        assert (await client.ask(client.completion(job_id, attempt=1)))["status"] == "accepted"
        await other.hears_nothing()
