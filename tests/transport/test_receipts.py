"""Receipts that are handed out, countersigned; and wrong ones that are refused, over the wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nacl.signing import SigningKey

from compute_router.protocol.countersigning import decode_statement
from compute_router.protocol.receipts import (
    SignedReceipt,
    sha256_hex,
    verify_receipt,
    verify_signature,
)
from tests.transport.harness import COUNTERSIGNER, NETWORK, QUICK, TASK, Coordinator, coordinator
from tests.transport.worker_client import SUMMARY, WorkerClient, worker

PAYLOAD = b'{"task_type" : "summarize", "input":"caf\\u00e9"}'
BODY = b'{"job_type":"TASK","user_id":"alice","payload":' + PAYLOAD + b"}"
OUTPUTS = [SUMMARY, b'{"x":1.0e5, "y":-0.0}', '{"text":"日本\\u00e9"}'.encode()]


async def receipt(router: Coordinator, job_id: str) -> dict[str, Any]:
    """The document about a completed job, with every promise about it kept."""
    answer = await router.http.get(f"/v1/receipts/{job_id}")
    assert answer.status_code == 200, answer.text
    document = dict(answer.json())
    assert list(document) == [
        "job_id",
        "network",
        "receipt",
        "signature",
        "provider_pubkey",
        "verified",
        "statement",
        "coordinator_signature",
        "coordinator_pubkey",
    ]
    assert (document["job_id"], document["network"]) == (job_id, NETWORK.caip2)
    assert document["coordinator_pubkey"] == COUNTERSIGNER.pubkey
    verify_signature(COUNTERSIGNER.pubkey, document["statement"].encode(), document["coordinator_signature"])
    statement = decode_statement(document["statement"])
    assert (statement.job_id, statement.network) == (job_id, NETWORK.caip2)
    assert (statement.signature, statement.verified) == (document["signature"], document["verified"])
    text = document["receipt"]
    assert statement.receipt_hash == (None if text is None else sha256_hex(text.encode()))
    assert statement.completed_at == (await router.job(job_id))["completed_at"]
    return document


async def commit_raw(router: Coordinator) -> str:
    """Commit a job whose payload another encoder would write otherwise."""
    headers = {"Content-Type": "application/json"}
    answer = await router.http.post("/v1/jobs/commit/cheap", content=BODY, headers=headers)
    return str(answer.json()["job_id"])


def long_receipt(client: WorkerClient, job_id: str, output: bytes = SUMMARY, /, **changes: Any) -> bytes:
    """A receipt that also names request, model and attempt."""
    more = {"request_hash": sha256_hex(PAYLOAD), "model": None, "model_digest": None, "attempt": 1}
    return client.receipt(job_id, output, **(more | changes))


@pytest.mark.parametrize("output", OUTPUTS)
async def test_a_receipt_is_handed_out_as_the_very_text_that_was_signed(
    tmp_path: Path, output: bytes
) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        job_id = await commit_raw(router)
        await client.receive("job_assign")
        text = long_receipt(client, job_id, output)
        ack = await client.ask(client.completion(job_id, output, text, attempt=1))
        assert ack["status"] == "accepted", ack
        document = await receipt(router, job_id)
    assert document["receipt"].encode() == text
    assert (document["provider_pubkey"], document["verified"]) == (client.pubkey, True)
    signed = SignedReceipt(text, document["signature"])
    verify_receipt(signed, job_id=job_id, output_json=output, request_hash=sha256_hex(PAYLOAD), attempt=1)
    assert decode_statement(document["statement"]).output_hash == sha256_hex(output)


async def test_the_statement_about_a_job_is_the_same_each_time(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        job_id = await router.commit()
        await client.serve(job_id)
        first = await receipt(router, job_id)
        assert await receipt(router, job_id) == first
    async with coordinator(tmp_path) as router:
        assert await receipt(router, job_id) == first


async def test_a_result_without_receipt_is_countersigned_as_unverified(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as phone:
        await phone.register()
        job_id = await router.commit()
        await phone.receive("job_assign")
        bare = {"type": "job_complete", "job_id": job_id, "output_hash": sha256_hex(SUMMARY)}
        assert (await phone.ask(bare | {"output": json.loads(SUMMARY)}))["status"] == "rejected", "spaces"
        assert (await phone.receive("job_assign"))["attempt"] == 2
        compact = json.dumps(bare)[:-1].encode() + b',"output":' + SUMMARY + b"}"
        assert (await phone.ask(compact))["status"] == "accepted"
        assert (await router.job(job_id))["receipt"] is None
        document = await receipt(router, job_id)
    assert (document["receipt"], document["signature"], document["verified"]) == (None, None, False)
    assert document["provider_pubkey"] == phone.pubkey


async def test_a_stub_signature_is_handed_out_as_unverified(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as phone:
        await phone.register()
        job_id = await router.commit()
        await phone.receive("job_assign")
        bare = json.dumps({"type": "job_complete", "job_id": job_id, "output_hash": sha256_hex(SUMMARY)})
        await phone.ask(bare[:-1].encode() + b',"output":' + SUMMARY + b"}")
        stub = {"type": "receipt_submit", "receipt": json.loads(phone.receipt(job_id)), "signature": "stub"}
        phone.send(stub)
        await phone.hears_nothing()
        document = await receipt(router, job_id)
    assert (document["signature"], document["verified"]) == ("stub", False)


async def test_there_is_no_receipt_of_a_job_that_is_unknown_or_not_completed(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        answer = await router.http.get("/v1/receipts/nobodys")
        assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
        job_id = await router.commit()
        for status in ("pending", "cancelled"):
            if status == "cancelled":
                await router.http.delete(f"/v1/jobs/{job_id}")
            answer = await router.http.get(f"/v1/receipts/{job_id}")
            assert (answer.status_code, answer.json()["error"]) == (409, "job_unfinished")
            assert status in answer.json()["message"]


async def test_anybody_can_learn_the_coordinators_public_key(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        answer = await router.http.get("/.well-known/compute-router")
    assert answer.json() == {
        "network": NETWORK.caip2,
        "coordinator_pubkey": COUNTERSIGNER.pubkey,
        "countersign": "v1",
        "receipts": "v2",
    }


# What proven workers get wrong


def forged(client: WorkerClient, job_id: str) -> bytes:
    text = long_receipt(client, job_id)
    return client.completion(job_id, SUMMARY, text, receipt_signature=client.sign(b"something else"))


def swapped(client: WorkerClient, job_id: str) -> bytes:
    other = b'{"summary":"Another text.","word_count":2}'
    return client.completion(job_id, other, long_receipt(client, job_id), output_hash=sha256_hex(other))


def reordered(client: WorkerClient, job_id: str) -> bytes:
    text = long_receipt(client, job_id)
    fields = dict(reversed(json.loads(text).items()))
    again = json.dumps(fields, separators=(",", ":")).encode()
    return client.completion(job_id, SUMMARY, again, receipt_signature=client.sign(text))


def encoded_again(client: WorkerClient, job_id: str) -> bytes:
    text = long_receipt(client, job_id)
    return client.completion(job_id, SUMMARY, msgspec.json.format(text), receipt_signature=client.sign(text))


def for_another_job(client: WorkerClient, job_id: str) -> bytes:
    return client.completion(job_id, SUMMARY, long_receipt(client, "another"))


def for_another_key(client: WorkerClient, job_id: str) -> bytes:
    return client.completion(job_id, SUMMARY, long_receipt(client, job_id, provider_pubkey="a" * 64))


def for_another_attempt(client: WorkerClient, job_id: str) -> bytes:
    return client.completion(job_id, SUMMARY, long_receipt(client, job_id, attempt=2))


def for_another_request(client: WorkerClient, job_id: str) -> bytes:
    return client.completion(job_id, SUMMARY, long_receipt(client, job_id, request_hash="0" * 64))


def without_a_signature(client: WorkerClient, job_id: str) -> bytes:
    return client.completion(job_id, SUMMARY, receipt_signature=None)


WRONG: dict[Callable[[WorkerClient, str], bytes], str] = {
    forged: "bad_signature",
    swapped: "output_hash_mismatch",
    reordered: "bad_signature",
    encoded_again: "bad_signature",
    for_another_job: "receipt_job_mismatch",
    for_another_key: "receipt_key_mismatch",
    for_another_attempt: "receipt_attempt_mismatch",
    for_another_request: "request_hash_mismatch",
    without_a_signature: "receipt_malformed",
}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
async def test_a_wrong_proof_of_a_proven_worker_costs_it_the_attempt_and_is_kept(
    tmp_path: Path, wrong: Callable[[WorkerClient, str], bytes]
) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        job_id = await commit_raw(router)
        await client.receive("job_assign")
        ack = await client.ask(wrong(client, job_id))
        assert (ack["type"], ack["status"]) == ("job_ack", "rejected")
        assert ack["reason"].startswith(f"{WRONG[wrong]}: ")
        assert (await client.receive("job_assign"))["attempt"] == 2
        kept = router.query("SELECT job_id, attempt, worker_pubkey, reason FROM evidence")
        assert kept == [(job_id, 1, client.pubkey, WRONG[wrong])]
        assert router.count("receipts") == 0


@pytest.mark.parametrize("wrong", [for_another_job, for_another_key, without_a_signature])
async def test_the_same_slips_of_a_worker_without_proof_change_nothing(
    tmp_path: Path, wrong: Callable[[WorkerClient, str], bytes]
) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register()
        job_id = await commit_raw(router)
        await client.receive("job_assign")
        assert (await client.ask(wrong(client, job_id)))["type"] == "error"
        assert (await router.job(job_id))["status"] == "assigned"
        assert router.count("evidence") == 0


async def test_a_completion_from_another_socket_is_not_taken_and_no_evidence(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as holder:
        await holder.register(proven=True)
        job_id = await router.commit()
        await holder.receive("job_assign")
        async with worker(router.port) as stranger, worker(router.port, holder.key) as copy:
            await stranger.register(proven=True)
            for frame in (stranger.completion(job_id), holder.completion(job_id), forged(stranger, job_id)):
                ack = await stranger.ask(frame)
                assert (ack["type"], ack["status"]) == ("job_ack", "stale")
            assert (await copy.ask(holder.completion(job_id)))["type"] == "error", "it did not register"
        assert router.count("evidence") == 0
        assert (await holder.ask(holder.completion(job_id)))["status"] == "accepted"


async def test_where_receipts_are_required_a_result_without_one_ends_the_attempt(tmp_path: Path) -> None:
    policy = msgspec.structs.replace(QUICK, require_receipts=True, max_failures=1)
    async with coordinator(tmp_path, policy=policy) as router, worker(router.port) as phone:
        await phone.register()
        job_id = await router.commit()
        await phone.receive("job_assign")
        bare = json.dumps({"type": "job_complete", "job_id": job_id, "output_hash": sha256_hex(SUMMARY)})
        ack = await phone.ask(bare[:-1].encode() + b',"output":' + SUMMARY + b"}")
        assert (ack["status"], ack["reason"].partition(":")[0]) == ("rejected", "receipt_missing")
        job = await router.job(job_id, wait=5)
        assert (job["status"], job["result"]["last_reason"]) == ("failed", "receipt_invalid")
        second = await router.commit()
        await phone.serve(second)


async def test_many_receipts_can_be_asked_for_at_once(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port, SigningKey(b"m" * 32)) as client:
        await client.register(proven=True)
        jobs = [await router.commit() for _ in range(5)]
        for job_id in jobs:
            await client.serve(job_id)
        documents = await asyncio.gather(*(receipt(router, job_id) for job_id in jobs))
    assert [document["job_id"] for document in documents] == jobs
    assert TASK["user_id"] not in json.dumps(documents)
