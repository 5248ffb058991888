"""``GET /v1/workers/{pubkey}``: what a key did, and what becomes of it when it cheats."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nacl.signing import SigningKey

from compute_router.actors.registry_core import BARRED
from compute_router.protocol.messages import CLOSE_BARRED, TASKS_V1
from compute_router.storage.worker_commands import unbar_worker
from tests.transport.harness import QUICK, Coordinator, coordinator
from tests.transport.raw_websocket import RawWebSocket
from tests.transport.worker_client import SUMMARY, WorkerClient, worker

LIE = b'{"summary":"Something else.","word_count":2}'
ALL_AUDITED = msgspec.structs.replace(QUICK, audit_share=1.0, audit_newcomer_jobs=0)


async def shown(router: Coordinator, pubkey: str) -> dict[str, Any]:
    answer = await router.http.get(f"/v1/workers/{pubkey}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_newcomer_is_shown_with_the_score_of_a_newcomer(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        found = await shown(router, client.pubkey)
        assert found["record"].pop("first_seen").endswith("Z")
        assert found["record"].pop("last_seen").endswith("Z")
        assert found == {
            "provider_pubkey": client.pubkey,
            "connected": True,
            "proven": True,
            "barred": False,
            "barred_at": None,
            "barred_reason": None,
            "score": 0.95,
            "band": "good",
            "record": {
                "completed": 0,
                "failed": 0,
                "rejected": 0,
                "lost": 0,
                "bad_receipts": 0,
                "mean_latency_ms": None,
                "audits_agreed": 0,
                "audits_disagreed": 0,
            },
        }


async def test_who_only_names_a_key_has_no_record(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register()
        job_id = await router.commit()
        await client.serve(job_id)
        found = await shown(router, client.pubkey)
        assert (found["connected"], found["proven"], found["record"]) == (True, False, None)


async def test_results_and_refusals_are_counted_and_no_job_is_named(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        job_id = await router.commit()
        await client.serve(job_id)
        other = await router.commit()
        assignment = await client.receive("job_assign")
        refusal = {"type": "job_reject", "job_id": other, "reason": "too hot"}
        client.send(refusal | {"attempt": assignment["attempt"]})
        await client.serve(other)
        found = await shown(router, client.pubkey)
        assert (found["record"]["completed"], found["record"]["rejected"]) == (2, 1)
        assert found["record"]["mean_latency_ms"] >= 0
        assert 0.9 < found["score"] < 0.95
        assert job_id not in str(found)
        assert other not in str(found)


async def test_the_record_outlives_connection_and_coordinator(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        await client.serve(await router.commit())
        before = await shown(router, client.pubkey)
    async with coordinator(tmp_path) as router:
        after = await shown(router, client.pubkey)
        assert after["connected"] is False
        assert after["record"]["completed"] == 1
        assert after["score"] == before["score"]


@pytest.mark.parametrize("name", ["a" * 64, "A" * 64, "a" * 63, "nobody", "a" * 64 + "%0A"])
async def test_an_unknown_key_is_not_found(tmp_path: Path, name: str) -> None:
    async with coordinator(tmp_path) as router:
        answer = await router.http.get(f"/v1/workers/{name}")
        assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


# Cheats


class BusyWorker(WorkerClient):
    """A proven worker that delivers the same output for every job, at once."""

    output: bytes = SUMMARY

    def arrived(self, frame: dict[str, Any]) -> None:
        if frame["type"] == "job_assign":
            self.send(self.completion(frame["job_id"], self.output))
        else:
            super().arrived(frame)


@asynccontextmanager
async def busy_worker(port: int, output: bytes = SUMMARY) -> AsyncIterator[BusyWorker]:
    client = BusyWorker(await RawWebSocket.open(port), SigningKey.generate())
    client.output = output
    try:
        client.challenge = await client.receive("challenge")
        await client.register(proven=True, features=[TASKS_V1])
        yield client
    finally:
        client.socket.abort()
        await client.closed()


@asynccontextmanager
async def a_network_with_a_cheat(
    router: Coordinator,
) -> AsyncIterator[tuple[BusyWorker, BusyWorker, BusyWorker]]:
    """Two honest workers, and one that was just found out."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(busy_worker(router.port))
        two = await stack.enter_async_context(busy_worker(router.port))
        cheat = await stack.enter_async_context(busy_worker(router.port, LIE))
        # The longest idle is next, so one of these goes to the cheat.
        for _ in range(3):
            await router.job(await router.commit(), wait=10)
        assert await cheat.closed() == CLOSE_BARRED
        yield one, two, cheat


async def test_a_cheat_is_barred_and_honest_workers_are_not(tmp_path: Path) -> None:
    async with (
        coordinator(tmp_path, policy=ALL_AUDITED) as router,
        a_network_with_a_cheat(router) as (one, two, cheat),
    ):
        found = await shown(router, cheat.pubkey)
        assert (found["barred"], found["connected"]) == (True, False)
        assert found["record"]["audits_disagreed"] >= 1
        assert found["barred_reason"]
        for honest in (one, two):
            found = await shown(router, honest.pubkey)
            assert (found["barred"], found["connected"]) == (False, True)
            assert found["record"]["audits_disagreed"] == 0
        job = await router.job(await router.commit(), wait=10)
        assert job["result"]["summary"] == "Some text."


async def test_a_barred_key_is_refused_also_after_a_restart_until_the_bar_is_lifted(tmp_path: Path) -> None:
    async with coordinator(tmp_path, policy=ALL_AUDITED) as router:
        async with a_network_with_a_cheat(router) as (_, _, cheat):
            pass
        async with worker(router.port, cheat.key) as again:
            ack = await again.ask(again.registration(proven=True))
            assert (ack["status"], ack["error"]) == ("error", BARRED)
    async with coordinator(tmp_path) as router, worker(router.port, cheat.key) as again:
        ack = await again.ask(again.registration(proven=True))
        assert (ack["status"], ack["error"]) == ("error", BARRED)
        assert (await again.ask(again.registration()))["status"] == "error"
    assert unbar_worker(router.database, cheat.pubkey)
    async with coordinator(tmp_path) as router, worker(router.port, cheat.key) as again:
        await again.register(proven=True)
        assert (await shown(router, cheat.pubkey))["barred"] is False


async def test_to_who_has_its_id_an_audit_looks_like_any_job(tmp_path: Path) -> None:
    async with coordinator(tmp_path, policy=ALL_AUDITED) as router:
        async with a_network_with_a_cheat(router):
            pass
        audits = [
            job_id
            for (job_id,) in router.query(
                "SELECT id FROM jobs WHERE audit_of IS NOT NULL AND status = 'completed'"
            )
        ]
        assert audits
        (real, *_) = [
            job_id
            for (job_id,) in router.query(
                "SELECT id FROM jobs WHERE audit_of IS NULL AND status = 'completed'"
            )
        ]
        for job_id in audits:
            for path in ("jobs/{}", "jobs/{}?wait=1", "receipts/{}"):
                answer = await router.http.get("/v1/" + path.format(job_id))
                like = await router.http.get("/v1/" + path.format(real))
                assert answer.status_code == like.status_code == 200
                assert list(answer.json()) == list(like.json())
            assert (await router.http.delete(f"/v1/jobs/{job_id}")).json()["error"] == "job_finished"
