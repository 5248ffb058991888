"""What becomes of results: who may deliver, what is believed, and what is tried again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from compute_router.protocol.units import DurationMs
from tests.transport.harness import LLM, QUICK, coordinator
from tests.transport.worker_client import SUMMARY, worker

OTHER = b'{"summary":"Something else.","word_count":2}'


async def test_a_result_for_an_unknown_job_is_refused(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register()
        answer = await client.ask(client.completion("no-such-job"))
        assert (answer["type"], answer["code"]) == ("error", "UNKNOWN_JOB")
        assert router.count("jobs") == router.count("receipts") == 0


async def test_a_receipt_for_an_unknown_or_unfinished_job_is_refused(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register()
        job_id = await router.commit()
        await client.receive("job_assign")
        for named in ("no-such-job", job_id):
            receipt = client.receipt(named)
            frame = {
                "type": "receipt_submit",
                "receipt": json.loads(receipt),
                "signature": client.sign(receipt),
            }
            answer = await client.ask(frame)
            assert (answer["type"], answer["code"]) == ("error", "UNKNOWN_JOB")
        assert router.count("receipts") == 0


@pytest.mark.parametrize(
    "receipt", [None, 5, "text", [], {}, {"job_id": 5}, {"job_id": "j", "provider_pubkey": "x"}]
)
async def test_a_receipt_of_the_wrong_form_is_refused(tmp_path: Path, receipt: Any) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register()
        answer = await client.ask({"type": "receipt_submit", "receipt": receipt, "signature": "s"})
        assert (answer["type"], answer["code"]) == ("error", "RECEIPT_MALFORMED")
        assert router.count("receipts") == 0


async def test_a_receipt_for_the_job_of_another_is_refused(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as one, worker(router.port) as other:
        await one.register(proven=True)
        job_id = await router.commit()
        await one.serve(job_id)
        before = (await router.job(job_id))["receipt"]
        await other.register(proven=True)
        for forged in (other.receipt(job_id), one.receipt(job_id)):
            signature = other.sign(forged)
            frame = {"type": "receipt_submit", "receipt": json.loads(forged), "signature": signature}
            assert (await other.ask(frame))["code"] == "RECEIPT_MISMATCH"
        assert (await router.job(job_id))["receipt"] == before


@pytest.mark.parametrize(
    "change",
    [{"job_id": "another"}, {"provider_pubkey": "a" * 64}, {"output_hash": "short"}, {"completed_at": "now"}],
)
async def test_a_result_whose_receipt_is_about_something_else_changes_nothing(
    tmp_path: Path, change: dict[str, str]
) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register()
        job_id = await router.commit()
        await client.receive("job_assign")
        answer = await client.ask(client.completion(job_id, receipt=client.receipt(job_id, **change)))
        assert (answer["type"], answer["code"]) == ("error", "RECEIPT_MISMATCH")
        assert (await router.job(job_id))["status"] == "assigned"
        assert (await client.ask(client.completion(job_id)))["status"] == "accepted"


async def test_a_result_for_the_job_of_another_socket_is_stale(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as holder, worker(router.port) as thief:
        await holder.register()
        job_id = await router.commit()
        await holder.receive("job_assign")
        await thief.register(proven=True)
        ack = await thief.ask(thief.completion(job_id, OTHER))
        assert (ack["type"], ack["status"]) == ("job_ack", "stale")
        assert (await router.job(job_id))["status"] == "assigned"
        await holder.ask(holder.completion(job_id))
        assert (await router.job(job_id))["result"] == json.loads(SUMMARY)


async def test_the_key_alone_is_no_right_to_the_job_of_another_socket(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as holder:
        await holder.register()
        job_id = await router.commit()
        await holder.receive("job_assign")
        async with worker(router.port, holder.key) as copy:
            await copy.register()
            ack = await copy.ask(copy.completion(job_id))
            assert (ack["type"], ack["status"]) == ("job_ack", "stale")
        assert (await router.job(job_id))["status"] == "assigned"


async def test_the_same_result_twice_is_accepted_twice_and_kept_once(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register()
        job_id = await router.commit()
        await client.serve(job_id)
        first = await router.job(job_id)
        assert (await client.ask(client.completion(job_id)))["status"] == "accepted"
        assert (await client.ask(client.completion(job_id, OTHER)))["status"] in ("accepted", "stale")
        assert await router.job(job_id) == first
        assert router.count("receipts") == 1


async def test_two_results_in_one_breath_are_kept_once(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register()
        job_id = await router.commit()
        await client.receive("job_assign")
        client.send(client.completion(job_id))
        client.send(client.completion(job_id, OTHER))
        acks = [await client.receive("job_ack"), await client.receive("job_ack")]
        assert acks[0]["status"] == "accepted"
        assert (await router.job(job_id))["result"] == json.loads(SUMMARY)
        assert router.count("receipts") == 1


async def test_a_result_after_the_lease_ran_out_is_stale(tmp_path: Path) -> None:
    policy = msgspec.structs.replace(QUICK, task_lease=DurationMs(500))
    async with (
        coordinator(tmp_path, policy=policy) as router,
        worker(router.port) as slow,
        worker(router.port) as next_one,
    ):
        await slow.register(proven=True)
        job_id = await router.commit()
        await slow.receive("job_assign")
        slow.send({"type": "job_started", "job_id": job_id, "attempt": 1})
        await next_one.register(proven=True)
        assert (await next_one.receive("job_assign"))["attempt"] == 2
        stop = await slow.receive("job_cancel")
        assert (stop["job_id"], stop["attempt"]) == (job_id, 1)
        ack = await slow.ask(slow.completion(job_id, attempt=1))
        assert (ack["type"], ack["status"]) == ("job_ack", "stale")
        assert (await next_one.ask(next_one.completion(job_id, OTHER)))["status"] == "accepted"
        assert (await router.job(job_id))["receipt"]["provider_pubkey"] == next_one.pubkey
        assert (await slow.ask(slow.completion(job_id, attempt=1)))["status"] == "stale"


async def test_a_result_of_another_attempt_is_stale(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register()
        job_id = await router.commit()
        await client.receive("job_assign")
        assert (await client.ask(client.completion(job_id, attempt=2)))["status"] == "stale"
        assert (await client.ask(client.completion(job_id, attempt=1)))["status"] == "accepted"


@pytest.mark.parametrize(
    "lie", ["hash of the frame", "hash of the receipt", "signature", "signature of another"]
)
async def test_a_result_that_is_not_proven_is_rejected_and_tried_elsewhere(tmp_path: Path, lie: str) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as liar, worker(router.port) as honest:
        await liar.register(proven=True)
        job_id = await router.commit()
        await liar.receive("job_assign")
        await honest.register(proven=True)
        if lie == "hash of the frame":
            frame = {"type": "job_complete", "job_id": job_id, "output": {}, "output_hash": "0" * 64}
            ack = await liar.ask(frame)
        elif lie == "hash of the receipt":
            ack = await liar.ask(liar.completion(job_id, receipt=liar.receipt(job_id, OTHER)))
        elif lie == "signature":
            ack = await liar.ask(liar.completion(job_id, receipt_signature=liar.sign(b"something else")))
        else:
            forged = honest.sign(liar.receipt(job_id))
            ack = await liar.ask(liar.completion(job_id, receipt_signature=forged))
        assert (ack["type"], ack["status"], ack["attempt"]) == ("job_ack", "rejected", 1)
        assert ack["reason"]
        assert (await honest.receive("job_assign"))["attempt"] == 2
        assert (await router.job(job_id))["result"] is None
        assert (await honest.ask(honest.completion(job_id)))["status"] == "accepted"


async def test_three_unproven_results_end_the_job(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as liar:
        await liar.register(proven=True)
        job_id = await router.commit()
        for attempt in (1, 2, 3):
            assert (await liar.receive("job_assign"))["attempt"] == attempt
            lie = liar.completion(job_id, receipt_signature=liar.sign(b""))
            assert (await liar.ask(lie))["status"] == "rejected"
        job = await router.job(job_id, wait=5)
        assert (job["status"], job["result"]["error"]) == ("failed", "attempts_exhausted")
        assert job["result"]["last_reason"] == "receipt_invalid"
        assert router.count("receipts") == 0


async def test_a_rejected_job_goes_to_another_worker(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as first, worker(router.port) as second:
        await first.register(proven=True)
        job_id = await router.commit(**LLM)
        await first.receive("job_assign")
        await second.register(proven=True)
        first.send({"type": "job_reject", "job_id": job_id, "reason": "busy"})
        assert (await second.receive("job_assign"))["attempt"] == 2


async def test_a_failure_that_no_worker_could_avoid_ends_the_job(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        job_id = await router.commit()
        await client.receive("job_assign")
        failed = {
            "type": "job_failed",
            "job_id": job_id,
            "attempt": 1,
            "code": "input_empty",
            "message": "No text.",
        }
        client.send(failed | {"retryable": False})
        job = await router.job(job_id, wait=5)
    assert job["status"] == "failed"
    assert (job["result"]["error"], job["result"]["detail"]) == ("worker_error", "input_empty: No text.")


async def test_a_started_job_is_running(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        job_id = await router.commit()
        await client.receive("job_assign")
        client.send({"type": "job_started", "job_id": job_id, "attempt": 1})
        await client.hears_nothing()
        assert (await router.job(job_id))["status"] == "running"


async def test_a_worker_of_ours_that_returns_delivers_what_it_held(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        async with worker(router.port) as before:
            await before.register(proven=True)
            job_id = await router.commit()
            await before.receive("job_assign")
        async with worker(router.port, before.key) as after:
            held = [{"job_id": job_id, "attempt": 1}]
            await after.register(proven=True, active_jobs=held)
            assert (await after.ask(after.completion(job_id, attempt=1)))["status"] == "accepted"
        assert (await router.job(job_id))["receipt"]["verified"] is True


async def test_jobs_nobody_can_run_fail_when_their_wait_is_over(tmp_path: Path) -> None:
    policy = msgspec.structs.replace(QUICK, queue_window=DurationMs(50))
    async with coordinator(tmp_path, policy=policy) as router, worker(router.port) as phone:
        await phone.register(capabilities=["TASK"])
        job = await router.job(await router.commit(**LLM), wait=5)
    assert (job["status"], job["result"]["error"]) == ("failed", "no_eligible_worker")
    assert job["completed_at"] is not None
    assert job["receipt"] is None
