"""One seed against real processes: a coordinator that is killed at named points, and real sockets.

The faults of a life are drawn from the seed; the order in which the machine runs things is not, so a seed
repeats the script of faults and not each interleaving.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from compute_router.protocol.messages import Frame
from compute_router.protocol.networks import Chain
from compute_router.transport.http_types import Answer
from tests.chaos.errors_logged import is_explained
from tests.chaos.faults import POINTS, Point
from tests.chaos.journal import Journal
from tests.chaos.purses import Purse
from tests.chaos.sim_seeker import SimSeeker
from tests.chaos.sim_worker import SimWorker, Wire
from tests.chaos.wire_link import WireLink
from tests.chaos.wire_model import WirePromises
from tests.fakes.chaos_coordinator import Plan

ROOT: Final = Path(__file__).parents[2]
USERS: Final = ("alice", "bob", "carol")
WORKERS: Final = 3
_FAULTS_LAST_MS: Final = 5_000
_FAULT_EVERY_MS: Final = 120
_STEP_SECONDS: Final = 0.02
_PATIENCE_SECONDS: Final = 40.0
HURRY: Final = 0.02
_ERROR: Final = re.compile(r" (ERROR|CRITICAL) |Traceback")
_LISTENING: Final = re.compile(r"listening on http://127\.0\.0\.1:(\d+)")


class ProcessRun:
    """Everything of one seed."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.rng = random.Random(seed)
        self.journal = Journal(seed)
        started = time.monotonic()
        self.journal.now_ms = lambda: int((time.monotonic() - started) * 1000)
        self.promises = WirePromises(self.journal)
        self.database = directory / "chaos.db"
        self.directory = directory
        self.seed = seed
        self.lives = 0
        self.stops = 0
        self.kills = 0
        self.plan = Plan()
        self.port = 0
        self.calm = False
        self._next_fault_at = 0
        self.up = asyncio.Event()
        self.news = asyncio.Event()
        self.coordinator: asyncio.subprocess.Process | None = None
        self.worker_process: asyncio.subprocess.Process | None = None
        self.links: list[WireLink] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.http = httpx.AsyncClient(trust_env=False, timeout=_PATIENCE_SECONDS)
        self.workers = [
            SimWorker(
                f"worker-{number}",
                proven=number != 2,
                slots=1 + number % 2,
                rng=self.rng,
                journal=self.journal,
                promises=self.promises,
                connect=self._connect,
                beat_every_ms=1_000,
                payout_address=self._payout_address(number),
            )
            for number in range(WORKERS)
        ]
        self.seekers = [
            SimSeeker(
                user,
                self._ask,
                self.rng,
                self.journal,
                self.promises,
                pause=self._pause,
                hurry=HURRY,
                purse=self._purse(number),
            )
            for number, user in enumerate(USERS)
        ]

    # What a coordinator that is paid has more

    chain = Chain.SOLANA
    points: Sequence[Point | str] = POINTS
    longest_countdown = 6

    def _payout_address(self, number: int) -> str | None:
        """Where a worker wants its earnings."""
        return None

    def _purse(self, number: int) -> Purse | None:
        """What a seeker pays with."""
        return None

    def _money_flags(self) -> Sequence[str]:
        """Flags of the coordinator about payments."""
        return ()

    async def _before(self) -> None:
        """Before the first life of the coordinator."""

    async def _before_faults(self) -> None:
        """The coordinator is there, and no worker yet."""

    async def _money_fault(self) -> None:
        """Something about money goes wrong, perhaps."""

    async def _tick(self) -> None:
        """A moment has passed."""

    def _calm_money(self) -> None:
        """No more faults about money."""

    async def _payments_are_well(self) -> None:
        """When everything else is calm: payments can be taken again."""

    async def _settle_all(self) -> None:
        """When everything else is calm: payments and payouts come to their end."""

    def _check_money(self) -> None:
        """After the last stop."""

    async def run(self) -> None:
        """Live through the faults, then through the calm, and check what is left.

        Raises:
            Violation: a promise was broken.
        """
        try:
            await self._before()
            await self._start_coordinator(Plan())
            await self._before_faults()
            await self._start_worker_process()
            await self.seekers[0].pair(self.workers[0].pubkey)
            seekers = [asyncio.ensure_future(s.live(self.rng.randint(4, 8))) for s in self.seekers]
            try:
                ends = self.journal.now_ms() + _FAULTS_LAST_MS
                while self.journal.now_ms() < ends:
                    await self._step()
                await self._calm(seekers)
            finally:
                for task in seekers:
                    task.cancel()
                await asyncio.gather(*seekers, return_exceptions=True)
            self.promises.check_the_file(self.database)
            self._check_money()
        finally:
            await self._end()
        log = (self.directory / "coordinator.log").read_text("utf-8").splitlines()
        errors = [line for line in log if _ERROR.search(line) and not is_explained(line)]
        self.journal.promise(not errors, f"errors were logged: {errors}")

    # One step

    async def _step(self) -> None:
        self.journal.raise_broken()
        await self._revive()
        await self._tick()
        self.rng.choice(self.workers).act(self.journal.now_ms())
        if self.journal.now_ms() >= self._next_fault_at:
            self._next_fault_at = self.journal.now_ms() + self.rng.randint(1, 2 * _FAULT_EVERY_MS)
            await self._fault()
            await self._money_fault()
        self.news.clear()
        try:
            async with asyncio.timeout(_STEP_SECONDS):
                await self.news.wait()
        except TimeoutError:
            return

    async def _fault(self) -> None:
        worker = self.rng.choice(self.workers)
        what = self.rng.choice([0, 1, 2, 2, 3, 3, 4, 4, 5, 6, 6, 6])
        assert self.coordinator is not None
        if what == 0:
            self.journal.fault("kill coordinator")
            self._kill()
        elif what == 1:
            self.journal.fault("SIGTERM")
            self._signal(signal.SIGTERM)
        elif what == 2:
            self.journal.fault("kill worker", worker.name)
            worker.crash()
        elif what == 3 and worker.link is not None:
            self.journal.fault("clean drop", worker.name)
            worker.link.cut(lose=self.rng.random() < 0.5)
        elif what == 4 and worker.link is not None and worker.proven:
            # A frozen connection without proof would keep its slot until the heartbeat's time-out.
            self.journal.fault("half-open", worker.name)
            worker.link.freeze()
            worker.drop()
        elif what == 5 and self.worker_process is not None:
            self.journal.fault("kill worker process")
            send(self.worker_process, signal.SIGKILL)
        elif (said := worker.misbehave()) is not None:
            self.journal.fault("misbehaving worker", said)

    # Processes

    def _signal(self, number: int) -> None:
        assert self.coordinator is not None
        self.stops += number == signal.SIGTERM
        self.kills += number == signal.SIGKILL
        send(self.coordinator, number)

    def _kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _next_plan(self) -> Plan:
        if self.calm:
            return Plan()
        if self.rng.random() < 0.3:
            plan = Plan(well_commits=self.rng.randint(1, 12), ill_commits=self.rng.randint(1, 3))
            self.journal.fault("storage error", str(plan))
            return plan
        point = self.points[(self.seed * 5 + self.lives) % len(self.points)]
        countdown = self.rng.randint(0, self.longest_countdown)
        if isinstance(point, str):
            plan = Plan(countdown=countdown, port=point)
        else:
            plan = Plan(*point, countdown=countdown)
        self.journal.script.append(f"life {self.lives} is to end at {plan.name}")
        return plan

    async def _revive(self) -> None:
        assert self.coordinator is not None
        if self.coordinator.returncode is not None:
            code = self.coordinator.returncode
            if code == -signal.SIGKILL:
                self.journal.note(f"life {self.lives} of the coordinator was killed")
                if not self.kills:
                    self.journal.fault(f"kill {self.plan.name}")
            # The second of two SIGTERMs may find that the first has done everything but end the process.
            ends = {0, -signal.SIGKILL} | ({-signal.SIGTERM} if self.stops > 1 else set())
            self.journal.promise(code in ends, f"the coordinator ended with {code}")
            await self._start_coordinator(self._next_plan())
        if self.worker_process is None or self.worker_process.returncode is not None:
            await self._start_worker_process()

    async def _start_coordinator(self, plan: Plan) -> None:
        self.lives += 1
        self.stops = self.kills = 0
        self.plan = plan
        self.coordinator = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.fakes.chaos_coordinator",
            msgspec.json.encode(plan).decode(),
            *("--chain", self.chain.value, "--port", str(self.port), "--db", str(self.database)),
            *("--queue-window-seconds", "3", "--drain-seconds", "0.5"),
            *self._money_flags(),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=(self.directory / "coordinator.log").open("ab"),
        )
        self._keep(self._watch(self.coordinator))
        assert self.coordinator.stdout is not None
        async with asyncio.timeout(_PATIENCE_SECONDS):
            line = (await self.coordinator.stdout.readline()).decode()
        listening = _LISTENING.search(line)
        if listening is not None:
            self.port = int(listening.group(1))
            self.journal.note(f"life {self.lives} of the coordinator begins")
            self.up.set()

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        await process.wait()
        self.up.clear()
        self.news.set()

    async def _start_worker_process(self) -> None:
        self.worker_process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "compute_router.worker"),
            *("--coordinator", f"http://127.0.0.1:{self.port}", "--type", "seeker", "--slots", "2"),
            *("--key", str(self.directory / "worker.key"), "--drain-seconds", "1"),
            cwd=ROOT,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=(self.directory / "worker.log").open("ab"),
        )

    # Sockets and requests

    def _connect(self, worker: SimWorker) -> Wire | None:
        if not self.up.is_set():
            return None

        def hears(frame: Frame) -> None:
            if worker.link is link:
                self.journal.note(f"to {worker.name}: {frame}")
                self.promises.told_worker(worker.pubkey, frame)
                worker.hears(frame)
                self.news.set()

        def lost() -> None:
            if worker.link is link:
                worker.loses_link()
                self.news.set()

        link = WireLink(hears, lost)
        self.links.append(link)
        self._keep(link.live(self.port))
        return link

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _ask(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await self.up.wait()
        url = f"http://127.0.0.1:{self.port}{target}"
        try:
            answer = await self.http.request(method, url, headers=headers, content=body)
        except httpx.TransportError as error:
            raise ConnectionError(str(error)) from error
        self.news.set()
        return Answer(answer.status_code, answer.content, tuple(answer.headers.items()))

    async def _pause(self, seconds: float) -> None:
        """Until something happens; at most as long as asked for, in the hurried time of this layer."""
        self.news.clear()
        try:
            async with asyncio.timeout(max(seconds * HURRY, 0.01)):
                await self.news.wait()
        except TimeoutError:
            return

    # The calm

    async def _calm(self, seekers: list[asyncio.Task[None]]) -> None:
        self.calm = True
        self.journal.note("all faults end")
        self._calm_money()
        for worker in self.workers:
            worker.honest = True
            worker.drop()
        for seeker in self.seekers:
            seeker.calm = True
        self._signal(signal.SIGKILL if self.rng.random() < 0.5 else signal.SIGTERM)
        assert self.coordinator is not None
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await self.coordinator.wait()
        await self._until(lambda: all(task.done() for task in seekers), "a seeker was never answered")
        for task in seekers:
            task.result()
        for job_id in sorted(self.promises.acknowledged):
            looking = asyncio.ensure_future(self.seekers[0].look(job_id, wait=True, until_ended=True))
            await self._until(looking.done, f"{job_id} was acknowledged and does not end")
            looking.result()
        await self._every_slot_is_free()
        await self._settle_all()
        self._signal(signal.SIGTERM)
        async with asyncio.timeout(_PATIENCE_SECONDS):
            code = await self.coordinator.wait()
        self.journal.promise(code == 0, f"the last stop ended with {code}")

    async def _until(self, done: Callable[[], bool], otherwise: str) -> None:
        """Have everybody behave until something is so."""
        deadline = self.journal.now_ms() + int(_PATIENCE_SECONDS * 1000)
        while not done():
            self.journal.promise(self.journal.now_ms() < deadline, otherwise)
            for worker in self.workers:
                worker.act(self.journal.now_ms())
            await self._step_quietly()

    async def _step_quietly(self) -> None:
        self.journal.raise_broken()
        await self._revive()
        await self._tick()
        await self._pause(_STEP_SECONDS / HURRY)

    async def _every_slot_is_free(self) -> None:
        """As many fresh jobs as the fakes have slots go out before any of them is done."""
        await self._until(lambda: all(w.registered for w in self.workers), "a worker cannot come back")
        await self._payments_are_well()
        before = set(self.promises.assigned)
        fresh = [
            asyncio.ensure_future(self.seekers[0].commit("LLM_INFER"))
            for w in self.workers
            for _ in range(w.slots)
        ]
        deadline = self.journal.now_ms() + 1_200
        while len(set(self.promises.assigned) - before) < len(fresh):
            out = len(set(self.promises.assigned) - before)
            self.journal.promise(
                self.journal.now_ms() < deadline, f"{out} of {len(fresh)} slots are free when all is calm"
            )
            await self._step_quietly()
        for job_id in await asyncio.gather(*fresh):
            assert job_id is not None
            looking = asyncio.ensure_future(self.seekers[0].look(job_id, wait=True, until_ended=True))
            await self._until(looking.done, f"{job_id} does not end")

    async def _end(self) -> None:
        for process in (self.coordinator, self.worker_process):
            if process is not None:
                send(process, signal.SIGKILL)
                await process.wait()
        for link in self.links:
            link.destroy()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.http.aclose()


def send(process: asyncio.subprocess.Process, number: int) -> None:
    """Send a signal, if the process is still there.

    Not with its own method: that looks for the exit code first, and takes it from the event loop.
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
