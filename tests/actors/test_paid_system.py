"""The whole of the actors with payments on: a real loop, a real database, a play facilitator and chain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from compute_router.actors.messages.job_store import InsertJob
from compute_router.actors.messages.matcher import Cancel, Submit
from compute_router.actors.messages.payment_gate import AwaitsPayment, JobCommitted
from compute_router.actors.runtime import ask
from compute_router.actors.system import Payments, System, start_system
from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.ledger import Journal, payer_account, worker_account
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.payments import (
    Entry,
    NotSettled,
    Payment,
    Refused,
    Settled,
    StillOpen,
    Unknown,
    Verified,
)
from compute_router.protocol.units import DurationMs, MicroUsd, UnixMs
from compute_router.storage.sqlite_store import open_sqlite_store
from tests.actors.samples import OUTPUT, a_job, completion
from tests.actors.test_system import NETWORK, PUBKEY, Watchers, Worker
from tests.fakes.paying import PRICE, a_payment

FAR = UnixMs(4_000_000_000_000)
"""An expiry that no test comes to."""


class Bank:
    """Facilitator and chain in one; each settlement waits for ``open``."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.called = asyncio.Event()
        self.asked: list[str] = []
        self.moved: dict[str, str] = {}

    async def verify(self, payload: bytes, requirements: bytes) -> Verified | Refused:
        return Verified("alice")

    async def settle(self, payment: Payment) -> Settled | Refused | Unknown:
        self.asked.append(payment.payment_id)
        self.called.set()
        await self.open.wait()
        assert payment.payment_id not in self.moved, "charged twice"
        self.moved[payment.payment_id] = f"tx-{payment.payment_id}"
        return Settled(self.moved[payment.payment_id])

    async def healthy(self) -> str | None:
        return None

    async def outcome(self, payment: Payment) -> Settled | NotSettled | StillOpen:
        moved = self.moved.get(payment.payment_id)
        return StillOpen() if moved is None else Settled(moved)

    async def balance(self, payer: str) -> MicroUsd:
        return PRICE


Scene = Callable[[System, Watchers, Bank], Awaitable[None]]


def run(scene: Scene, database: Path, moved: dict[str, str] | None = None) -> None:
    """Play a scene with a coordinator that is paid."""

    async def play() -> None:
        watchers, bank = Watchers(), Bank()
        bank.moved.update(moved or {})
        system = await start_system(
            network=NETWORK,
            open_store=partial(open_sqlite_store, database),
            watchers=watchers,
            on_death=lambda error: pytest.fail(repr(error)),
            payments=Payments(facilitator=bank, chain=bank),
        )
        try:
            async with asyncio.timeout(20):
                await scene(system, watchers, bank)
        finally:
            await system.stop()

    asyncio.run(play())


async def commit(system: System, job_id: str = "job") -> None:
    """What the edge does with a paid job."""
    job, payment = a_job(job_id), a_payment(job_id, "alice", FAR)
    assert await ask(system.store, InsertJob(job, payment=payment)) == ()
    system.gate.tell(JobCommitted(job_id, payment))
    system.matcher.tell(Submit(job))


async def work(system: System, job_id: str = "job") -> None:
    """A worker comes and completes the job; when this returns, that is durable."""
    worker = Worker(system, 1)
    assigned = await worker.assigned.get()
    assert assigned.job_id == job_id
    worker.say(completion(job_id, attempt=1))
    assert (await worker.acks.get()).status == "accepted"


def test_a_result_is_told_when_it_is_paid_and_not_before(tmp_path: Path) -> None:
    async def scene(system: System, watchers: Watchers, bank: Bank) -> None:
        await commit(system)
        await work(system)
        await bank.called.wait()
        assert await ask(system.gate, AwaitsPayment("job"))
        assert not watchers.end_of("job").done()
        bank.open.set()
        view = await watchers.end_of("job")
        assert view.status is JobStatus.COMPLETED
        assert view.result == OUTPUT
        assert view.payment is not None
        assert view.payment.state is PaymentState.SETTLED
        assert view.payment.transaction_ref == "tx-pay-job"

    run(scene, tmp_path / "jobs.db")
    store = open_sqlite_store(tmp_path / "jobs.db")
    assert store.balance(payer_account("alice")) == -PRICE
    assert store.balance(worker_account(PUBKEY)) == PRICE - PRICE // 20
    assert store.ledger_sum() == 0
    store.close()


def test_a_cancelled_job_is_told_and_never_charged(tmp_path: Path) -> None:
    async def scene(system: System, watchers: Watchers, bank: Bank) -> None:
        await commit(system)
        assert await ask(system.matcher, Cancel("job"))
        view = await watchers.end_of("job")
        assert view.status is JobStatus.CANCELLED
        assert view.payment is not None
        assert view.payment.state is PaymentState.VOID
        assert bank.asked == []

    run(scene, tmp_path / "jobs.db")


def test_a_stop_gives_a_settlement_under_way_its_time(tmp_path: Path) -> None:
    async def scene(system: System, watchers: Watchers, bank: Bank) -> None:
        await commit(system)
        await work(system)
        draining = asyncio.ensure_future(system.drain(DurationMs(15_000)))
        await bank.called.wait()
        assert not draining.done()
        bank.open.set()
        await draining
        assert (await watchers.end_of("job")).result == OUTPUT

    run(scene, tmp_path / "jobs.db")


def test_a_settlement_that_a_stop_cut_off_is_looked_up_by_the_next_run(tmp_path: Path) -> None:
    async def cut_off(system: System, watchers: Watchers, bank: Bank) -> None:
        await commit(system)
        await work(system)
        await bank.called.wait()
        await system.drain(DurationMs(1))

    async def next_run(system: System, watchers: Watchers, bank: Bank) -> None:
        view = await watchers.end_of("job")
        assert view.result == OUTPUT
        assert bank.asked == [], "it was settled already"

    run(cut_off, tmp_path / "jobs.db")
    run(next_run, tmp_path / "jobs.db", moved={"pay-job": "tx-of-old"})


def test_with_payments_off_what_is_open_waits_and_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = tmp_path / "jobs.db"

    async def left_open(system: System, watchers: Watchers, bank: Bank) -> None:
        await commit(system)

    async def free() -> list[str]:
        system = await start_system(
            network=NETWORK,
            open_store=partial(open_sqlite_store, database),
            watchers=Watchers(),
            on_death=lambda error: pytest.fail(repr(error)),
        )
        await system.stop()
        return system.health.notes

    run(left_open, database)
    notes = asyncio.run(free())
    assert notes == ["Payments of an earlier run that wait for --payments on: 1."]
    assert notes[0] in caplog.text


def test_with_a_damaged_ledger_it_takes_no_money(tmp_path: Path) -> None:
    database = tmp_path / "jobs.db"
    store = open_sqlite_store(database)
    with store.transaction():
        store.post(Journal("odd", (Entry("held", MicroUsd(1)),)), UnixMs(0))
    store.close()

    async def scene(system: System, watchers: Watchers, bank: Bank) -> None:
        raise AssertionError("it started")

    with pytest.raises(ConfigurationError, match="ledger is damaged"):
        run(scene, database)
