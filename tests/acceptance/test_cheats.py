"""A worker that cheats is found out by real, honest workers, and barred; they are not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from nacl.signing import SigningKey

from compute_router.protocol.messages import CLOSE_BARRED
from compute_router.sdk import AsyncComputeRouter
from compute_router.worker.executors.repeatable import tasks_feature
from tests.fakes.processes import Process, coordinator_process, program, worker_process
from tests.transport.raw_websocket import RawWebSocket
from tests.transport.worker_client import WorkerClient

pytestmark = pytest.mark.acceptance

LIE = b'{"summary":"Whatever.","word_count":1}'


class Cheat(WorkerClient):
    """A proven worker that saves itself the work: it signs the same output for every job."""

    def arrived(self, frame: dict[str, Any]) -> None:
        if frame["type"] == "job_assign":
            self.send(self.completion(frame["job_id"], LIE))
        else:
            super().arrived(frame)


@asynccontextmanager
async def registered_cheat(port: int, key: SigningKey) -> AsyncIterator[Cheat]:
    cheat = Cheat(await RawWebSocket.open(port), key)
    try:
        cheat.challenge = await cheat.receive("challenge")
        await cheat.register(
            proven=True, provider_type="SEEKER", capabilities=["TASK"], features=[tasks_feature()]
        )
        yield cheat
    finally:
        cheat.socket.abort()
        await cheat.closed()


async def record(http: httpx.AsyncClient, pubkey: str) -> dict[str, Any]:
    answer = await http.get(f"/v1/workers/{pubkey}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def key_of(worker: Process, http: httpx.AsyncClient, but: set[str]) -> str:
    """The key that came online with this worker."""
    listed = (await http.get("/v1/workers")).json()["workers"]
    (pubkey,) = {entry["provider_pubkey"] for entry in listed} - but
    return str(pubkey)


async def run_jobs(router: AsyncComputeRouter, count: int) -> None:
    """Seekers send tasks, one after the other, so that there is always an idle worker."""
    for number in range(count):
        await router.run_task("summarize", f"Text number {number}.")


async def test_a_worker_that_makes_results_up_is_barred_and_honest_ones_are_not(tmp_path: Path) -> None:
    key = SigningKey.generate()
    async with (
        coordinator_process(tmp_path, "--audit-share", "1") as coordinator,
        worker_process(coordinator.url, tmp_path, "--type", "seeker", name="one") as one,
        AsyncComputeRouter(coordinator.url, user_id="alice") as router,
    ):
        honest = {await key_of(one, coordinator.http, set())}
        async with worker_process(coordinator.url, tmp_path, "--type", "seeker", name="two") as two:
            honest.add(await key_of(two, coordinator.http, honest))
            # Newcomers are not asked to judge others.
            await run_jobs(router, 24)
            async with registered_cheat(coordinator.port, key) as cheat:
                await run_jobs(router, 6)
                assert await cheat.closed() == CLOSE_BARRED
            found = await record(coordinator.http, cheat.pubkey)
            assert found["barred"] is True
            assert found["record"]["audits_disagreed"] >= 1
            for pubkey in honest:
                found = await record(coordinator.http, pubkey)
                assert (found["barred"], found["record"]["audits_disagreed"]) == (False, 0)
                assert found["record"]["audits_agreed"] > 0
                assert found["band"] == "good"
            result = await router.run_task("summarize", "The network goes on.")
            assert (result.summary, result.verified) == ("The network goes on.", True)
        assert await coordinator.process.stop() == 0

    command = ["-m", "compute_router.sdk", "workers", "--db", "solana.db"]
    async with program([*command, "show", cheat.pubkey], tmp_path) as process:
        assert await process.ended() == 0, process.stderr
    assert "BARRED at " in process.stdout
    async with program([*command, "unbar", cheat.pubkey], tmp_path) as process:
        assert await process.ended() == 0, process.stderr
    async with coordinator_process(tmp_path) as coordinator, registered_cheat(coordinator.port, key):
        assert (await record(coordinator.http, cheat.pubkey))["barred"] is False
