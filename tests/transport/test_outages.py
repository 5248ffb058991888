"""The disk under the database fails while the coordinator runs."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from tests.transport.disks import Disk
from tests.transport.harness import TASK, Coordinator, coordinator, owner
from tests.transport.worker_client import worker

FULL = ["storage: The database cannot be written: database or disk is full."]


async def fails(router: Coordinator, disk: Disk) -> None:
    """The disk is full, and the coordinator has noticed."""
    disk.full = True
    answer = await router.http.post("/v1/jobs/commit/cheap", json=TASK)
    assert (answer.status_code, answer.json()["error"]) == (503, "storage_unavailable")
    assert answer.headers["retry-after"] == "1"


async def recovers(router: Coordinator, disk: Disk) -> None:
    """The disk has room again, and the coordinator has noticed."""
    disk.full = False
    while await router.problems():
        pass


async def test_health_says_so_while_it_lasts_and_no_longer(tmp_path: Path) -> None:
    disk = Disk()
    async with coordinator(tmp_path, disk=disk) as router:
        assert await router.problems() == []
        await fails(router, disk)
        assert await router.problems() == FULL
        await recovers(router, disk)
        await router.commit()


async def test_what_needs_no_writing_goes_on_and_the_rest_is_refused(tmp_path: Path) -> None:
    disk = Disk()
    async with coordinator(tmp_path, disk=disk) as router, worker(router.port) as client:
        await client.register(proven=True, capabilities=["TASK"])
        job_id = await router.commit()
        await client.serve(job_id)
        await router.pair("alice", client.pubkey)
        await fails(router, disk)
        assert (await router.job(job_id))["status"] == "completed"
        assert (await router.job(job_id, wait=60))["status"] == "completed"
        assert (await router.http.get("/v1/quote?job_type=TASK")).status_code == 200
        assert (await router.http.get("/v1/trust/list?user_id=alice")).json()["providers"]
        assert (await router.http.get("/v1/jobs/unknown")).status_code == 404
        for path, body in (
            ("/v1/trust/create", {"user_id": "alice"}),
            ("/v1/trust/claim", {"pairing_code": "CODE", "provider_pubkey": client.pubkey}),
        ):
            assert (await router.http.post(path, json=body)).status_code == 503
        foreign, own = owner("mallory"), owner("alice")
        assert (await router.http.get("/v1/trust/list?user_id=alice", headers=foreign)).status_code == 403
        revoked = f"/v1/trust/{client.pubkey}?user_id=alice"
        assert (await router.http.delete(revoked, headers=own)).status_code == 503
        await recovers(router, disk)


async def test_a_result_that_comes_meanwhile_is_acknowledged_only_when_it_is_stored(tmp_path: Path) -> None:
    disk = Disk()
    async with coordinator(tmp_path, disk=disk) as router, worker(router.port) as client:
        await client.register(proven=True)
        job_id = await router.commit()
        await client.receive("job_assign")
        await fails(router, disk)
        poll = asyncio.ensure_future(router.job(job_id, wait=60))
        client.send(client.completion(job_id, attempt=1))
        await client.hears_nothing()
        assert (await router.job(job_id))["status"] == "assigned"
        assert not poll.done()
        await recovers(router, disk)
        assert (await client.receive("job_ack"))["status"] == "accepted"
        job = await poll
        assert (job["status"], job["receipt"]["verified"]) == ("completed", True)


async def test_everything_that_was_decided_meanwhile_is_stored_in_its_order(tmp_path: Path) -> None:
    disk = Disk()
    async with coordinator(tmp_path, disk=disk) as router, worker(router.port) as client:
        await client.register(proven=True, slots=3)
        jobs = [await router.commit() for _ in range(8)]
        for _ in range(3):
            await client.receive("job_assign")
        await fails(router, disk)
        for job_id in jobs[:3]:
            client.send({"type": "job_started", "job_id": job_id, "attempt": 1})
            client.send(client.completion(job_id, attempt=1))
        await client.hears_nothing()
        await recovers(router, disk)
        acknowledged: list[str] = []
        served = jobs[:3]
        while len(acknowledged) < len(jobs):
            frame = await client.receive()
            if frame["type"] == "job_ack":
                assert frame["status"] == "accepted"
                acknowledged.append(frame["job_id"])
            else:
                served.append(frame["job_id"])
                client.send(client.completion(frame["job_id"], attempt=1))
        assert served == acknowledged == jobs
        assert router.count("receipts") == len(jobs)


async def test_nobody_is_given_a_job_before_that_is_stored(tmp_path: Path) -> None:
    disk = Disk()
    async with coordinator(tmp_path, disk=disk) as router, worker(router.port) as client:
        job_id = await router.commit()
        await fails(router, disk)
        await client.register(proven=True)
        await client.hears_nothing()
        await recovers(router, disk)
        await client.serve(job_id)


async def test_a_worker_that_leaves_meanwhile_loses_its_job_to_another(tmp_path: Path) -> None:
    disk = Disk()
    async with (
        coordinator(tmp_path, disk=disk) as router,
        worker(router.port) as first,
        worker(router.port) as second,
    ):
        await first.register()
        job_id = await router.commit()
        await first.receive("job_assign")
        await fails(router, disk)
        first.socket.abort()
        await second.register(proven=True)
        await second.hears_nothing()
        await recovers(router, disk)
        assignment = await second.receive("job_assign")
        assert (assignment["job_id"], assignment["attempt"]) == (job_id, 2)
        assert (await second.ask(second.completion(job_id, attempt=2)))["status"] == "accepted"


async def test_a_stop_during_an_outage_ends_and_the_next_start_takes_the_jobs_up(
    tmp_path: Path, expected_errors: list[logging.LogRecord]
) -> None:
    disk = Disk()
    async with coordinator(tmp_path, disk=disk) as router, worker(router.port) as client:
        await client.register(proven=True)
        job_id = await router.commit()
        await client.receive("job_assign")
        await fails(router, disk)
        result = client.completion(job_id, attempt=1)
        client.send(result)
        await client.hears_nothing()
        await router.stop()
        assert await client.closed() == 1001
    assert [record.getMessage()[:35] for record in expected_errors] == ["1 decision could not be stored befo"]
    async with coordinator(tmp_path) as router, worker(router.port, client.key) as again:
        await again.register(proven=True, active_jobs=[{"job_id": job_id, "attempt": 1}])
        assert (await again.ask(result))["status"] == "accepted"
        assert (await router.job(job_id))["status"] == "completed"


async def test_a_disk_that_is_slow_is_no_outage(tmp_path: Path) -> None:
    disk = Disk()
    async with coordinator(tmp_path, disk=disk) as router:
        disk.stall()
        commit = asyncio.ensure_future(router.commit())
        await disk.stalled()
        assert await router.problems() == []
        assert await router.workers_online() == 0
        disk.go_on()
        assert (await router.job(await commit))["status"] == "pending"


async def test_a_start_without_room_takes_the_jobs_up_and_waits_for_room(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        waits = await router.commit()
    disk = Disk()
    disk.full = True
    async with coordinator(tmp_path, disk=disk) as router, worker(router.port) as client:
        assert await router.problems() == FULL
        assert (await router.http.get(f"/v1/jobs/{waits}")).json()["status"] == "pending"
        await client.register(proven=True)
        await recovers(router, disk)
        await client.serve(waits)
