"""The whole of the actors on a real loop, with a real database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pykka
import pytest
from nacl.signing import SigningKey

from compute_router.actors.messages.edge import Chunk, Progress
from compute_router.actors.messages.job_store import GetJob, InsertJob
from compute_router.actors.messages.matcher import IsLive, Submit
from compute_router.actors.messages.worker_registry import (
    CountWorkers,
    FrameArrived,
    SocketClosed,
    SocketOpened,
)
from compute_router.actors.runtime import ask
from compute_router.actors.system import System, start_system
from compute_router.protocol.errors import DatabaseInUseError
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.jobs import ProviderType
from compute_router.protocol.messages import (
    COORDINATOR_FRAMES,
    Challenge,
    HeldJob,
    JobAck,
    JobAssign,
    JobComplete,
    Register,
    RegisterAck,
    registration_message,
)
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.receipts import public_key_hex, sign_base64
from compute_router.storage.interface import JobView, Store
from compute_router.storage.sqlite_store import open_sqlite_store
from tests.actors.samples import OUTPUT, a_job, completion

NETWORK = NETWORKS[Chain.SOLANA]
SIGNER = SigningKey(b"s" * 32)
PUBKEY = public_key_hex(SIGNER)


class Watchers:
    """Keeps every published end, and lets a test wait for one."""

    def __init__(self) -> None:
        self.ended: dict[str, asyncio.Future[JobView]] = {}

    def publish(self, view: JobView) -> None:
        self.end_of(view.job_id).set_result(view)

    def progress(self, step: Progress | Chunk) -> None:
        raise AssertionError(f"nobody follows a job here: {step}")

    def end_of(self, job_id: str) -> asyncio.Future[JobView]:
        return self.ended.setdefault(job_id, asyncio.get_running_loop().create_future())


class Worker:
    """A worker's side of a socket that is a queue: proves its key, and completes what it is given."""

    def __init__(self, system: System, worker_id: int, held: tuple[HeldJob, ...] = ()) -> None:
        self.worker_id = worker_id
        self.held = list(held)
        self.assigned: asyncio.Queue[JobAssign] = asyncio.Queue()
        self.acks: asyncio.Queue[JobAck] = asyncio.Queue()
        self.registered = asyncio.Event()
        self.closed: int | None = None
        self._registry = system.registry
        self._registry.tell(SocketOpened(self))

    def send(self, frame_json: bytes) -> None:
        match COORDINATOR_FRAMES.decode(frame_json):
            case Challenge(nonce, network):
                signature = sign_base64(SIGNER, registration_message(network, nonce, PUBKEY))
                self.say(
                    Register(
                        PUBKEY,
                        ProviderType.DESKTOP,
                        ["TASK"],
                        nonce=nonce,
                        signature=signature,
                        active_jobs=self.held,
                    )
                )
            case RegisterAck(status="ok"):
                self.registered.set()
            case JobAssign() as frame:
                self.assigned.put_nowait(frame)
            case JobAck() as frame:
                self.acks.put_nowait(frame)

    def close(self, code: int, reason: str) -> None:
        self.closed = code
        self._registry.tell(SocketClosed(self.worker_id))

    def say(self, frame: Register | JobComplete) -> None:
        self._registry.tell(FrameArrived(self.worker_id, frame))


def run(scene: Callable[[System, Watchers], Awaitable[None]], database: Path) -> None:
    """Play a scene on a running system, stop it, and check that it left nothing behind."""

    async def play() -> None:
        watchers = Watchers()
        deaths: list[BaseException] = []
        system = await start_system(
            network=NETWORK,
            open_store=lambda: open_sqlite_store(database),
            watchers=watchers,
            on_death=deaths.append,
        )
        try:
            async with asyncio.timeout(10):
                await scene(system, watchers)
        finally:
            await system.stop()
        assert not deaths
        assert not pykka.ActorRegistry.get_all()

    asyncio.run(play())


async def commit(system: System, job_id: str) -> None:
    job = a_job(job_id)
    trusted = await ask(system.store, InsertJob(job))
    assert await ask(system.matcher, Submit(job, trusted))


def test_a_job_goes_all_the_way_and_is_durable(tmp_path: Path) -> None:
    async def scene(system: System, watchers: Watchers) -> None:
        await commit(system, "job")
        worker = Worker(system, 1)
        assignment = await worker.assigned.get()
        worker.say(completion("job", attempt=assignment.attempt))
        view = await watchers.end_of("job")
        assert (view.status, view.result) == (JobStatus.COMPLETED, OUTPUT)
        assert await ask(system.store, GetJob("job")) == view
        assert await worker.acks.get() == JobAck("job", "accepted", attempt=1)
        assert not await ask(system.matcher, IsLive("job"))

    run(scene, tmp_path / "jobs.db")


def test_a_restart_takes_up_what_was_unfinished(tmp_path: Path) -> None:
    async def before(system: System, watchers: Watchers) -> None:
        worker = Worker(system, 1)
        await commit(system, "held")
        await worker.assigned.get()
        await commit(system, "waits")
        await system.close_workers()
        assert worker.closed == 1001
        assert await ask(system.registry, CountWorkers()) == 0

    async def after(system: System, watchers: Watchers) -> None:
        for job_id in ("held", "waits"):
            assert await ask(system.matcher, IsLive(job_id))
        worker = Worker(system, 1, held=(HeldJob("held", 1),))
        await worker.registered.wait()
        worker.say(completion("held", attempt=1))
        assignment = await worker.assigned.get()
        worker.say(completion(assignment.job_id, attempt=assignment.attempt))
        for job_id in ("held", "waits"):
            view = await watchers.end_of(job_id)
            assert view.status is JobStatus.COMPLETED

    run(before, tmp_path / "jobs.db")
    run(after, tmp_path / "jobs.db")


def test_what_was_said_before_a_stop_reaches_the_database(tmp_path: Path) -> None:
    async def before(system: System, watchers: Watchers) -> None:
        worker = Worker(system, 1)
        await commit(system, "job")
        await worker.assigned.get()
        worker.say(completion("job", attempt=1))
        await system.close_workers()

    async def after(system: System, watchers: Watchers) -> None:
        view = await ask(system.store, GetJob("job"))
        assert view.status is JobStatus.COMPLETED

    run(before, tmp_path / "jobs.db")
    run(after, tmp_path / "jobs.db")


def test_a_stop_amid_a_burst_ends_in_order_and_loses_no_job(tmp_path: Path) -> None:
    async def before(system: System, watchers: Watchers) -> None:
        worker = Worker(system, 1)
        for number in range(200):
            job = a_job(str(number))
            system.store.ask(InsertJob(job), block=False)
            system.matcher.tell(Submit(job))
        worker.close(1006, "lost")

    async def after(system: System, watchers: Watchers) -> None:
        for number in range(200):
            assert await ask(system.matcher, IsLive(str(number)))

    run(before, tmp_path / "jobs.db")
    run(after, tmp_path / "jobs.db")


def test_stopping_twice_is_harmless(tmp_path: Path) -> None:
    async def scene(system: System, watchers: Watchers) -> None:
        await system.stop()

    run(scene, tmp_path / "jobs.db")


def refused_start(open_store: Callable[[], Store]) -> None:
    """Try to start; whatever comes of it must leave no actor and no thread."""
    threads = threading.active_count()
    deaths: list[BaseException] = []

    async def play() -> None:
        try:
            await start_system(
                network=NETWORK,
                open_store=open_store,
                watchers=Watchers(),
                on_death=deaths.append,
            )
        finally:
            await asyncio.sleep(0)
            assert not pykka.ActorRegistry.get_all()
            assert threading.active_count() == threads
            assert not deaths

    asyncio.run(play())


def test_a_database_that_is_in_use_leaves_nothing_behind(tmp_path: Path) -> None:
    database = tmp_path / "jobs.db"
    holder = open_sqlite_store(database)
    with pytest.raises(DatabaseInUseError):
        refused_start(lambda: open_sqlite_store(database))
    holder.close()
