"""``Idempotency-Key``: a commit that is repeated makes no second job."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from compute_router.protocol.units import DurationMs
from tests.transport.disks import Disk
from tests.transport.harness import QUICK, TASK, Coordinator, coordinator
from tests.transport.raw_http import connect, request
from tests.transport.worker_client import worker

COMMIT = "/v1/jobs/commit/cheap"
BODY = json.dumps(TASK).encode()
PRIVATE = TASK | {"privacy_class": "PRIVATE"}


async def commit(
    router: Coordinator, key: str = "key", body: dict[str, Any] = TASK, tier: str = "cheap"
) -> httpx.Response:
    return await router.http.post(f"/v1/jobs/commit/{tier}", json=body, headers={"Idempotency-Key": key})


def job_of(answer: httpx.Response) -> str:
    assert answer.status_code == 201, answer.text
    return str(answer.json()["job_id"])


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, str(answer.json()["error"])


async def test_the_same_commit_again_is_the_same_job(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        first, again = await commit(router), await commit(router)
        assert job_of(first) == job_of(again)
        assert router.count("jobs") == 1


async def test_answers_say_that_keys_are_supported_and_which_was_used(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        for answer in (await commit(router, "a-key"), await commit(router, "a-key")):
            assert answer.headers["idempotency-supported"] == "true"
            assert answer.headers["idempotency-key"] == "a-key"
        without = await router.http.post(COMMIT, json=TASK)
        assert without.headers["idempotency-supported"] == "true"
        assert "idempotency-key" not in without.headers
        quote = await router.http.get("/v1/quote?job_type=TASK")
        assert quote.headers["idempotency-supported"] == "true"


async def test_without_a_key_each_commit_is_a_job(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        assert await router.commit() != await router.commit()


async def test_another_body_or_tier_under_the_same_key_is_a_conflict(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        job_of(await commit(router))
        other = TASK | {"payload": {"task_type": "summarize", "input": "Another text."}}
        for answer in (
            await commit(router, body=other),
            await commit(router, body=TASK | {"ttl_s": 20}),
            await commit(router, tier="fast"),
        ):
            assert told(answer) == (409, "idempotency_conflict")
        assert router.count("jobs") == 1


async def test_a_key_is_of_one_user(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        jobs = {job_of(await commit(router, body=TASK | {"user_id": user})) for user in ("alice", "bob")}
        assert len(jobs) == 2


async def test_a_repeated_commit_is_answered_however_far_the_job_is(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        job_id = job_of(await commit(router))
        assignment = await client.receive("job_assign")
        assert job_of(await commit(router)) == job_id
        client.send(client.completion(assignment["job_id"]))
        assert (await router.job(job_id, wait=10))["status"] == "completed"
        assert job_of(await commit(router)) == job_id
        await client.receive("job_ack")
        await client.hears_nothing()


async def test_a_cancelled_job_is_not_brought_back_by_its_key(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        job_id = job_of(await commit(router))
        await router.http.delete(f"/v1/jobs/{job_id}")
        assert job_of(await commit(router)) == job_id
        assert (await router.job(job_id))["status"] == "cancelled"


async def test_fifty_at_once_are_one_job_and_take_one_place(tmp_path: Path) -> None:
    policy = msgspec.structs.replace(QUICK, max_jobs_per_user=51)
    async with coordinator(tmp_path, policy=policy) as router, worker(router.port) as client:
        answers = await asyncio.gather(*(commit(router) for _ in range(50)))
        assert len({job_of(answer) for answer in answers}) == 1
        assert router.count("jobs") == 1
        for _ in range(50):
            await router.commit()
        assert told(await router.http.post(COMMIT, json=TASK)) == (429, "user_queue_full")
        await client.register(proven=True)
        assert (await client.receive("job_assign"))["job_id"] == job_of(answers[0])


async def test_fifty_at_once_with_two_bodies_are_one_job_and_conflicts(tmp_path: Path) -> None:
    other = TASK | {"ttl_s": 20}
    async with coordinator(tmp_path) as router:
        answers = await asyncio.gather(*(commit(router, body=(TASK, other)[n % 2]) for n in range(50)))
        assert sorted(answer.status_code for answer in answers) == [201] * 25 + [409] * 25
        assert router.count("jobs") == 1


BAD_KEYS = [b"", b" ", b"a b", b"a\tb", b"k" * 256, "schl\u00fcssel".encode("latin-1"), b"k\x7f", b"k\x01"]


@pytest.mark.parametrize("key", BAD_KEYS)
async def test_a_key_that_is_none_is_refused_and_nothing_is_stored(tmp_path: Path, key: bytes) -> None:
    async with coordinator(tmp_path) as router, connect(router.port) as connection:
        named = request(
            "POST", COMMIT, BODY, Content_Type="application/json", Idempotency_Key=key.decode("latin-1")
        )
        connection.send(named)
        assert (await connection.answer()).status == 400
        assert router.count("jobs") == 0


async def test_two_keys_are_refused(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, connect(router.port) as connection:
        twice = request("POST", COMMIT, BODY, Content_Type="application/json", Idempotency_Key="a")
        connection.send(twice.replace(b"Idempotency-Key: a\r\n", b"Idempotency-Key: a\r\n" * 2))
        answer = await connection.answer()
        assert (answer.status, answer.json()["error"]) == (400, "invalid_request")
        assert router.count("jobs") == 0


@pytest.mark.parametrize("key", ["k" * 255, "!", '"quoted"', "~{}[]:;,/?"])
async def test_any_visible_ascii_text_is_a_key(tmp_path: Path, key: str) -> None:
    async with coordinator(tmp_path) as router:
        assert job_of(await commit(router, key)) == job_of(await commit(router, key))


async def test_a_refused_commit_does_not_use_its_key_up(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        assert told(await commit(router, body=TASK | {"job_type": "DANCE"})) == (400, "invalid_request")
        job_of(await commit(router))


async def test_a_refusal_for_want_of_a_trusted_worker_is_repeated(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        first = await commit(router, body=PRIVATE)
        assert told(first) == (422, "no_trusted_worker")
        await client.register(proven=True)
        await router.pair("alice", client.pubkey)
        again = await commit(router, body=PRIVATE)
        assert (again.status_code, again.json()) == (422, first.json())
        assert router.count("jobs") == 1
        job_of(await commit(router, "another-key", body=PRIVATE))


async def test_a_private_job_that_failed_later_is_not_taken_for_a_refused_one(tmp_path: Path) -> None:
    policy = msgspec.structs.replace(QUICK, queue_window=QUICK.sweep_interval)
    async with coordinator(tmp_path, policy=policy) as router, worker(router.port) as client:
        await client.register(proven=True)
        await router.pair("alice", client.pubkey)
        job_id = job_of(await commit(router, body=PRIVATE))
        await client.receive("job_assign")
        failed = {"type": "job_failed", "job_id": job_id, "attempt": 1, "code": "c", "message": "m"}
        client.send(failed | {"retryable": False})
        assert (await router.job(job_id, wait=10))["status"] == "failed"
        assert job_of(await commit(router, body=PRIVATE)) == job_id


async def test_a_private_job_that_waited_in_vain_for_its_worker_is_not_taken_for_a_refused_one(
    tmp_path: Path,
) -> None:
    policy = msgspec.structs.replace(QUICK, reconnect_grace=DurationMs(1))
    async with coordinator(tmp_path, policy=policy) as router, worker(router.port) as client:
        await client.register(proven=True)
        await router.pair("alice", client.pubkey)
        job_id = job_of(await commit(router, body=PRIVATE | {"ttl_s": 20}))
        await client.receive("job_assign")
        # The slot is taken, so the second job waits; its worker leaves before its turn.
        waiting = job_of(await commit(router, "second", body=PRIVATE | {"ttl_s": 0.3}))
        client.socket.abort()
        result = (await router.job(waiting, wait=10))["result"]
        assert result["error"] == "no_trusted_worker"
        assert job_of(await commit(router, "second", body=PRIVATE | {"ttl_s": 0.3})) == waiting
        assert job_of(await commit(router, body=PRIVATE | {"ttl_s": 20})) == job_id


async def test_a_repeated_commit_needs_no_place_and_a_new_one_does(tmp_path: Path) -> None:
    policy = msgspec.structs.replace(QUICK, max_jobs_per_user=1, max_jobs=2)
    async with coordinator(tmp_path, policy=policy) as router:
        job_id = job_of(await commit(router))
        assert job_of(await commit(router)) == job_id
        assert told(await commit(router, "new")) == (429, "user_queue_full")
        assert told(await commit(router, body=TASK | {"ttl_s": 20})) == (409, "idempotency_conflict")
        await router.commit(user_id="bob")
        assert job_of(await commit(router)) == job_id
        assert told(await commit(router, body=TASK | {"user_id": "carol"})) == (503, "queue_full")


async def test_a_commit_that_the_disk_did_not_take_may_be_repeated(tmp_path: Path) -> None:
    disk = Disk()
    async with coordinator(tmp_path, disk=disk) as router:
        disk.full = True
        for _ in range(3):
            assert told(await commit(router)) == (503, "storage_unavailable")
        disk.full = False
        while await router.problems():
            pass
        assert job_of(await commit(router)) == job_of(await commit(router))
        assert router.count("jobs") == 1


async def test_a_refused_private_commit_is_refused_again_though_the_disk_failed_in_between(
    tmp_path: Path,
) -> None:
    """The job is stored, the disk fails, and its end cannot be stored until the disk is well again."""
    disk = Disk()
    async with coordinator(tmp_path, disk=disk) as router:
        disk.fail_after(1)
        assert told(await commit(router, body=PRIVATE)) == (503, "storage_unavailable")
        disk.full = False
        while await router.problems():
            pass
        assert told(await commit(router, body=PRIVATE)) == (422, "no_trusted_worker")
        ((status,),) = router.query("SELECT status FROM jobs")
        assert status == "failed"


async def test_a_client_that_leaves_in_the_middle_may_repeat_its_commit(tmp_path: Path) -> None:
    disk = Disk()
    async with coordinator(tmp_path, disk=disk) as router, worker(router.port) as client:
        await client.register(proven=True)
        disk.stall()
        async with connect(router.port) as connection:
            keyed = request("POST", COMMIT, BODY, Content_Type="application/json", Idempotency_Key="key")
            connection.send(keyed)
            await disk.stalled()
            connection.abort()
        disk.go_on()
        job_id = (await client.receive("job_assign"))["job_id"]
        # The very bytes of the body belong to the request.
        again = await router.http.post(
            COMMIT, content=BODY, headers={"Idempotency-Key": "key", "Content-Type": "application/json"}
        )
        assert job_of(again) == job_id
        assert router.count("jobs") == 1
