"""The simulated seekers and workers keep to the protocol."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.clients import KeyedSeeker
from benchmarks.load import run_jobs
from benchmarks.load_log import LoadLog, Seconds
from benchmarks.servers import coordinator
from benchmarks.simulated_worker import Habits
from benchmarks.worker_pool import WorkerPool


def test_every_commit_of_a_keyed_seeker_has_another_key_and_the_same_body(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requests: list[bytes] = []
    seeker = KeyedSeeker(LoadLog(1), None, "alice")
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


def _idempotency_key(head: bytes) -> bytes:
    lines = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
    return lines[b"Idempotency-Key"]
