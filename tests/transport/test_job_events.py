"""``GET /v1/jobs/{id}/events``: a job's steps as they happen, as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.transport.harness import Coordinator, coordinator
from tests.transport.raw_http import connect, request
from tests.transport.worker_client import WorkerClient, worker

Event = tuple[str, dict[str, Any]]


@asynccontextmanager
async def events_of(router: Coordinator, job_id: str) -> AsyncIterator[AsyncIterator[Event]]:
    """The event stream of a job."""
    async with router.http.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        yield _events(answer.aiter_lines())


async def _events(lines: AsyncIterator[str]) -> AsyncIterator[Event]:
    name, data = "", []
    async for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif not line and name:
            yield name, json.loads("\n".join(data))
            name, data = "", []


def a_chunk(job_id: str, seq: int, delta: str, attempt: int = 1) -> dict[str, Any]:
    return {"type": "job_chunk", "job_id": job_id, "attempt": attempt, "seq": seq, "delta": delta}


async def register(client: WorkerClient) -> None:
    await client.register(proven=True)


async def test_a_job_is_followed_from_its_first_step_to_its_end(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        job_id = await router.commit()
        async with events_of(router, job_id) as events:
            assert await anext(events) == ("status", {"status": "pending", "attempt": 0})
            await register(client)
            assert await anext(events) == ("status", {"status": "assigned", "attempt": 1})
            await client.receive("job_assign")
            client.send(a_chunk(job_id, 0, "Some"))
            client.send(a_chunk(job_id, 1, " text.\n\u00e4"))
            assert await anext(events) == ("status", {"status": "running", "attempt": 1})
            assert await anext(events) == ("chunk", {"attempt": 1, "seq": 0, "delta": "Some"})
            assert await anext(events) == ("chunk", {"attempt": 1, "seq": 1, "delta": " text.\n\u00e4"})
            client.send(client.completion(job_id, attempt=1))
            assert await anext(events) == ("job", await router.job(job_id, wait=10))
            assert [event async for event in events] == []
        assert len(router.watch) == 0


async def test_each_attempt_is_told_and_pieces_name_theirs(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await register(client)
        job_id = await router.commit()
        await client.receive("job_assign")
        async with events_of(router, job_id) as events:
            assert await anext(events) == ("status", {"status": "assigned", "attempt": 1})
            failed = {"type": "job_failed", "job_id": job_id, "attempt": 1, "code": "c", "message": "m"}
            client.send(failed | {"retryable": True})
            assert await anext(events) == ("status", {"status": "pending", "attempt": 1})
            assert await anext(events) == ("status", {"status": "assigned", "attempt": 2})
            await client.receive("job_assign")
            client.send(a_chunk(job_id, 0, "late", attempt=1))
            client.send(a_chunk(job_id, 0, "new", attempt=2))
            assert await anext(events) == ("status", {"status": "running", "attempt": 2})
            assert await anext(events) == ("chunk", {"attempt": 2, "seq": 0, "delta": "new"})


async def test_a_job_that_has_ended_is_told_at_once(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await register(client)
        job_id = await router.commit()
        await client.serve(job_id, b'{"text":\n"several\\nlines",\r\n"model":"m"}')
        async with events_of(router, job_id) as events:
            assert [event async for event in events] == [("job", await router.job(job_id))]


async def test_a_cancel_ends_the_stream(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        job_id = await router.commit()
        async with events_of(router, job_id) as events:
            await anext(events)
            await router.http.delete(f"/v1/jobs/{job_id}")
            name, job = await anext(events)
            assert (name, job["status"]) == ("job", "cancelled")


async def test_an_unknown_job_has_no_events(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        answer = await router.http.get("/v1/jobs/unknown/events")
        assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
        assert len(router.watch) == 0


async def test_several_may_follow_one_job(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        job_id = await router.commit()
        async with events_of(router, job_id) as first, events_of(router, job_id) as second:
            assert await anext(first) == await anext(second)
            await register(client)
            await client.serve(job_id)
            assert [event async for event in first] == [event async for event in second]


async def test_a_reader_that_leaves_is_forgotten_and_cancels_nothing(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        job_id = await router.commit()
        async with connect(router.port) as connection:
            connection.send(request("GET", f"/v1/jobs/{job_id}/events"))
            while len(router.watch) == 0:
                await router.workers_online()
            connection.abort()
        while len(router.watch) > 0:
            await router.workers_online()
        await register(client)
        await client.serve(job_id)


async def test_asking_for_the_head_of_a_stream_follows_nothing(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        job_id = await router.commit()
        answer = await router.http.head(f"/v1/jobs/{job_id}/events")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
        assert len(router.watch) == 0


async def test_the_end_of_the_coordinator_ends_the_stream(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        job_id = await router.commit()
        async with events_of(router, job_id) as events:
            await anext(events)
            await router.stop()
            assert [event async for event in events] == []
