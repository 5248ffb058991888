"""Sealed jobs at the coordinator: their form is checked, they go to recipients alone, nothing is opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from nacl.public import PrivateKey
from nacl.signing import SigningKey

from compute_router.protocol.jobs import JobType
from compute_router.protocol.receipts import public_key_hex
from compute_router.protocol.sealing import SealBinding, find_sealed, open_payload, seal_payload, seal_result
from tests.transport.harness import NETWORK, Coordinator, coordinator
from tests.transport.worker_client import WorkerClient, worker

KEY = SigningKey(b"w" * 32)
OTHER = SigningKey(b"o" * 32)
REPLY_TO = PrivateKey(b"r" * 32).public_key.encode().hex()
SECRET = "tangerine dream"
SEALS: dict[str, Any] = {"features": ["sealed/v1"]}


def sealed(*keys: SigningKey, job_type: JobType = JobType.TASK, max_tokens: int | None = None) -> bytes:
    """A payload sealed to these workers."""
    plain: dict[str, Any] = {"task_type": "classify", "input": SECRET}
    if job_type is JobType.LLM_INFER:
        plain = {"prompt": SECRET} | ({} if max_tokens is None else {"max_tokens": max_tokens})
    binding = SealBinding(NETWORK.caip2, job_type, "alice", None)
    return seal_payload(json.dumps(plain).encode(), binding, [public_key_hex(key) for key in keys], REPLY_TO)


def body(payload: bytes, job_type: str = "TASK", privacy_class: str = "PRIVATE") -> bytes:
    """A commit whose payload goes out byte for byte."""
    head = {"job_type": job_type, "user_id": "alice", "privacy_class": privacy_class}
    return json.dumps(head)[:-1].encode() + b',"payload":' + payload + b"}"


async def post(router: Coordinator, content: bytes, tier: str = "cheap") -> httpx.Response:
    return await router.http.post(
        f"/v1/jobs/commit/{tier}", content=content, headers={"Content-Type": "application/json"}
    )


async def accepted(router: Coordinator, content: bytes) -> str:
    answer = await post(router, content)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["job_id"])


async def own_worker(router: Coordinator, client: WorkerClient, **fields: Any) -> None:
    """A proven worker that opens seals, paired with alice."""
    await client.register(proven=True, **(SEALS | fields))
    await router.pair("alice", client.pubkey)


async def test_the_payload_reaches_a_recipient_byte_for_byte_and_the_sealed_result_the_seeker(
    tmp_path: Path,
) -> None:
    async with coordinator(tmp_path) as router, worker(router.port, KEY) as own:
        await own_worker(router, own)
        payload = sealed(KEY)
        job_id = await accepted(router, body(payload))
        assignment = await own.receive("job_assign")
        assert json.dumps(assignment["payload"], separators=(",", ":")).encode() == payload
        found = find_sealed(JobType.TASK, payload)
        assert found is not None
        binding = SealBinding(NETWORK.caip2, JobType.TASK, assignment["user_id"], assignment.get("model"))
        assert json.loads(open_payload(found, binding, KEY))["input"] == SECRET
        output = seal_result(b'{"sentiment":"positive","confidence":1}', REPLY_TO)
        assert (await own.ask(own.completion(job_id, output)))["status"] == "accepted"
        answer = await router.http.get(f"/v1/jobs/{job_id}")
        assert output in answer.content
        assert answer.json()["receipt"]["verified"] is True


async def test_the_quote_says_that_payloads_may_be_sealed(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        quote = await router.http.get("/v1/quote", params={"job_type": "TASK"})
        assert quote.headers["Sealed-Payloads"] == "v1"


@pytest.mark.parametrize("job_type", JobType)
async def test_a_public_job_is_never_sealed(tmp_path: Path, job_type: JobType) -> None:
    async with coordinator(tmp_path) as router:
        content = body(sealed(KEY, job_type=job_type), job_type.value, privacy_class="PUBLIC")
        answer = await post(router, content)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
        assert router.count("jobs") == 0


def changed(**changes: Any) -> bytes:
    payload: dict[str, Any] = json.loads(sealed(KEY))
    return json.dumps(payload | changes).encode()


@pytest.mark.parametrize(
    "payload",
    [
        changed(sealed="v2"),
        changed(sealed=None),
        changed(task_type="classify", input="in the clear as well"),
        changed(keys={}),
        changed(keys={f"{number:064x}": "A" * 107 + "=" for number in range(65)}),
        changed(keys={"nobody": "A" * 107 + "="}),
        changed(reply_to="nobody"),
        changed(ciphertext=""),
        changed(ciphertext=7),
        changed(max_tokens=5),
        b'{"sealed":"v1"}',
    ],
)
async def test_a_malformed_sealed_payload_is_refused_and_nothing_is_stored(
    tmp_path: Path, payload: bytes
) -> None:
    async with coordinator(tmp_path) as router:
        answer = await post(router, body(payload))
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
        assert router.count("jobs") == 0


async def test_the_lease_follows_the_visible_limit_of_tokens(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port, KEY) as own:
        await own_worker(router, own, slots=2)
        leases = []
        for max_tokens in (10, 10_000):
            payload = sealed(KEY, job_type=JobType.LLM_INFER, max_tokens=max_tokens)
            await accepted(router, body(payload, "LLM_INFER"))
            leases.append((await own.receive("job_assign"))["deadline_ms"])
        assert leases[1] - leases[0] == 50 * (10_000 - 10)


async def test_a_paired_worker_that_is_no_recipient_does_not_get_it(tmp_path: Path) -> None:
    async with (
        coordinator(tmp_path) as router,
        worker(router.port, KEY) as own,
        worker(router.port, OTHER) as other,
    ):
        await own_worker(router, own)
        await own_worker(router, other)
        job_id = await accepted(router, body(sealed(OTHER)))
        assert (await other.receive("job_assign"))["job_id"] == job_id
        await own.hears_nothing()


@pytest.mark.parametrize("fields", [{"features": []}, {"features": ["sealed/v2"]}])
async def test_a_worker_that_does_not_open_seals_does_not_count(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    async with coordinator(tmp_path) as router, worker(router.port, KEY) as own:
        await own_worker(router, own, **fields)
        answer = await post(router, body(sealed(KEY)))
        assert (answer.status_code, answer.json()["error"]) == (422, "no_trusted_worker")


async def test_a_recipient_that_is_not_paired_does_not_count(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port, KEY) as own:
        await own.register(proven=True, **SEALS)
        answer = await post(router, body(sealed(KEY)))
        assert (answer.status_code, answer.json()["error"]) == (422, "no_trusted_worker")
        await own.hears_nothing()


async def test_whoever_only_claims_a_recipients_key_does_not_get_it(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port, KEY) as impostor:
        await impostor.register(**SEALS)
        await router.pair("alice", impostor.pubkey)
        answer = await post(router, body(sealed(KEY)))
        assert (answer.status_code, answer.json()["error"]) == (422, "no_trusted_worker")


async def test_a_recipient_that_cannot_open_it_gives_way_to_another(tmp_path: Path) -> None:
    async with (
        coordinator(tmp_path) as router,
        worker(router.port, KEY) as own,
        worker(router.port, OTHER) as other,
    ):
        await own_worker(router, own)
        job_id = await accepted(router, body(sealed(KEY, OTHER)))
        await own.receive("job_assign")
        await own_worker(router, other)
        own.send(
            {"type": "job_failed", "job_id": job_id, "attempt": 1, "code": "sealed_unreadable"}
            | {"message": "It cannot be opened.", "retryable": True}
        )
        assert (await other.receive("job_assign"))["job_id"] == job_id


async def test_after_a_restart_it_still_goes_to_its_recipients_alone(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port, OTHER) as other:
        await own_worker(router, other)
        await router.pair("alice", public_key_hex(KEY))
        busy = await accepted(router, body(sealed(OTHER)))
        await other.receive("job_assign")
        waiting = await accepted(router, body(sealed(OTHER)))
        assert busy != waiting
    async with (
        coordinator(tmp_path) as router,
        worker(router.port, KEY) as own,
        worker(router.port, OTHER) as other,
    ):
        await own.register(proven=True, **SEALS)
        await own.hears_nothing()
        await other.register(proven=True, **SEALS)
        assert (await other.receive("job_assign"))["job_id"] in (busy, waiting)
        await own.hears_nothing()


def contents(directory: Path) -> list[bytes]:
    files = [path.read_bytes() for path in directory.iterdir() if path.is_file()]
    assert any(files)
    return files


async def test_the_database_holds_nothing_readable_of_a_sealed_job(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port, KEY) as own:
        await own_worker(router, own)
        job_id = await accepted(router, body(sealed(KEY)))
        await own.receive("job_assign")
        output = seal_result(json.dumps({"text": f"about a {SECRET}"}).encode(), REPLY_TO)
        assert (await own.ask(own.completion(job_id, output)))["status"] == "accepted"
        await router.stop()
    assert all(SECRET.encode() not in content for content in contents(tmp_path))
