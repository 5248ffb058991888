"""One seed of the simulation: a market of seekers, workers, a network, a disk and an operator, all unlucky.

The actors, the HTTP resources, the retry logic and the SQLite file are the real ones. Time, the network and
the order of events belong to the seed. After the faults everybody behaves, and the promises are checked.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, Final
from unittest import mock
from uuid import UUID

import apsw

from compute_router.actors import payment_requests
from compute_router.actors.messages.worker_registry import CountWorkers
from compute_router.actors.policy import MatchingPolicy
from compute_router.actors.runtime import ask
from compute_router.protocol.errors import StorageUnavailableError
from compute_router.protocol.messages import COORDINATOR_FRAMES
from compute_router.protocol.units import DurationMs
from compute_router.storage.check import problems
from compute_router.storage.interface import Store
from compute_router.storage.sqlite_store import open_sqlite_store
from compute_router.transport import commit
from compute_router.transport.http_types import Answer
from tests.chaos.faults import MONEY_POINTS, POINTS, Point, StoreFaults
from tests.chaos.incarnation import Incarnation
from tests.chaos.journal import Journal
from tests.chaos.model import Promises
from tests.chaos.money import PORT_POINTS, Bank, PlaySigner, play_address
from tests.chaos.money_books import Books, WorkersBook
from tests.chaos.money_promises import MoneyPromise
from tests.chaos.network import Link
from tests.chaos.purses import Purse
from tests.chaos.sim_payer import SimPayer
from tests.chaos.sim_seeker import SimSeeker
from tests.chaos.sim_worker import SimWorker
from tests.fakes.chaos_actors import settle
from tests.fakes.chaos_store import CHANGES, Killed, Place, faulty
from tests.fakes.clock import FakeClock

_STEPS: Final = 500
_CALM_SECONDS: Final = 900
_JOBS_PER_USER: Final = 60


class Simulation:
    """Everything of one seed."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.rng = random.Random(seed)
        self.journal = Journal(seed)
        self.clock = FakeClock()
        self.journal.now_ms = self.clock.steady_ms
        self.policy = MatchingPolicy(max_jobs_per_user=_JOBS_PER_USER)
        self.promises = Promises(self.journal, self.policy)
        self.faults = StoreFaults(self.rng, self.journal)
        self.database = directory / f"{seed}.db"
        # Every other coordinator is paid.
        self.bank = Bank(self.rng, self.journal, self.clock) if seed % 2 else None
        self.life: Incarnation | None = None
        self.store: Store | None = None
        self.stopping: asyncio.Task[None] | None = None
        self.paying: asyncio.Task[None] | None = None
        self.up = asyncio.Event()
        self.links: list[tuple[SimWorker, Link]] = []
        self.workers = [
            SimWorker(
                f"worker-{number}",
                proven=number % 3 != 2,
                slots=1 + number % 2,
                rng=self.rng,
                journal=self.journal,
                promises=self.promises,
                connect=self._connect,
                payout_address=play_address(number) if self.bank and number % 3 != 2 else None,
            )
            for number in range(self.rng.randint(1, 4))
        ]
        self.seekers = [
            SimSeeker(
                user,
                self._ask,
                self.rng,
                self.journal,
                self.promises,
                purse=Purse(PlaySigner(user, self.bank), self.journal) if self.bank else None,
            )
            for user in ("alice", "bob", "carol")
        ]
        self.payer = SimPayer(self._ask, self.rng, self.journal, self.bank.wages) if self.bank else None
        if self.bank is not None:
            self.promises.vouches = self.bank.vouches
        self.seed = seed
        self.unlucky = False

    async def run(self) -> None:
        """Live through the faults, then through the calm, and check what is left.

        Raises:
            Violation: a promise was broken.
        """
        with (
            mock.patch.object(commit, "uuid", self),
            mock.patch.object(payment_requests, "uuid", self),
        ):
            await self._live()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        self.journal.promise(not left, f"tasks were left behind: {left}")
        self._check_file()

    async def _live(self) -> None:
        await self._boot()
        tasks = await self._begin()
        try:
            points = self._points
            # What happens seldom is hit at its first passing.
            self._arm(points[self.seed // 2 % len(points)], self.rng.randint(0, 1 if self.bank else 4))
            for _ in range(_STEPS):
                await self._step()
            await self._calm(tasks)
        finally:
            if self.paying is not None:
                tasks.append(self.paying)
            for task in tasks:
                task.cancel()
            if self.stopping is not None:
                self.stopping.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._end_life()
            await settle()

    def uuid4(self) -> UUID:
        """Ids of jobs and payouts decide in which order things are done, so they belong to the seed, too."""
        return UUID(int=self.rng.getrandbits(128), version=4)

    # One step

    async def _step(self) -> None:
        try:
            await self._one_of_many()
            await asyncio.sleep(0)
            self.journal.raise_broken()
            if self.bank is not None and self.bank.killed is not None:
                raise Killed
            if self.stopping is not None and self.stopping.done():
                stopped, self.stopping = self.stopping, None
                stopped.result()
                self._cut_all_links()
                self._end_life()
        except Killed:
            await self._die()

    async def _one_of_many(self) -> None:
        life = self.life
        if life is None:
            if self.rng.random() < 0.3:
                await self._boot()
            else:
                await self._let_time_pass(self.rng.choice([1, 50, 1000]))
            return
        what = self.rng.random()
        if what < 0.34:
            self._step_coordinator(life)
        elif what < 0.58:
            self._network_step(life)
        elif what < 0.80:
            self.rng.choice(self.workers).act(self.clock.steady_ms())
        elif what < 0.90:
            await self._let_time_pass(self.rng.choice([1, 5, 20, 200, 500, 700, 2_100, 5_100]))
        elif what < 0.985:
            await self._let_the_system_breathe()
        else:
            await self._fault(life)

    def _step_coordinator(self, life: Incarnation) -> None:
        if life.stopping:
            return
        what = self.rng.randrange(4)
        if what == 0:
            life.step_store()
        elif what == 1:
            life.deliver_answers()
        else:
            for _ in range(self.rng.choice([1, 3])):
                life.step_actor()

    async def _let_the_system_breathe(self) -> None:
        """What in truth takes a millisecond: everything that is under way arrives and is seen to."""
        life = self.life
        if life is None or life.stopping:
            return
        for worker, link in list(self.links):
            while link.down and self.life is life:
                self._arrive_below(worker, link)
            while link.up and link.coordinator_sees_it:
                self._arrive_above(life, worker, link)
        await life.run()

    async def _let_time_pass(self, ms: int) -> None:
        """Actors see to their mail in microseconds, so none of it waits while milliseconds pass."""
        life = self.life
        if life is not None and not life.stopping:
            life.run_actors()
            await settle()
            life.run_actors()
        self.clock.advance(ms)
        await settle()
        if life is not None and not life.stopping:
            life.run_actors()
            if self.faults.ill or ms >= 500:
                life.end_store_pause()

    # The network

    def _connect(self, worker: SimWorker) -> Link | None:
        if self.life is None or self.life.system is None or self.stopping is not None:
            return None
        link = Link(
            worker.name,
            lambda link, data: self._was_sent(worker, link, data),
            self.promises.connection_lost,
        )
        self.links.append((worker, link))
        self.life.open_link(link)
        return link

    def _was_sent(self, worker: SimWorker, link: Link, data: bytes) -> None:
        frame = COORDINATOR_FRAMES.decode(data)
        self.journal.note(f"to {worker.name}: {frame}")
        self.promises.told_worker(link.worker_id, worker.pubkey, worker.proven, frame)

    def _network_step(self, life: Incarnation) -> None:
        moving = [(worker, link) for worker, link in self.links if link.up or link.down]
        if not moving:
            return
        worker, link = self.rng.choice(moving)
        if link.down and (not link.up or self.rng.random() < 0.5):
            self._arrive_below(worker, link)
        elif not life.stopping:
            self._arrive_above(life, worker, link)

    def _arrive_below(self, worker: SimWorker, link: Link) -> None:
        data = link.down.popleft()
        if worker.link is not link:
            return
        if data is None:
            worker.loses_link()
        else:
            worker.hears(COORDINATOR_FRAMES.decode(data))

    def _arrive_above(self, life: Incarnation, worker: SimWorker, link: Link) -> None:
        data = link.up.popleft()
        if not link.coordinator_sees_it:
            return
        life.frame_arrives(link, worker.pubkey, worker.proven, data)
        if data is None:
            link.coordinator_sees_it = False
            link.up.clear()

    def _cut_all_links(self) -> None:
        for _, link in self.links:
            link.coordinator_sees_it = False
            link.up.clear()
            if self.rng.random() < 0.5:
                link.down.clear()
            link.down.append(None)

    # Faults

    async def _fault(self, life: Incarnation) -> None:
        worker = self.rng.choice(self.workers)
        what = self.rng.randrange(10)
        if what == 0:
            self.journal.fault("kill coordinator")
            raise Killed
        if what == 1:
            self.journal.fault("kill worker", worker.name)
            worker.crash()
        elif what == 2 and worker.link is not None:
            self.journal.fault("clean drop", worker.name)
            worker.link.cut(lose=self.rng.random() < 0.5)
        elif what == 3 and worker.link is not None:
            self.journal.fault("half-open", worker.name)
            worker.link.freeze()
            if self.rng.random() < 0.7:
                worker.drop()
        elif what == 4 and self.rng.random() < 0.5:
            self.faults.doom(self.rng.choice(CHANGES))
        elif what == 4 and not self.faults.ill:
            self.faults.fall_ill(self.rng.randint(0, 6))
        elif what == 5:
            self.faults.heal()
        elif what == 6 and self.stopping is None:
            self.journal.fault("SIGTERM")
            self.stopping = asyncio.ensure_future(life.stop(DurationMs(self.rng.choice([0, 500, 10_000]))))
        elif what == 7:
            self.journal.fault("wall clock steps")
            self.clock.step_wall(self.rng.choice([-3_600_000, -5_000, 5_000, 60_000]))
        elif what == 8:
            self._arm(self.rng.choice(self._points), self.rng.randint(0, 3))
        elif (said := worker.misbehave()) is not None:
            self.journal.fault("misbehaving worker", said)

    @property
    def _points(self) -> tuple[Point | str, ...]:
        """Where the coordinator may be killed; those of money only if it is paid."""
        return (*PORT_POINTS, *MONEY_POINTS, *POINTS) if self.bank else POINTS

    def _arm(self, point: Point | str, countdown: int) -> None:
        if isinstance(point, tuple):
            self.faults.arm(*point, countdown)
        elif self.bank is not None:
            self.bank.arm(point, countdown)

    def _before_answers(self) -> None:
        self.faults.at(Place.BEFORE_ANSWERS, self.faults.calls_of_last_commit)

    async def _die(self) -> None:
        if self.stopping is not None:
            self.stopping.cancel()
            self.stopping = None
        self._cut_all_links()
        self._end_life()
        await settle()

    def _end_life(self) -> None:
        self.up.clear()
        if self.bank is not None:
            self.bank.cut()
        if self.life is not None:
            self.life.end_of_life()
            self.life = None
        if self.store is not None:
            self.store.close()
            self.store = None

    def _open_store(self) -> Store:
        self.store = open_sqlite_store(self.database)
        return faulty(self.store, self.faults, self.promises.committed)

    async def _boot(self) -> None:
        life = Incarnation(
            self._open_store,
            self._before_answers,
            self.clock,
            self.policy,
            self.rng,
            self.journal,
            self.promises,
            self.bank.open_line() if self.bank else None,
        )
        self.life = life
        self.journal.note("the coordinator starts")
        try:
            await life.start()
        except (Killed, StorageUnavailableError) as error:
            self.journal.note(f"it did not come up: {error!r}")
            await self._die()
            self.faults.heal()
            return
        self.up.set()

    # Seekers

    async def _ask(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        while self.life is None or not self.up.is_set():
            await self.up.wait()
        if self.life.stopping:
            await self.life.dead.wait()
            raise ConnectionError("connection refused")
        answer = await self.life.request(method, target, headers, body)
        if self.rng.random() < 0.03 and self.unlucky:
            self.journal.fault("lost answer", target)
            raise ConnectionError("the answer was lost")
        return answer

    async def _begin(self) -> list[asyncio.Task[None]]:
        pairing = asyncio.ensure_future(self.seekers[0].pair(self.workers[0].pubkey))
        assert self.life is not None
        while not pairing.done():
            await self.life.run()
        pairing.result()
        if self.bank is not None:
            await self._come_by_credits()
        self.unlucky = True
        if self.bank is not None:
            self.bank.unlucky = True
            self.paying = asyncio.ensure_future(self.payer.live()) if self.payer else None
        return [asyncio.ensure_future(seeker.live(self.rng.randint(2, 6))) for seeker in self.seekers]

    async def _come_by_credits(self) -> None:
        assert self.life is not None
        coming = asyncio.gather(*(seeker.come_by_a_credit() for seeker in self.seekers))
        while not coming.done():
            await self.life.run()
            await self._let_time_pass(500)
        coming.result()

    # The calm

    async def _calm(self, tasks: list[asyncio.Task[None]]) -> None:
        """No more faults: everything that was promised must come true by itself."""
        self.unlucky = False
        if self.bank is not None:
            self.bank.calm()
        if self.payer is not None:
            self.payer.calm = True
        self.faults.calm()
        self.journal.note("all faults end")
        for worker in self.workers:
            worker.honest = True
            if worker.drains or (worker.link is not None and worker.link.half_open):
                worker.drop()
        for seeker in self.seekers:
            seeker.calm = True
        if self.rng.random() < 0.3 and self.life is not None:
            await self._die()
        for _ in range(_CALM_SECONDS):
            await self._quiet_while(1_000)
            if all(task.done() for task in tasks) and self._all_ended():
                break
        for task in tasks:
            self.journal.promise(task.done(), "a seeker was never answered")
            task.result()
        self.promises.check_the_end()
        if self.bank is not None:
            await self._done(seeker.look_at_all() for seeker in self.seekers)
        await self._every_slot_is_free()
        if self.payer is not None:
            await self._pay_all_workers(self.payer)

    async def _done(self, work: Iterable[Coroutine[Any, Any, None]]) -> None:
        """Have time pass until something is done."""
        done = asyncio.gather(*work)
        for _ in range(_CALM_SECONDS):
            if done.done():
                break
            await self._quiet_while(1_000)
        self.journal.promise(done.done(), "a request is not answered when all is calm")
        done.result()

    async def _pay_all_workers(self, payer: SimPayer) -> None:
        """What the last runs left open comes to its end, and everybody is paid what is owed."""

        async def pay() -> None:
            for _ in range(2):
                report = await payer.run()
            self.journal.money(
                MoneyPromise.DECIDED, report is not None and not report.open, f"payouts end with {report}."
            )

        if self.paying is not None:
            await self._done([_ended(self.paying)])
        await self._done([pay()])

    def _all_ended(self) -> bool:
        return not self.promises.unfinished and not self.promises.undecided

    async def _quiet_while(self, ms: int) -> None:
        self.journal.raise_broken()
        if self.life is None:
            await self._boot()
        await self._quiet_moment()
        await self._let_time_pass(ms)
        if self.stopping is not None and self.stopping.done():
            self.stopping.result()
            self.stopping = None
            self._cut_all_links()
            self._end_life()

    async def _quiet_moment(self) -> None:
        """Whatever can happen without time passing."""
        for _ in range(5):
            for worker in self.workers:
                worker.act(self.clock.steady_ms())
            await self._let_the_system_breathe()

    async def _every_slot_is_free(self) -> None:
        """As many fresh jobs as there are slots go out at once, and admission has forgotten all others."""
        # Until every slot was given up by a worker that does not know cancels, and every job has ended
        # that was stored and whose 201 was never seen.
        for _ in range(25):
            await self._quiet_while(9_000)
        assert self.life is not None
        assert self.life.system is not None
        counting = asyncio.ensure_future(ask(self.life.system.registry, CountWorkers()))
        await self.life.run()
        online = counting.result()
        self.journal.promise(online == len(self.workers), f"{online} of {len(self.workers)} workers are back")
        slots = sum(worker.slots for worker in self.workers)
        before = set(self.promises.sent)
        fresh = [asyncio.ensure_future(self.seekers[0].commit()) for _ in range(slots)]
        await self._let_the_system_breathe()
        await self._let_the_system_breathe()
        job_ids = {task.result() for task in fresh if task.done()}
        given = {job_id for job_id, _ in self.promises.sent - before}
        self.journal.promise(None not in job_ids and len(job_ids) == slots, "a fresh job was not taken")
        self.journal.promise(given == job_ids, f"{len(given)} of {slots} slots are free when all is calm")
        for _ in range(60):
            await self._quiet_while(1_000)
            if self._all_ended():
                break
        self.promises.check_the_end()
        self.journal.promise(len(self.life.watch) == 0, "a long poll was left behind")
        full = [asyncio.ensure_future(self.seekers[1].commit()) for _ in range(_JOBS_PER_USER)]
        await self._let_the_system_breathe()
        self.journal.promise(all(t.done() for t in full), "places of ended jobs were not given back")
        for _ in range(120):
            await self._quiet_while(1_000)
            if self._all_ended():
                break
        self.promises.check_the_end()

    def _check_file(self) -> None:
        connection = apsw.Connection(str(self.database), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            found = list(problems(connection, lambda done, of: None))
            if self.bank is not None:
                self._compare_books(self.bank, connection)
            rows = list(connection.execute("SELECT id, status, attempt, CAST(result AS BLOB) FROM jobs"))
        finally:
            connection.close()
        self.journal.promise(not found, f"the file is not sound: {found}")
        stored = {job_id: (status, attempt, result) for job_id, status, attempt, result in rows}
        kept = {
            job_id: (job.status.value, job.attempt, job.result) for job_id, job in self.promises.kept.items()
        }
        self.journal.promise(stored == kept, "the file holds something else than was committed")

    def _compare_books(self, bank: Bank, file: apsw.Connection) -> None:
        purses = [seeker.purse for seeker in self.seekers if seeker.purse is not None]
        accepted = {job_id: pubkey for (job_id, pubkey), _ in self.promises.accepted.items()}
        addresses = {one.pubkey: one.payout_address for one in self.workers if one.payout_address is not None}
        workers = WorkersBook(accepted, addresses)
        Books(self.journal, file, purses, bank.book(), workers, frozenset(bank.lied)).compare()


async def _ended(task: asyncio.Task[None]) -> None:
    await asyncio.wait([task])
