"""One life of the simulated coordinator: real actors and HTTP resources, stepped by the simulation."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from nacl.signing import SigningKey
from tornado.httputil import HTTPHeaders

from compute_router.actors.job_store import Answer as StoreAnswer
from compute_router.actors.messages.worker_registry import FrameArrived, SocketClosed, SocketOpened
from compute_router.actors.policy import MatchingPolicy
from compute_router.actors.system import System, start_system
from compute_router.protocol.countersigning import Countersigner
from compute_router.protocol.messages import WORKER_FRAMES, Register
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.units import DurationMs
from compute_router.storage.interface import Store
from compute_router.transport.app import routes
from compute_router.transport.authentication import Authentication, AuthMode
from compute_router.transport.error_answers import answer_for
from compute_router.transport.http_types import Answer, Request
from compute_router.transport.job_watch import JobWatch
from compute_router.transport.key_rates import KeyRates
from compute_router.transport.key_ring import KeyRing
from compute_router.transport.limits import AddressLimits
from compute_router.transport.router import Router
from compute_router.transport.shown_limits import shown_limits
from tests.chaos import money
from tests.chaos.journal import Journal
from tests.chaos.model import Promises
from tests.chaos.network import Link
from tests.chaos.sim_payer import ADMIN_KEY
from tests.fakes.chaos_actors import StoreMailbox, settle, stepped_wiring
from tests.fakes.clock import FakeClock
from tests.fakes.stepped import Mailbox

_KEY = SigningKey(b"k" * 32)
_LOOP_ACTORS = ("SteppedMatcher", "SteppedRegistry", "SteppedJanitor", "SteppedGate", "SteppedScheduler")


class Incarnation:
    """From the opening of the store to the kill or the stop."""

    def __init__(
        self,
        open_store: Callable[[], Store],
        before_answers: Callable[[], None],
        clock: FakeClock,
        policy: MatchingPolicy,
        rng: random.Random,
        journal: Journal,
        promises: Promises,
        line: money.Line | None = None,
    ) -> None:
        self._line = line
        self._open_store = open_store
        self._before_answers = before_answers
        self._clock = clock
        self._policy = policy
        self._rng = rng
        self._journal = journal
        self._promises = promises
        self._answers: deque[Sequence[StoreAnswer]] = deque()
        self._mailboxes: dict[str, Mailbox] = {}
        self._router = Router()
        self._requests: set[asyncio.Task[Answer]] = set()
        self._life = ExitStack()
        self.stopping = False
        self.watch = JobWatch()
        self.system: System | None = None
        self.dead = asyncio.Event()
        self.links: dict[int, Link] = {}

    async def start(self) -> None:
        """Open the store and take up what the last life left; everything is ready when this returns.

        Raises:
            Killed: the plan had it die meanwhile.
            ComputeRouterError: the store could not be opened or read.
        """
        self._mailboxes = self._life.enter_context(stepped_wiring(self._answers))
        starting = asyncio.ensure_future(
            start_system(
                network=NETWORKS[Chain.SOLANA],
                open_store=self._open_store,
                watchers=self.watch,
                on_death=self._on_death,
                policy=self._policy,
                clock=self._clock,
                payments=money.payments(self._line) if self._line else None,
            )
        )
        try:
            while not starting.done():
                await settle()
                self.run_actors()
                self.step_store()
                self.deliver_answers()
            self.system = starting.result()
        finally:
            starting.cancel()
        self._router = routes(
            self.system,
            self.watch,
            Authentication(
                AuthMode.OPEN, KeyRing([ADMIN_KEY]), KeyRates(AddressLimits(), self._clock.steady_ms)
            ),
            shown_limits(self._policy, AddressLimits(), 1024 * 1024),
            Countersigner(_KEY, NETWORKS[Chain.SOLANA].caip2),
            money.checkout(self._line, self.system, _KEY) if self._line else None,
        )
        self._promises.restarted()
        self._store_mailbox.on_request = self._promises.decided

    def _on_death(self, error: BaseException) -> None:
        self._journal.promise(False, f"an actor died: {error!r}")

    # Steps

    def step_actor(self) -> bool:
        """Have one actor of the event loop handle one message; False if there is no mail."""
        full = [box for name in _LOOP_ACTORS if (box := self._mailboxes.get(name))]
        if not full:
            return False
        self._rng.choice(full).step()
        return True

    def run_actors(self) -> None:
        """Have the actors of the event loop handle all their mail."""
        while self.step_actor():
            pass

    def step_store(self) -> None:
        """Have the store take some of its mail as one batch."""
        box = self._store_mailbox
        if box:
            box.take(self._rng.choice([1, 2, 3, len(box)]))

    def end_store_pause(self) -> None:
        """The store's pause between two tries is over."""
        self._store_mailbox.end_pause()

    @property
    def _store_mailbox(self) -> StoreMailbox:
        box = self._mailboxes["SteppedStore"]
        assert isinstance(box, StoreMailbox)
        return box

    def deliver_answers(self) -> bool:
        """Bring the oldest answers of the store to the event loop; False if there are none."""
        if not self._answers:
            return False
        self._before_answers()
        for answer in self._answers.popleft():
            answer.deliver()
        return True

    async def run(self) -> None:
        """Go on until nothing is left to do at this moment."""
        while True:
            await settle()
            self.run_actors()
            self.step_store()
            await settle()
            if not self.deliver_answers() and not any(self._mailboxes.values()):
                return

    # The edge

    def open_link(self, link: Link) -> None:
        """A worker's handshake is done."""
        assert self.system is not None
        self.links[link.worker_id] = link
        self.system.registry.tell(SocketOpened(link))

    def frame_arrives(self, link: Link, pubkey: str, proven: bool, text: bytes | None) -> None:
        """The head of a link's line, or its end, arrives."""
        assert self.system is not None
        if text is None:
            if self.links.pop(link.worker_id, None) is not None:
                self._promises.connection_lost(link.worker_id)
                self.system.registry.tell(SocketClosed(link.worker_id))
            return
        frame = WORKER_FRAMES.decode(text)
        self._promises.heard(link.worker_id, pubkey, proven, frame)
        if not isinstance(frame, Register):
            self._journal.note(f"{link.worker} says {frame}")
        self.system.registry.tell(FrameArrived(link.worker_id, frame))

    async def request(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        """Serve a request as ``HttpApi`` does.

        Raises:
            ConnectionError: the coordinator died meanwhile.
        """
        request = Request(method, target, HTTPHeaders(headers))
        request.body = body
        task = asyncio.ensure_future(self._serve(request))
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)
        death = asyncio.ensure_future(self.dead.wait())
        try:
            await asyncio.wait((task, death), return_when=asyncio.FIRST_COMPLETED)
        finally:
            death.cancel()
            if method == "GET" or self.dead.is_set():
                task.cancel()
        if self.dead.is_set():
            raise ConnectionError("the coordinator died")
        return task.result()

    async def _serve(self, request: Request) -> Answer:
        try:
            handler, variable = self._router.find(request.method, request.path)
            answer = await handler(request, variable)
            assert isinstance(answer, Answer)
            return answer
        except Exception as error:
            return answer_for(error)

    # The end

    async def stop(self, drain: DurationMs) -> None:
        """SIGTERM: drain, answer what waits, close sockets, stop the actors, close the store."""
        assert self.system is not None
        await self.system.drain(drain)
        self.watch.release_all()
        if self._requests:
            await asyncio.wait(self._requests, timeout=2.0)
        await self.system.close_workers()
        self.stopping = True
        self.dead.set()
        stopping = asyncio.ensure_future(self.system.stop())
        try:
            while not stopping.done():
                await settle()
                # The event loop's own order: one actor's mail after the other's.
                for name in _LOOP_ACTORS:
                    self._mailboxes[name].run()
                self.step_store()
                while self.deliver_answers():
                    pass
        finally:
            # A kill may come in the middle.
            stopping.cancel()
        self.end_of_life()

    def end_of_life(self) -> None:
        """Nothing of this life acts any more; whoever waits for it notices."""
        self.dead.set()
        self._life.close()
        for task in list(self._requests):
            task.cancel()
