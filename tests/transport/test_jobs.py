"""A job's way through the public addresses: commit, assignment, delivery, answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.transport.harness import LLM, TASK, Coordinator, coordinator
from tests.transport.test_health_and_quote import ISO_MS
from tests.transport.worker_client import SUMMARY, worker


async def test_a_waiting_job_shows_its_state_and_nothing_else(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        job_id = await router.commit()
        job = await router.job(job_id)
    assert ISO_MS.fullmatch(job.pop("created_at"))
    assert list(job.items()) == [
        ("id", job_id),
        ("status", "pending"),
        ("result", None),
        ("receipt", None),
        ("completed_at", None),
    ]


async def test_a_delivered_job_shows_result_and_verified_receipt(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as desktop:
        await desktop.register(proven=True)
        job_id = await router.commit()
        await desktop.serve(job_id)
        job = await router.job(job_id)
    assert list(job) == ["id", "status", "result", "receipt", "created_at", "completed_at"]
    assert (job["id"], job["status"], job["result"]) == (job_id, "completed", json.loads(SUMMARY))
    assert ISO_MS.fullmatch(job["completed_at"])
    receipt = json.loads(desktop.receipt(job_id))
    assert list(job["receipt"].items()) == [
        *receipt.items(),
        ("signature", desktop.sign(desktop.receipt(job_id))),
        ("verified", True),
    ]


@pytest.mark.parametrize("tier", ["fast", "cheap"])
async def test_the_assignment_tells_the_worker_everything_about_the_job(tmp_path: Path, tier: str) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as desktop:
        await desktop.register(proven=True)
        job_id = await router.commit(tier, **LLM)
        assignment = await desktop.receive("job_assign")
    assert assignment == {
        "type": "job_assign",
        "job_id": job_id,
        "job_type": "LLM_INFER",
        "payload": {"prompt": "Why?"},
        "policy": tier.upper(),
        "privacy_class": "PUBLIC",
        "user_id": "alice",
        "attempt": 1,
        "deadline_ms": 120_000,
    }


async def test_the_payload_reaches_the_worker_byte_for_byte(tmp_path: Path) -> None:
    payload = r'{ "input" : "\u00fc\/ \ud83d\ude00 ü", "task_type":"classify" ,"job_type":"TASK"}'
    body = '{"job_type":"TASK","user_id":"bob","payload":' + payload + "}"
    raw_frames: list[bytes] = []
    async with coordinator(tmp_path) as router, worker(router.port) as desktop:
        await desktop.register(proven=True)
        read = desktop.socket.receive

        async def recorded() -> tuple[int, bytes]:
            opcode, data = await read()
            raw_frames.append(data)
            return opcode, data

        desktop.socket.receive = recorded  # type: ignore[method-assign]
        # One more answer, so that the reader takes the assignment through the recorder.
        await desktop.hears_nothing()
        answer = await router.http.post("/v1/jobs/commit/cheap", content=body.encode())
        assert answer.status_code == 201
        await desktop.receive("job_assign")
    assert f'"payload":{payload},'.encode() in raw_frames[-1]


async def test_the_result_reaches_the_seeker_byte_for_byte(tmp_path: Path) -> None:
    output = rb'{ "a": 1.0e5, "b":"\u00fc\/", "a": 10000000000000000000000 }'
    async with coordinator(tmp_path) as router, worker(router.port) as desktop:
        await desktop.register(proven=True)
        job_id = await router.commit()
        await desktop.serve(job_id, output)
        answer = await router.http.get(f"/v1/jobs/{job_id}")
    assert b'"result":' + output + b',"receipt":' in answer.content
    assert answer.json()["receipt"]["verified"] is True


async def test_later_keys_of_a_receipt_are_kept_and_verified(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as desktop:
        await desktop.register(proven=True)
        job_id = await router.commit()
        await desktop.receive("job_assign")
        receipt = desktop.receipt(job_id, model="tiny", model_digest=None)
        ack = await desktop.ask(desktop.completion(job_id, receipt=receipt))
        assert ack["status"] == "accepted"
        job = await router.job(job_id)
    assert (job["receipt"]["model"], job["receipt"]["verified"]) == ("tiny", True)


@pytest.mark.parametrize(
    "changes",
    [
        {"privacy_class": "PUBLIC"},
        {"user_id": "ü" * 256},
        {"payload": {"task_type": "extract_json", "input": "{}", "job_type": "TASK"}},
        {"payload": {"task_type": "classify", "input": "a\u0000b \U0001f600 \u2028"}},
        LLM | {"payload": {"prompt": "x" * 900_000, "max_tokens": 1}},
        LLM | {"payload": {"prompt": "x", "max_tokens": None, "job_type": "LLM_INFER"}},
        LLM | {"model": "llama3:8b"},
    ],
)
async def test_jobs_of_every_allowed_form_are_taken(tmp_path: Path, changes: dict[str, Any]) -> None:
    async with coordinator(tmp_path) as router:
        job_id = await router.commit(**changes)
        assert (await router.job(job_id))["status"] == "pending"


async def test_a_body_without_or_with_a_precise_content_type_is_taken(tmp_path: Path) -> None:
    body = json.dumps(TASK).encode()
    async with coordinator(tmp_path) as router:
        for media_type in (None, "application/json; charset=utf-8", "Application/JSON"):
            headers = {} if media_type is None else {"Content-Type": media_type}
            answer = await router.http.post("/v1/jobs/commit/cheap", content=body, headers=headers)
            assert answer.status_code == 201, media_type


async def test_job_ids_are_random_and_may_be_written_percent_encoded(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        job_id, other = await router.commit(), await router.commit()
        assert job_id != other
        assert len(job_id) == 36
        encoded = "".join(f"%{ord(letter):02x}" for letter in job_id)
        assert (await router.http.get(f"/v1/jobs/{encoded}")).json()["id"] == job_id


@pytest.mark.parametrize("job_id", ["nope", "%00", "%ff", "..", "*", "x" * 4000, "commit"])
async def test_an_unknown_job_is_not_found(tmp_path: Path, job_id: str) -> None:
    async with coordinator(tmp_path) as router:
        answer = await router.http.get(
            httpx.URL(str(router.http.base_url), raw_path=f"/v1/jobs/{job_id}".encode())
        )
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


async def test_every_answer_forbids_caching_and_sniffing(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        for answer in (await router.http.get("/v1/health"), await router.http.get("/nowhere")):
            assert answer.headers["content-type"] == "application/json; charset=utf-8"
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_restarted_coordinator_answers_for_old_jobs(tmp_path: Path) -> None:
    async def finished(router: Coordinator, job_id: str) -> dict[str, Any]:
        return await router.job(job_id)

    async with coordinator(tmp_path) as router, worker(router.port) as desktop:
        await desktop.register(proven=True)
        job_id = await router.commit()
        await desktop.serve(job_id)
        before = await finished(router, job_id)
    async with coordinator(tmp_path) as router:
        assert await finished(router, job_id) == before
