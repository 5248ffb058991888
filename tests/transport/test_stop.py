"""An orderly end: long polls are answered, workers are told goodbye."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.transport.harness import coordinator
from tests.transport.raw_http import connect, request
from tests.transport.worker_client import worker


async def test_the_end_answers_long_polls_and_closes_workers_with_going_away(tmp_path: Path) -> None:
    async with (
        coordinator(tmp_path) as router,
        worker(router.port) as client,
        connect(router.port) as connection,
    ):
        await client.register(proven=True)
        job_id = await router.commit()
        await client.receive("job_assign")
        connection.send(request("GET", f"/v1/jobs/{job_id}?wait=60"))
        while len(router.watch) == 0:
            await router.workers_online()
        async with asyncio.timeout(5):
            await router.stop()
            answer = await connection.answer()
            assert (answer.status, answer.json()["status"]) == (200, "assigned")
            assert await connection.rest() == b""
            assert await client.closed() == 1001
