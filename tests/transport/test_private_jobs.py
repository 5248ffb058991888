"""PRIVATE jobs: to paired workers that proved their key, and to nobody else, whatever happens."""

from __future__ import annotations

from pathlib import Path

import msgspec

from compute_router.protocol.units import DurationMs
from tests.transport.harness import QUICK, TASK, Coordinator, coordinator
from tests.transport.worker_client import WorkerClient, worker

PRIVATE = {"privacy_class": "PRIVATE"}


async def refused(router: Coordinator, user_id: str = "alice") -> str:
    """Commit a PRIVATE job that nobody may have: 422 with its id, and the job has failed."""
    answer = await router.http.post("/v1/jobs/commit/cheap", json=TASK | PRIVATE | {"user_id": user_id})
    error = answer.json()
    assert (answer.status_code, error["error"]) == (422, "no_trusted_worker")
    assert set(error) == {"error", "message", "job_id"}
    job = await router.job(error["job_id"])
    assert (job["status"], job["result"]["error"]) == ("failed", "no_trusted_worker")
    return str(error["job_id"])


async def gets_no_job(router: Coordinator, client: WorkerClient) -> None:
    """Nothing is on its way to this worker, also not through the store."""
    await router.http.get("/v1/jobs/none")
    await client.hears_nothing()


async def test_without_a_paired_worker_it_is_refused_at_once(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as stranger:
        await stranger.register(proven=True)
        await refused(router)
        await gets_no_job(router, stranger)


async def test_with_the_paired_worker_away_it_is_refused_at_once(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as stranger:
        await stranger.register(proven=True)
        await router.pair("alice", "a" * 64)
        await refused(router)
        await gets_no_job(router, stranger)


async def test_the_paired_worker_of_another_user_does_not_count(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as own:
        await own.register(proven=True)
        await router.pair("bob", own.pubkey)
        await refused(router, "alice")
        await gets_no_job(router, own)


async def test_a_paired_worker_of_the_wrong_kind_does_not_count(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as own:
        await own.register(proven=True, capabilities=["LLM_INFER"])
        await router.pair("alice", own.pubkey)
        await refused(router)


async def test_it_goes_to_the_paired_worker_and_says_so(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as stranger, worker(router.port) as own:
        await stranger.register(proven=True, provider_type="SEEKER")
        await own.register(proven=True)
        await router.pair("alice", own.pubkey)
        job_id = await router.commit(**PRIVATE)
        assignment = await own.receive("job_assign")
        assert (assignment["job_id"], assignment["privacy_class"]) == (job_id, "PRIVATE")
        assert (await own.ask(own.completion(job_id)))["status"] == "accepted"
        await gets_no_job(router, stranger)


async def test_it_waits_for_the_paired_worker_that_is_busy(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as stranger, worker(router.port) as own:
        await own.register(proven=True)
        await router.pair("alice", own.pubkey)
        public = await router.commit()
        await own.receive("job_assign")
        await stranger.register(proven=True)
        private = await router.commit(**PRIVATE)
        await gets_no_job(router, stranger)
        assert (await router.job(private))["status"] == "pending"
        own.send(own.completion(public))
        # The slot is free before the first result is stored, so either frame may come first.
        frames = [await own.receive(), await own.receive()]
        assert {frame["job_id"] for frame in frames if frame["type"] == "job_assign"} == {private}
        assert (await own.ask(own.completion(private)))["status"] == "accepted"
        await gets_no_job(router, stranger)


async def test_a_worker_paired_while_it_waits_may_have_it(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as first, worker(router.port) as second:
        await first.register(proven=True)
        await router.pair("alice", first.pubkey)
        await router.commit()
        await first.receive("job_assign")
        await second.register(proven=True)
        private = await router.commit(**PRIVATE)
        await gets_no_job(router, second)
        await router.pair("alice", second.pubkey)
        assert (await second.receive("job_assign"))["job_id"] == private


async def test_it_never_falls_to_a_stranger_when_its_worker_is_lost(tmp_path: Path) -> None:
    short = DurationMs(30)
    policy = msgspec.structs.replace(QUICK, queue_window=short, reconnect_grace=short)
    async with coordinator(tmp_path, policy=policy) as router, worker(router.port) as stranger:
        await stranger.register(proven=True)
        async with worker(router.port) as own:
            await own.register(proven=True)
            await router.pair("alice", own.pubkey)
            job_id = await router.commit(**PRIVATE)
            await own.receive("job_assign")
        job = await router.job(job_id, wait=5)
        assert job["status"] == "failed"
        assert job["result"]["error"] in ("no_trusted_worker", "worker_disconnected")
        await gets_no_job(router, stranger)


async def test_knowing_a_paired_key_is_not_enough(tmp_path: Path) -> None:
    """A public key is public: who does not prove that he holds it gets no PRIVATE job."""
    async with (
        coordinator(tmp_path) as router,
        worker(router.port) as own,
        worker(router.port, own.key) as impostor,
    ):
        await router.pair("alice", own.pubkey)
        await impostor.register()
        await refused(router)
        await gets_no_job(router, impostor)
