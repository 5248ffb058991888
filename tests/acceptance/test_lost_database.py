"""The database file goes away under a running coordinator: nothing is acknowledged that would be lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.test_full_disk import COMMIT, commit, health, job
from tests.fakes.processes import coordinator_process
from tests.transport.harness import TASK
from tests.transport.worker_client import worker

pytestmark = pytest.mark.acceptance


async def test_a_commit_is_refused_until_the_file_is_back(tmp_path: Path) -> None:
    async with coordinator_process(tmp_path) as router, worker(router.port) as client:
        early = await commit(router)
        (tmp_path / "solana.db").rename(tmp_path / "away")
        refused = await router.http.post(COMMIT, json=TASK)
        assert (refused.status_code, refused.json()["error"]) == (503, "storage_unavailable")
        assert "deleted, moved or replaced" in refused.json()["message"]
        (problem,) = (await router.http.get("/v1/health")).json()["problems"]
        assert "solana.db" in problem
        (tmp_path / "away").rename(tmp_path / "solana.db")
        while await health(router) != "ok":
            pass
        await client.register(proven=True)
        await client.serve(early)
        late = await commit(router)
        await client.serve(late)
        assert await router.process.stop() == 0
        assert "Traceback" not in router.process.stderr
    async with coordinator_process(tmp_path) as router:
        assert [(await job(router, each))["status"] for each in (early, late)] == ["completed"] * 2


async def test_a_coordinator_without_jobs_notices_too(tmp_path: Path) -> None:
    async with coordinator_process(tmp_path) as router:
        (tmp_path / "solana.db").unlink()
        while await health(router) != "degraded":
            pass
        assert await router.process.stop() == 0
