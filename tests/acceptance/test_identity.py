"""Who is who among real processes: two programs with one key, and an operator who does without proofs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from tests.fakes.legacy_worker import legacy_worker
from tests.fakes.processes import coordinator_process, worker_process
from tests.transport.harness import TASK

pytestmark = pytest.mark.acceptance


async def test_of_two_workers_with_one_key_the_older_ends_and_says_why(tmp_path: Path) -> None:
    async with (
        coordinator_process(tmp_path) as coordinator,
        worker_process(coordinator.url, tmp_path, "--type", "seeker", name="older") as older,
    ):
        shutil.copy(tmp_path / "older.key", tmp_path / "newer.key")
        async with worker_process(coordinator.url, tmp_path, "--type", "seeker", name="newer") as newer:
            assert await older.ended() == 1
            assert "Another program uses this worker's key" in older.stderr
            assert "--key PATH" in older.stderr
            committed = await coordinator.http.post("/v1/jobs/commit/cheap", json=TASK)
            job = await coordinator.http.get(f"/v1/jobs/{committed.json()['job_id']}", params={"wait": "20"})
            assert job.json()["status"] == "completed"
            assert await newer.stop() == 0


@pytest.mark.parametrize("legacy", [True, False])
async def test_a_worker_that_cannot_prove_its_key_gets_private_jobs_only_if_the_operator_says_so(
    tmp_path: Path, legacy: bool
) -> None:
    flags = ["--legacy-workers"] if legacy else []
    key = SigningKey.generate()
    async with (
        coordinator_process(tmp_path, *flags) as coordinator,
        legacy_worker(coordinator.port, key) as desktop,
    ):
        created = await coordinator.http.post("/v1/trust/create", json={"user_id": "alice"})
        claim = {"pairing_code": created.json()["pairing_code"], "provider_pubkey": desktop.pubkey}
        assert (await coordinator.http.post("/v1/trust/claim", json=claim)).status_code == 200
        await desktop.register()
        job = TASK | {"privacy_class": "PRIVATE"}
        committed = await coordinator.http.post("/v1/jobs/commit/cheap", json=job)
        health = (await coordinator.http.get("/v1/health")).json()
        assert health["status"] == "ok"
        if legacy:
            assert committed.status_code == 201
            assert (await desktop.receive("job_assign"))["job_id"] == committed.json()["job_id"]
            assert "Legacy workers" in health["notes"][0]
            assert "WARNING" in await coordinator.process.line("Legacy workers")
        else:
            assert (committed.status_code, committed.json()["error"]) == (422, "no_trusted_worker")
            assert "notes" not in health
