"""Workers that we did not write must be served unchanged: the quirks of wire.md, one by one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
from nacl.signing import SigningKey

from compute_router.protocol.units import DurationMs
from tests.fakes.legacy_worker import STUB_SIGNATURE, LegacyWorker, legacy_worker
from tests.transport.harness import QUICK, Coordinator, coordinator
from tests.transport.worker_client import SUMMARY, worker


async def test_compression_is_offered_and_declined(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, legacy_worker(router.port) as desktop:
        assert "sec-websocket-extensions" not in desktop.socket.handshake_answer.lower()
        assert "sec-websocket-protocol" not in desktop.socket.handshake_answer.lower()


async def test_a_job_that_waits_is_not_lost_beside_the_acknowledgement(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, legacy_worker(router.port) as desktop:
        job_id = await router.commit()
        await desktop.register()
        assert (await desktop.receive("job_assign"))["job_id"] == job_id
        assert desktop.lost == []
        desktop.deliver(job_id)
        job = await router.job(job_id, wait=5)
    assert (job["status"], job["result"], job["receipt"]["verified"]) == (
        "completed",
        json.loads(SUMMARY),
        True,
    )


async def test_a_desktop_worker_serves_one_job_after_another(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, legacy_worker(router.port) as desktop:
        await desktop.register()
        job_ids = [await router.commit() for _ in range(5)]
        for job_id in job_ids:
            assert (await desktop.receive("job_assign"))["job_id"] == job_id
            desktop.deliver(job_id)
        assert [(await router.job(job_id, wait=5))["status"] for job_id in job_ids] == ["completed"] * 5
        assert {frame["type"] for frame in desktop.skipped} == {"challenge", "job_ack"}


async def test_an_assignment_dropped_while_pairing_comes_back_to_the_same_worker(tmp_path: Path) -> None:
    policy = msgspec.structs.replace(QUICK, task_lease=DurationMs(50))
    async with coordinator(tmp_path, policy=policy) as router, legacy_worker(router.port) as desktop:
        desktop.pairing = True
        await desktop.register()
        job_id = await router.commit()
        async with asyncio.timeout(5):
            while not desktop.lost:
                await desktop.hears_nothing()
        desktop.pairing = False
        assignment = await desktop.receive("job_assign")
        assert (assignment["job_id"], assignment["attempt"]) == (job_id, 2)
        desktop.deliver(job_id)
        assert (await router.job(job_id, wait=5))["status"] == "completed"


async def test_registering_twice_on_one_socket_makes_one_worker(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        async with legacy_worker(router.port) as desktop:
            await desktop.register()
            await desktop.register()
            assert await router.workers_online() == 1
            first, second = await router.commit(), await router.commit()
            assert (await desktop.receive("job_assign"))["job_id"] == first
            await desktop.hears_nothing()
            desktop.deliver(first)
            assert (await desktop.receive("job_assign"))["job_id"] == second
        await no_workers(router)


async def test_registering_with_another_key_replaces_the_first(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, legacy_worker(router.port) as desktop:
        await desktop.register()
        desktop.key = SigningKey.generate()
        desktop.pubkey = desktop.key.verify_key.encode().hex()
        await desktop.register()
        assert await router.workers_online() == 1
        job_id = await router.commit()
        await desktop.receive("job_assign")
        desktop.deliver(job_id)
        assert (await router.job(job_id, wait=5))["receipt"]["provider_pubkey"] == desktop.pubkey


async def test_two_sockets_of_one_key_are_two_entries_that_end_apart(tmp_path: Path) -> None:
    key = SigningKey.generate()
    async with coordinator(tmp_path) as router:
        async with legacy_worker(router.port, key) as first:
            await first.register()
            async with legacy_worker(router.port, key) as second:
                await second.register()
                assert await router.workers_online() == 2
                jobs = {await router.commit(), await router.commit()}
                served = {(await each.receive("job_assign"))["job_id"] for each in (first, second)}
                assert served == jobs
            async with asyncio.timeout(5):
                while await router.workers_online() != 1:
                    pass
            await first.hears_nothing()
        await no_workers(router)


async def test_a_heartbeat_speaks_for_the_socket_it_arrives_on(tmp_path: Path) -> None:
    """Of two sockets with one key, only the one that stays silent is dropped."""
    policy = msgspec.structs.replace(QUICK, heartbeat_timeout=DurationMs(600))
    key = SigningKey.generate()
    async with (
        coordinator(tmp_path, policy=policy) as router,
        legacy_worker(router.port, key) as silent,
        legacy_worker(router.port, key) as speaking,
    ):
        await silent.register()
        await speaking.register()
        dropped = asyncio.ensure_future(silent.closed())
        while not dropped.done():
            await speaking.hears_nothing()
        assert dropped.result() == 1008
        await speaking.hears_nothing()
        assert await router.workers_online() == 1


async def test_the_job_of_a_worker_that_exits_goes_to_another(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, legacy_worker(router.port) as second:
        async with legacy_worker(router.port) as first:
            await first.register()
            job_id = await router.commit()
            await first.receive("job_assign")
            await second.register()
        assert (await second.receive("job_assign"))["attempt"] == 2
        second.deliver(job_id)
        assert (await router.job(job_id, wait=5))["receipt"]["provider_pubkey"] == second.pubkey


async def test_a_phone_without_receipts_is_served_but_not_believed(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, legacy_worker(router.port) as phone:
        await phone.register(provider_type="SEEKER", capabilities=["TASK"])
        job_id = await router.commit()
        await phone.receive("job_assign")
        phone.deliver_without_receipt(job_id)
        job = await router.job(job_id, wait=5)
        assert (job["status"], job["result"]) == ("completed", json.loads(SUMMARY))
        assert job["receipt"] is None
        phone.submit_receipt(job_id)
        await stored(router, phone)
        receipt = (await router.job(job_id))["receipt"]
    assert receipt == json.loads(phone.receipt(job_id)) | {"signature": STUB_SIGNATURE, "verified": False}


async def test_a_late_receipt_with_a_true_signature_is_verified(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, legacy_worker(router.port) as phone:
        await phone.register()
        job_id = await router.commit()
        await phone.receive("job_assign")
        phone.deliver_without_receipt(job_id)
        await router.job(job_id, wait=5)
        phone.submit_receipt(job_id)
        phone.submit_receipt(job_id, phone.sign(phone.receipt(job_id)))
        await stored(router, phone)
        assert (await router.job(job_id))["receipt"]["verified"] is True


async def test_a_verified_receipt_is_not_replaced_by_a_stub(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, legacy_worker(router.port) as desktop:
        await desktop.register()
        job_id = await router.commit()
        await desktop.receive("job_assign")
        desktop.deliver(job_id)
        before = (await router.job(job_id, wait=5))["receipt"]
        desktop.submit_receipt(job_id)
        await stored(router, desktop)
        assert (await router.job(job_id))["receipt"] == before


async def test_an_error_sent_as_a_result_is_a_failed_attempt(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, legacy_worker(router.port) as broken:
        await broken.register()
        job_id = await router.commit()
        for attempt in (1, 2, 3):
            assert (await broken.receive("job_assign"))["attempt"] == attempt
            broken.report_own_error(job_id, "Ollama is not running")
        job = await router.job(job_id, wait=5)
    assert (job["status"], job["receipt"]) == ("failed", None)
    assert job["result"]["error"] == "attempts_exhausted"
    assert job["result"]["last_reason"] == "worker_error"
    assert job["result"]["detail"] == "Ollama is not running"


async def test_after_an_error_another_worker_is_tried_first(tmp_path: Path) -> None:
    async with (
        coordinator(tmp_path) as router,
        legacy_worker(router.port) as broken,
        worker(router.port) as sound,
    ):
        await broken.register()
        job_id = await router.commit()
        await broken.receive("job_assign")
        await sound.register(proven=True)
        broken.report_own_error(job_id, "no")
        await sound.serve(job_id)


async def test_an_output_with_an_error_beside_other_keys_is_a_result(tmp_path: Path) -> None:
    output = b'{"error":null,"summary":"x"}'
    async with coordinator(tmp_path) as router, legacy_worker(router.port) as desktop:
        await desktop.register()
        job_id = await router.commit()
        await desktop.receive("job_assign")
        desktop.deliver(job_id, output)
        assert (await router.job(job_id, wait=5))["result"] == json.loads(output)


async def test_a_worker_of_ours_may_answer_with_an_error_key(tmp_path: Path) -> None:
    """Ours have a frame for failures, so this is an output like any other."""
    async with coordinator(tmp_path) as router, worker(router.port) as ours:
        await ours.register(proven=True)
        job_id = await router.commit()
        await ours.serve(job_id, b'{"error":"the text that was asked for"}')
        assert (await router.job(job_id))["status"] == "completed"


async def no_workers(router: Coordinator) -> None:
    """Wait until the coordinator has seen every socket close."""
    async with asyncio.timeout(5):
        while await router.workers_online():
            pass


async def stored(router: Coordinator, client: LegacyWorker) -> None:
    """Wait until the frames that the worker sent have had their effect in the store."""
    await client.hears_nothing()
    await router.http.get("/v1/jobs/none")


async def test_a_phone_that_sends_result_and_receipt_in_one_breath_keeps_its_receipt(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, legacy_worker(router.port) as phone:
        await phone.register(provider_type="SEEKER", capabilities=["TASK"])
        job_id = await router.commit()
        await phone.receive("job_assign")
        phone.deliver_without_receipt(job_id)
        phone.submit_receipt(job_id)
        assert (await router.job(job_id, wait=5))["status"] == "completed"
        await stored(router, phone)
        receipt = (await router.job(job_id))["receipt"]
    assert receipt == json.loads(phone.receipt(job_id)) | {"signature": STUB_SIGNATURE, "verified": False}
