"""The simulated seekers and workers keep to the protocol."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import msgspec
import pytest

from benchmarks.clients import Seeker, Seeking, close_all, connect_all
from benchmarks.load import CLIENTS, StandingSeekers, run_jobs, wait_until_ended
from benchmarks.load_log import LoadLog, Seconds
from benchmarks.servers import coordinator
from benchmarks.simulated_worker import Habits
from benchmarks.worker_pool import WorkerPool


def test_every_commit_of_a_keyed_seeker_has_another_key_and_the_same_body(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requests: list[bytes] = []
    seeker = Seeker(LoadLog(1), None, "alice", Seeking(keyed=True))
    monkeypatch.setattr(seeker, "send", requests.append)
    seeker.start()
    seeker.start()
    (first_head, first_body), (second_head, second_body) = [each.split(b"\r\n\r\n") for each in requests]
    assert first_body == second_body
    first, second = _idempotency_key(first_head), _idempotency_key(second_head)
    assert first != second
    assert len(first) == len(second) == 32


def test_a_dropped_worker_comes_back_and_delivers_what_it_worked_on() -> None:
    assert asyncio.run(_job_of_a_dropped_worker()) == (1, 1, 1)


async def _job_of_a_dropped_worker() -> tuple[int, int, int]:
    """Results that the seeker got, assignments and accepted results."""
    async with coordinator() as server:
        pool = WorkerPool(server.port, Habits(work=Seconds(0.2), says_started=True, renews=True))
        await pool.connect(1)
        running = asyncio.create_task(run_jobs(server, seekers=1, each=1))
        await pool.log.assigned.reach(1)
        await pool.restart(1.0)
        ran = await running
        await pool.close()
    ran.log.raise_failures()
    return ran.log.finished, pool.log.assigned.count, pool.log.accepted.count


FIVE_KEYS = {"job_id", "provider_pubkey", "output_hash", "completed_at", "payment_ref"}
NINE_KEYS = FIVE_KEYS | {"request_hash", "model", "model_digest", "attempt"}


@pytest.mark.parametrize(
    ("proves", "keys"), [(True, NINE_KEYS), (False, FIVE_KEYS)], ids=["proven", "unproven"]
)
def test_a_worker_that_proves_its_key_signs_nine_keys_and_any_other_five(
    proves: bool, keys: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    result, receipt = asyncio.run(_answers_of_one_job(Habits(proves=proves), monkeypatch))
    assert set(result["receipt"]) == keys | {"signature", "verified"}
    assert set(msgspec.json.decode(receipt["receipt"])) == keys
    assert result["receipt"]["verified"]


def test_a_seeker_that_wants_receipts_countersigned_fetches_that_of_its_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result, receipt = asyncio.run(_answers_of_one_job(Habits(), monkeypatch))
    assert receipt["job_id"] == result["id"]
    assert receipt["coordinator_signature"]


async def _answers_of_one_job(
    habits: Habits, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The job and its countersigned receipt, as one seeker got them."""
    bodies: list[bytes] = []
    answered = Seeker.answered

    def keep(seeker: Seeker, status: int, body: bytes) -> None:
        bodies.append(body)
        answered(seeker, status, body)

    monkeypatch.setattr(Seeker, "answered", keep)
    async with coordinator() as server:
        pool = WorkerPool(server.port, habits)
        await pool.connect(1)
        log = LoadLog(1)
        seekers = await connect_all(
            server.port, [partial(Seeker, log, 1, "alice", Seeking(countersigned=True))]
        )
        seekers[0].start()
        await pool.guard(wait_until_ended(log))
        close_all(seekers)
        await pool.close()
    log.raise_failures()
    _, result, receipt = map(msgspec.json.decode, bodies)
    return result, receipt


def test_standing_seekers_run_one_window_after_another_on_the_same_connections() -> None:
    finished, in_windows = asyncio.run(_two_windows())
    assert in_windows > 0
    assert finished >= in_windows + 2 * CLIENTS


async def _two_windows() -> tuple[int, int]:
    """Jobs of all seekers, and those within the windows, with workers that were away in between."""
    async with coordinator() as server:
        pool = WorkerPool(server.port)
        await pool.connect(8)
        seekers = StandingSeekers(server)
        await seekers.connect()
        first = await pool.guard(seekers.load(Seconds(0.05), Seconds(0.1)))
        pool.leave()
        await pool.come_back()
        second = await pool.guard(seekers.load(Seconds(0.05), Seconds(0.1)))
        seekers.close()
        await pool.close()
    return seekers.finished, len(first.latencies) + len(second.latencies)


def _idempotency_key(head: bytes) -> bytes:
    lines = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
    return lines[b"Idempotency-Key"]
