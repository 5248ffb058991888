"""The whole wiring: which actors there are, in which order they start, and how they stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import msgspec
import pykka
from pykka.messages import _ActorStop

from compute_router.actors.clock import Clock, SystemClock
from compute_router.actors.health import HealthBoard
from compute_router.actors.janitor import Janitor
from compute_router.actors.job_store import Answer, JobStore
from compute_router.actors.matcher import Matcher
from compute_router.actors.messages.job_store import LoadUnfinished
from compute_router.actors.messages.matcher import Recover, StartDrain
from compute_router.actors.messages.payment_gate import DrainPayments
from compute_router.actors.messages.payment_steps import LoadOpenPayments, OpenPayments
from compute_router.actors.messages.store_request import StoreRequest
from compute_router.actors.messages.stored_trust import DropAudits, LoadTrackRecords, TrackRecordsLoaded
from compute_router.actors.messages.worker_registry import BarredKeys, CloseAllSockets, CountWorkers
from compute_router.actors.payment_executor import PaymentExecutor
from compute_router.actors.payment_gate import PaidWatchers, PaymentGate, Till
from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.actors.payment_ports import ChainReader, Facilitator
from compute_router.actors.policy import MatchingPolicy
from compute_router.actors.ports import JobWatchers
from compute_router.actors.registry_core import RegistryCore
from compute_router.actors.retry_scheduler import RetryScheduler
from compute_router.actors.runtime import FailStop, ask
from compute_router.actors.track_record import MAX_REMEMBERED
from compute_router.actors.wording import counted
from compute_router.actors.worker_registry import AttachMatcher, WorkerRegistry
from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.networks import Network
from compute_router.protocol.units import DurationMs
from compute_router.storage.interface import Store

logger = logging.getLogger(__name__)

_LEGACY_WORKERS: Final = (
    "Legacy workers: PRIVATE jobs that are not sealed go to whoever names a paired key, without proof of it."
)


class Payments(msgspec.Struct, frozen=True, kw_only=True):
    """What a coordinator needs to be paid."""

    facilitator: Facilitator
    chain: ChainReader
    policy: PaymentPolicy = PaymentPolicy()


class System(msgspec.Struct, frozen=True):
    """The running actors, as the edge sees them."""

    network: Network
    policy: MatchingPolicy
    clock: Clock
    store: pykka.ActorRef[Any]
    registry: pykka.ActorRef[Any]
    matcher: pykka.ActorRef[Any]
    gate: pykka.ActorRef[Any]
    scheduler: pykka.ActorRef[Any]
    janitor: pykka.ActorRef[Any]
    health: HealthBoard
    store_stopped: asyncio.Event
    payments: Payments | None = None

    async def drain(self, limit: DurationMs) -> None:
        """Take no more jobs, and wait until workers hold none, but no longer than ``limit``.

        Settlements that are under way then have the rest of that time.
        """
        idle, settled = asyncio.Event(), asyncio.Event()
        self.health.report("coordinator", "It is about to stop and takes no more jobs.")
        await ask(self.matcher, StartDrain(idle.set))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit / 1000):
                await idle.wait()
                if self.payments is not None:
                    await ask(self.gate, DrainPayments(settled.set))
                    await settled.wait()

    async def close_workers(self) -> None:
        """Say goodbye to all workers; their jobs stay as they are in the store."""
        await ask(self.registry, CloseAllSockets())

    async def stop(self) -> None:
        """Stop the actors against the order of their start. What the store was told is written first."""
        for ref in (self.matcher, self.registry, self.janitor, self.gate, self.scheduler):
            if ref.is_alive():
                # What ref.stop() sends; but the future that ref.stop() returns cannot be awaited. The store
                # must not be stopped before the others have told it everything.
                with contextlib.suppress(pykka.ActorDeadError):  # it died on the way, and said so
                    await ask(ref, _ActorStop())
        if self.store.is_alive():
            self.store.stop(block=False)
        await self.store_stopped.wait()


async def start_system(
    *,
    network: Network,
    open_store: Callable[[], Store],
    watchers: JobWatchers,
    on_death: Callable[[BaseException], None],
    policy: MatchingPolicy | None = None,
    payments: Payments | None = None,
    keep: DurationMs | None = None,
    clock: Clock | None = None,
) -> System:
    """Start the actors, and return when unfinished jobs of an earlier run are taken up again.

    Args:
        network: the chain this coordinator serves.
        open_store: opens the database; called once, on this thread.
        watchers: told about every job that ends.
        on_death: told once when an actor dies; the process must then end.
        policy: times and limits of matching.
        payments: how commits are paid for; None: every job is free.
        keep: how long finished jobs are kept; None keeps them for ever.
        clock: the machine's, unless a test holds it.

    Raises:
        ConfigurationError: the database cannot be used, or its ledger is damaged and payments are on.
    """
    policy = policy or MatchingPolicy()
    clock = clock or SystemClock()
    loop = asyncio.get_running_loop()
    store_stopped = asyncio.Event()
    health = HealthBoard()
    if policy.legacy_workers:
        logger.warning("%s", _LEGACY_WORKERS)
        health.notes.append(_LEGACY_WORKERS)

    def fail_stop(error: BaseException) -> None:
        # The store's actor dies in its own thread.
        loop.call_soon_threadsafe(on_death, error)

    started: list[pykka.ActorRef[Any]] = []

    def start(actor: type[FailStop], *args: Any, **kwargs: Any) -> pykka.ActorRef[Any]:
        started.append(actor.start(fail_stop, *args, **kwargs))
        return started[-1]

    try:
        store = start(
            JobStore,
            open_store,
            clock,
            post=lambda answers: loop.call_soon_threadsafe(_deliver_all, answers),
            on_stopped=lambda: loop.call_soon_threadsafe(store_stopped.set),
            report=lambda problem: loop.call_soon_threadsafe(health.report, "storage", problem),
        )
    except BaseException:
        for ref in started:
            ref.stop(block=False)
        raise
    scheduler = start(RetryScheduler, clock, _wake_up_by(loop))
    registry = start(WorkerRegistry, RegistryCore(network.caip2, policy), clock, scheduler)
    if payments is None:
        gate, told = start(PaymentGate), watchers
    else:
        till = Till(
            policy=payments.policy,
            clock=clock,
            store=store,
            scheduler=scheduler,
            watchers=watchers,
            executor=partial(PaymentExecutor, payments.facilitator, payments.chain, payments.policy),
            report=partial(health.report, "payments"),
        )
        gate = start(PaymentGate, till)
        told = PaidWatchers(gate, watchers)
    matcher = start(Matcher, policy, clock, store, scheduler, registry, told)
    registry.tell(AttachMatcher(matcher))
    janitor = start(Janitor, clock, store, scheduler, keep)
    system = System(
        network,
        policy,
        clock,
        store,
        registry,
        matcher,
        gate,
        scheduler,
        janitor,
        health,
        store_stopped,
        payments,
    )
    # Before any job can end.
    await _take_up_payments(system)
    store.tell(StoreRequest(DropAudits()))
    loaded: TrackRecordsLoaded = await ask(store, LoadTrackRecords(MAX_REMEMBERED))
    registry.tell(BarredKeys(loaded.barred))
    await ask(matcher, loaded)
    unfinished: Recover = await ask(store, LoadUnfinished())
    await ask(matcher, unfinished)
    await ask(registry, CountWorkers())
    if unfinished.jobs:
        logger.info("took up %s", counted(len(unfinished.jobs), "unfinished job"))
    return system


async def _take_up_payments(system: System) -> None:
    found: OpenPayments = await ask(system.store, LoadOpenPayments())
    if system.payments is None:
        if found.payments:
            wait = f"Payments of an earlier run that wait for --payments on: {len(found.payments)}."
            logger.warning("%s", wait)
            system.health.notes.append(wait)
        return
    if found.ledger_sum:
        await system.stop()
        raise ConfigurationError(
            f"The ledger is damaged: its sum is {found.ledger_sum} micro-USD and not zero. Restore a backup, "
            "or start with --payments off, which moves no money."
        )
    system.gate.tell(AttachMatcher(system.matcher))
    await ask(system.gate, found)
    if found.payments:
        logger.info("took up %s", counted(len(found.payments), "open payment"))


def _deliver_all(answers: Sequence[Answer]) -> None:
    for answer in answers:
        answer.deliver()


def _wake_up_by(loop: asyncio.AbstractEventLoop) -> Any:
    def wake_up(delay: DurationMs, call: Callable[[], None]) -> Callable[[], None]:
        return loop.call_later(delay / 1000, call).cancel

    return wake_up
