"""Whoever does not read what it is sent is dropped; everybody else is served meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from compute_router.transport import http_exchange
from tests.transport.harness import coordinator
from tests.transport.raw_http import connect, request
from tests.transport.raw_websocket import RawWebSocket
from tests.transport.worker_client import worker

BIG = {"task_type": "summarize", "input": "x" * 200_000}


@asynccontextmanager
async def deaf_worker(port: int, slots: int) -> AsyncIterator[RawWebSocket]:
    """A worker without proof that registers and reads nothing from then on."""
    socket = await RawWebSocket.open(port)
    frame = {
        "type": "register",
        "provider_pubkey": "d" * 64,
        "provider_type": "DESKTOP",
        "capabilities": ["TASK"],
        "slots": slots,
    }
    socket.pause()
    socket.send(json.dumps(frame).encode())
    try:
        yield socket
    finally:
        socket.abort()


async def test_a_worker_that_does_not_read_is_dropped_and_its_jobs_go_to_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with coordinator(tmp_path, max_body_bytes=10_000) as router, deaf_worker(router.port, 1) as deaf:
        while not await router.workers_online():
            pass
        job_id = await router.commit()
        with contextlib.suppress(ConnectionError):
            # Each of these is answered with an error.
            while True:
                for _ in range(500):
                    deaf.send(b"{}")
                await deaf.drain()
                await router.workers_online()
        assert "does not read what it is sent" in caplog.text
        assert await router.workers_online() == 0
        async with worker(router.port) as client:
            await client.register(proven=True)
            await client.serve(job_id)


async def test_a_worker_that_is_sent_a_large_job_for_each_of_its_slots_at_once_is_not_slow(
    tmp_path: Path,
) -> None:
    async with coordinator(tmp_path, max_body_bytes=300_000) as router, worker(router.port) as client:
        jobs = [await router.commit(payload=BIG) for _ in range(64)]
        await client.register(proven=True, slots=64)
        assert [(await client.receive("job_assign"))["job_id"] for _ in jobs] == jobs


async def test_while_one_worker_does_not_read_everybody_else_is_served(tmp_path: Path) -> None:
    async with (
        coordinator(tmp_path, max_body_bytes=2_000_000) as router,
        worker(router.port) as client,
        deaf_worker(router.port, 8),
    ):
        await client.register(proven=True, capabilities=["LLM_INFER"])
        while await router.workers_online() < 2:
            pass
        for _ in range(8):
            await router.commit(payload=BIG)
        llm: dict[str, Any] = {"job_type": "LLM_INFER", "payload": {"prompt": "Why?"}}
        async with asyncio.timeout(10):
            for _ in range(5):
                await client.serve(await router.commit("fast", **llm))
        assert await router.workers_online() == 2


async def test_an_event_stream_that_is_not_read_is_cut_off_and_the_job_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_exchange, "_TAKEN_WITHIN_SECONDS", 0.2)
    async with (
        coordinator(tmp_path) as router,
        worker(router.port) as client,
        connect(router.port) as deaf,
    ):
        await client.register(proven=True)
        job_id = await router.commit()
        await client.receive("job_assign")
        deaf.pause()
        deaf.send(request("GET", f"/v1/jobs/{job_id}/events"))
        while len(router.watch) == 0:
            await router.workers_online()
        for seq in itertools.count():
            # The system's own buffers take some megabytes before anybody notices.
            piece = {"type": "job_chunk", "job_id": job_id, "attempt": 1, "seq": seq, "delta": "x" * 60_000}
            client.send(piece)
            await client.socket.drain()
            await router.workers_online()
            if len(router.watch) == 0:
                break
        assert (await client.ask(client.completion(job_id, attempt=1)))["status"] == "accepted"
        assert (await router.job(job_id))["status"] == "completed"
