"""Attacks on who is who: impersonation, replayed registrations, squatting on a key, floods of workers."""

from __future__ import annotations

from pathlib import Path

import httpx
import msgspec
import pytest
from nacl.signing import SigningKey

from compute_router.actors.messages.matcher import TrustRevoked
from compute_router.protocol.messages import SEALED_V1, registration_message
from compute_router.protocol.units import DurationMs
from tests.fakes.legacy_worker import legacy_worker
from tests.transport.harness import QUICK, TASK, Coordinator, coordinator
from tests.transport.worker_client import WorkerClient, worker

PRIVATE = {"privacy_class": "PRIVATE"}
LEGACY = msgspec.structs.replace(QUICK, legacy_workers=True)
ELSEWHERE = "eip155:143"


async def commit_private(router: Coordinator) -> httpx.Response:
    return await router.http.post("/v1/jobs/commit/cheap", json=TASK | PRIVATE)


async def refused(client: WorkerClient, frame: dict[str, object]) -> str:
    """Send a registration that must be refused; why it was."""
    ack = await client.ask(frame)
    assert (ack["type"], ack["status"]) == ("register_ack", "error"), ack
    return str(ack["error"])


async def test_knowing_the_key_of_a_paired_worker_brings_none_of_its_users_private_jobs(
    tmp_path: Path,
) -> None:
    victim = SigningKey.generate()
    async with coordinator(tmp_path) as router, worker(router.port, victim) as impostor:
        await router.pair("alice", impostor.pubkey)
        await impostor.register()
        answer = await commit_private(router)
        assert (answer.status_code, answer.json()["error"]) == (422, "no_trusted_worker")
        public = await router.commit()
        assert (await impostor.receive("job_assign"))["job_id"] == public


async def test_nor_does_it_where_the_victim_was_connected_and_left(tmp_path: Path) -> None:
    short = DurationMs(30)
    policy = msgspec.structs.replace(QUICK, queue_window=short, reconnect_grace=short)
    key = SigningKey.generate()
    async with coordinator(tmp_path, policy=policy) as router:
        async with worker(router.port, key) as victim:
            await victim.register(proven=True)
            await router.pair("alice", victim.pubkey)
            job_id = await router.commit(**PRIVATE)
            await victim.receive("job_assign")
        async with worker(router.port, key) as impostor:
            await impostor.register()
            assert (await router.job(job_id, wait=5))["status"] == "failed"
            await impostor.hears_nothing()


async def test_a_registration_that_was_overheard_is_worth_nothing_on_another_connection(
    tmp_path: Path,
) -> None:
    key = SigningKey.generate()
    async with coordinator(tmp_path) as router, worker(router.port, key) as victim:
        overheard = victim.registration(proven=True)
        assert (await victim.ask(overheard))["status"] == "ok"
        async with worker(router.port, key) as thief:
            assert "nonce" in await refused(thief, overheard)
        assert await router.workers_online() == 1
        await victim.hears_nothing()


@pytest.mark.parametrize("kind", ["another network", "another key", "another domain"])
async def test_a_signature_made_for_something_else_is_refused_and_not_taken_for_none(
    tmp_path: Path, kind: str
) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        nonce, network = client.challenge["nonce"], client.challenge["network"]
        messages = {
            "another network": registration_message(ELSEWHERE, nonce, client.pubkey),
            "another key": registration_message(network, nonce, "0" * 64),
            "another domain": registration_message(network, nonce, client.pubkey)[len("compute-router/") :],
        }
        frame = client.registration() | {"nonce": nonce, "signature": client.sign(messages[kind])}
        await refused(client, frame)
        assert await router.workers_online() == 0


async def test_each_connection_has_a_challenge_of_its_own(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as one, worker(router.port) as two:
        assert one.challenge["nonce"] != two.challenge["nonce"]


async def test_a_key_cannot_be_squatted_while_its_holder_is_there(tmp_path: Path) -> None:
    key = SigningKey.generate()
    async with coordinator(tmp_path) as router, worker(router.port, key) as holder:
        await holder.register(proven=True)
        async with worker(router.port, key) as squatter:
            await refused(squatter, squatter.registration())
            assert await squatter.closed() == 1008
        await holder.hears_nothing()
        assert await router.workers_online() == 1


async def test_the_holder_of_a_key_ends_those_who_squat_on_it(tmp_path: Path) -> None:
    key = SigningKey.generate()
    async with (
        coordinator(tmp_path) as router,
        worker(router.port, key) as first,
        legacy_worker(router.port, key) as second,
        worker(router.port, key) as holder,
    ):
        await first.register()
        await second.register()
        assert await router.workers_online() == 2
        await holder.register(proven=True)
        assert [await first.closed(), await second.closed()] == [1008, 1008]
        assert await router.workers_online() == 1


async def test_a_newer_proven_connection_takes_the_jobs_of_the_older_over(tmp_path: Path) -> None:
    key = SigningKey.generate()
    async with coordinator(tmp_path) as router, worker(router.port, key) as older:
        await older.register(proven=True)
        job_id = await router.commit()
        assert (await older.receive("job_assign"))["attempt"] == 1
        async with worker(router.port, key) as newer:
            await newer.register(proven=True, active_jobs=[{"job_id": job_id, "attempt": 1}])
            assert await older.closed() == 4001
            assert (await newer.ask(newer.completion(job_id)))["status"] == "accepted"
        assert (await router.job(job_id))["status"] == "completed"


async def test_what_a_replaced_connection_still_says_is_not_heard(tmp_path: Path) -> None:
    key = SigningKey.generate()
    async with coordinator(tmp_path) as router, worker(router.port, key) as older:
        await older.register(proven=True)
        job_id = await router.commit()
        await older.receive("job_assign")
        async with worker(router.port, key) as newer:
            await newer.register(proven=True)
            older.send(older.completion(job_id))
            assert await older.closed() == 4001
            assert (await newer.receive("job_assign"))["attempt"] == 2


async def test_a_worker_whose_trust_ends_loses_the_job_that_it_works_on(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as one, worker(router.port) as two:
        await one.register(proven=True)
        await router.pair("alice", one.pubkey)
        job_id = await router.commit(**PRIVATE)
        await one.receive("job_assign")
        await two.register(proven=True)
        router.system.matcher.tell(TrustRevoked("alice", one.pubkey))
        cancel = await one.receive("job_cancel")
        assert (cancel["job_id"], cancel["attempt"]) == (job_id, 1)
        assert (await one.ask(one.completion(job_id)))["status"] == "stale"
        await two.hears_nothing()
        assert (await router.job(job_id))["status"] == "pending"


async def test_an_operator_may_do_without_proofs_and_everybody_can_see_that(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        coordinator(tmp_path, policy=LEGACY) as router,
        legacy_worker(router.port) as desktop,
    ):
        assert "PRIVATE" in caplog.text
        health = (await router.http.get("/v1/health")).json()
        assert health["status"] == "ok"
        (note,) = health["notes"]
        assert "without proof" in note
        await router.pair("alice", desktop.pubkey)
        await desktop.register()
        job_id = await router.commit(**PRIVATE)
        assert (await desktop.receive("job_assign"))["job_id"] == job_id
        desktop.deliver(job_id)
        assert (await router.job(job_id, wait=5))["status"] == "completed"


async def test_health_has_no_note_when_there_is_nothing_to_note(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        assert "notes" not in (await router.http.get("/v1/health")).json()


async def test_a_connection_that_does_not_register_is_closed(tmp_path: Path) -> None:
    policy = msgspec.structs.replace(QUICK, register_timeout=DurationMs(20))
    async with coordinator(tmp_path, policy=policy) as router, worker(router.port) as idle:
        assert await idle.closed() == 1008


async def test_a_full_coordinator_sends_workers_away_for_a_while(tmp_path: Path) -> None:
    policy = msgspec.structs.replace(QUICK, max_workers=1)
    async with (
        coordinator(tmp_path, policy=policy) as router,
        worker(router.port) as first,
        worker(router.port) as second,
    ):
        await first.register()
        second.send(second.registration(proven=True))
        assert await second.closed() == 1013
        assert await router.workers_online() == 1


async def test_a_connection_that_registers_again_and_again_is_closed(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        for _ in range(QUICK.max_registrations):
            await client.register()
        client.send(client.registration())
        assert await client.closed() == 1008
        assert await router.workers_online() == 0


@pytest.mark.parametrize("features", [[SEALED_V1], [], [f"f{number}" for number in range(32)]])
async def test_a_worker_may_name_features(tmp_path: Path, features: list[str]) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True, features=features)
        assert await router.workers_online() == 1


@pytest.mark.parametrize("features", [["f"] * 33, ["f" * 65], [""], [5], "sealed/v1"])
async def test_features_are_bounded(tmp_path: Path, features: object) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        answer = await client.ask(client.registration(features=features))
        assert (answer["type"], answer["code"]) == ("error", "INVALID_MSG")
        assert await router.workers_online() == 0
