"""A seeker's cancel reaches the model: coordinator, worker and Ollama as real processes and sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from compute_router.sdk import AsyncComputeRouter, JobStatus, LlmJob
from tests.fakes.ollama_server import OllamaServer, UntilLeft
from tests.fakes.processes import coordinator_process, worker_process

pytestmark = pytest.mark.acceptance


async def test_a_cancel_closes_the_request_to_ollama_and_frees_the_worker(tmp_path: Path) -> None:
    script = UntilLeft("Because ")
    with OllamaServer(script=script) as ollama:
        async with (
            coordinator_process(tmp_path) as coordinator,
            worker_process(coordinator.url, tmp_path, "--ollama", ollama.url),
            AsyncComputeRouter(coordinator.url, user_id="alice") as router,
            httpx.AsyncClient(base_url=coordinator.url, timeout=20) as http,
        ):
            job_id = await router.submit(LlmJob("Why is the sky blue?"))
            async with http.stream("GET", f"/v1/jobs/{job_id}/events") as events:
                lines = events.aiter_lines()
                while "chunk" not in await anext(lines):
                    pass
                assert '"delta":"Because "' in await anext(lines)
                snapshot = await router.cancel(job_id)
                rest = [line async for line in lines]
            assert snapshot.status is JobStatus.CANCELLED
            assert "event: job" in rest
            assert await asyncio.to_thread(script.left.wait, 10)
            assert (await router.run_task("classify", "This is wonderful.")).verified
