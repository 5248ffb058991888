"""A gate that has jobs paid for, stepped by hand, with the rules of the real store and a play chain."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from compute_router.actors.messages.base import Message
from compute_router.actors.messages.edge import Chunk, Progress
from compute_router.actors.messages.job_store import (
    InsertJob,
    JobEnded,
    RecordCancelled,
    RecordCompletion,
    RecordFailed,
)
from compute_router.actors.messages.matcher import Cancel
from compute_router.actors.messages.payment_gate import (
    FacilitatorProbed,
    JobCommitted,
    OutcomeRead,
    SettleAnswered,
)
from compute_router.actors.messages.payment_steps import LoadOpenPayments
from compute_router.actors.messages.store_request import StoreRequest
from compute_router.actors.messages.timers import ArmTimer, CancelTimer
from compute_router.actors.payment_gate import PaidWatchers, PaymentGate, Till
from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.actors.store_requests import handle
from compute_router.actors.worker_registry import AttachMatcher
from compute_router.protocol.failures import Failure, failed_result
from compute_router.protocol.ledger import credit_account, fee_of, payer_account, worker_account
from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.payments import (
    NewPayment,
    NotSettled,
    Payment,
    Refused,
    Settled,
    StillOpen,
    Unknown,
)
from compute_router.protocol.units import MicroUsd, UnixMs
from compute_router.storage.interface import JobView
from tests.actors.samples import a_job, completion, key
from tests.fakes.clock import FakeClock
from tests.fakes.stepped import RecordingRef, Stepped, mailbox
from tests.storage.memory_store import MemoryStore, Tables

PRICE = MicroUsd(10_000)
WORKER = key("d")
SECRET = b"the authorization"


class SteppedGate(Stepped, PaymentGate):
    pass


class PlayChain:
    """Moves money once for each authorization, and only before it expires. Survives every crash."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.moved: dict[str, str] = {}
        self.poor: set[str] = set()
        self.on_its_way: list[Payment] = []
        """Sent to the chain, and not in a block yet."""

    def carry_out(self, payment: Payment) -> Settled | Refused:
        """Put a transaction into a block."""
        if payment.payment_id in self.moved:
            return Refused("the authorization was used")
        if self._clock.unix_ms() >= payment.expires_at:
            return Refused("the authorization has expired")
        if payment.payer in self.poor:
            return Refused("there is not enough money")
        self.moved[payment.payment_id] = f"tx-{payment.payment_id}"
        return Settled(self.moved[payment.payment_id])

    def outcome(self, payment: Payment) -> Settled | NotSettled | StillOpen:
        """What became of an authorization."""
        if payment.payment_id in self.moved:
            return Settled(self.moved[payment.payment_id])
        if self._clock.unix_ms() >= payment.expires_at:
            return NotSettled("authorization_expired")
        return StillOpen()


class PlayExecutor:
    """Writes down what is asked until the test answers; ``on_settle`` hears of each settlement at once."""

    def __init__(self) -> None:
        self.settlements: list[Payment] = []
        self.readings: list[Payment] = []
        self.looks: list[Payment] = []
        self.probes = 0
        self.closed = False
        self.on_settle: Callable[[Payment], None] = lambda payment: None

    def settle(self, payment: Payment) -> None:
        self.on_settle(payment)
        self.settlements.append(payment)

    def read(self, payment: Payment) -> None:
        self.readings.append(payment)

    def look(self, payment: Payment) -> None:
        self.looks.append(payment)

    def probe(self) -> None:
        self.probes += 1

    def close(self) -> None:
        self.closed = True


class Told:
    """Whoever waits for jobs."""

    def __init__(self) -> None:
        self.views: list[JobView] = []
        self.steps: list[Progress | Chunk] = []

    def progress(self, step: Progress | Chunk) -> None:
        self.steps.append(step)

    def publish(self, view: JobView) -> None:
        self.views.append(view)


class Shop:
    """One coordinator's worth of paid jobs. Nothing happens by itself but what :meth:`settle_down` does."""

    def __init__(self, policy: PaymentPolicy | None = None) -> None:
        self.policy = policy or PaymentPolicy()
        self.clock = FakeClock()
        self.chain = PlayChain(self.clock)
        self.disk = MemoryStore(Tables())
        self.on_settle: Callable[[Payment], None] = lambda payment: None
        self._born()

    def _born(self) -> None:
        self.store, self.scheduler, self.matcher = RecordingRef(), RecordingRef(), RecordingRef()
        self.problem: str | None = None
        self.executor = PlayExecutor()
        self.executor.on_settle = lambda payment: self.on_settle(payment)
        self.told = Told()
        self.timers: dict[str, tuple[int, Message]] = {}
        self.requests: deque[Message] = deque()
        self.answers: deque[Message] = deque()
        self.ends: deque[JobView] = deque()
        till = Till(
            policy=self.policy,
            clock=self.clock,
            store=self.store,
            scheduler=self.scheduler,
            watchers=self.told,
            executor=self._employ,
            report=self._report,
        )
        self.gate = SteppedGate.start(pytest.fail, till)
        self.watchers = PaidWatchers(self.gate, self.told)
        self.tell(AttachMatcher(self.matcher))

    def _employ(self, tell: Callable[[Message], None]) -> PlayExecutor:
        return self.executor

    def _report(self, problem: str | None) -> None:
        self.problem = problem

    def crash(self) -> None:
        """Die and come back with what is on the disk."""
        self._born()
        with self.disk.transaction():
            found = handle(self.disk, self.clock, LoadOpenPayments())
        assert found.ledger_sum == 0
        self.tell(found)

    # The gate

    def tell(self, message: object) -> None:
        """Have the gate handle a message, and sort what it tells others."""
        self.gate.tell(message)
        mailbox(self.gate).run()
        self._sort()

    def ask(self, message: object) -> Any:
        """Have the gate answer."""
        future = self.gate.ask(message, block=False)
        mailbox(self.gate).run()
        self._sort()
        return future.get()

    def _sort(self) -> None:
        for request in self.store.take():
            assert isinstance(request, StoreRequest)
            assert request.reply_to == self.gate
            self.requests.append(request.body)
        for message in self.scheduler.take():
            match message:
                case ArmTimer(timer, _):
                    self.timers[timer.key] = (self.clock.steady_ms() + timer.delay, timer.message)
                case CancelTimer(name):
                    self.timers.pop(name, None)

    # What others do, one thing at a time

    def serve_store(self) -> None:
        """The store carries out one request of the gate."""
        request = self.requests.popleft()
        with self.disk.transaction():
            answer = handle(self.disk, self.clock, request)
        if answer is not None:
            self.answers.append(answer)

    def deliver_answer(self) -> None:
        """One answer of the store arrives."""
        self.tell(self.answers.popleft())

    def deliver_end(self) -> None:
        """The Matcher publishes the end of one job."""
        self.watchers.publish(self.ends.popleft())
        mailbox(self.gate).run()
        self._sort()

    def matcher_cancels(self) -> None:
        """The Matcher does what the gate wants of it."""
        for message in self.matcher.take():
            assert isinstance(message, Cancel)
            self.cancel(message.job_id)

    def fire_timers(self) -> None:
        """Whatever is due is told."""
        for name, (due, message) in sorted(self.timers.items(), key=lambda timer: timer[1][0]):
            if due <= self.clock.steady_ms() and self.timers.get(name) == (due, message):
                del self.timers[name]
                self.tell(message)

    def settle_down(self) -> None:
        """Store and Matcher do all that they were told, until there is nothing more."""
        while self.requests or self.answers or self.ends or self.matcher.told:
            while self.requests:
                self.serve_store()
            while self.answers:
                self.deliver_answer()
            while self.ends:
                self.deliver_end()
            self.matcher_cancels()

    def pass_time(self, ms: int) -> None:
        """Time passes, in steps that no timer is missed in."""
        self.settle_down()
        end = self.clock.steady_ms() + ms
        while True:
            due = min((due for due, _ in self.timers.values()), default=end)
            if due >= end:
                break
            self.clock.advance(max(0, due - self.clock.steady_ms()))
            self.fire_timers()
            self.settle_down()
        self.clock.advance(end - self.clock.steady_ms())
        self.fire_timers()
        self.settle_down()

    def facilitator_says(self, answer: Settled | Refused | Unknown, has: int | None = None) -> Payment:
        """The facilitator answers the oldest question so, whatever is true; the payer has so much then."""
        payment = self.executor.settlements.pop(0)
        self.tell(SettleAnswered(payment.payment_id, answer, None if has is None else MicroUsd(has)))
        self.settle_down()
        return payment

    def facilitator_settles(self) -> None:
        """The facilitator does what it is there for."""
        payment = self.executor.settlements.pop(0)
        self.tell(SettleAnswered(payment.payment_id, self.chain.carry_out(payment)))
        self.settle_down()

    def chain_says(self, *, unreadable: bool = False) -> None:
        """The chain answers the oldest question."""
        payment = self.executor.readings.pop(0)
        outcome = Unknown("no route") if unreadable else self.chain.outcome(payment)
        self.tell(OutcomeRead(payment.payment_id, outcome))
        self.settle_down()

    def chain_says_of_a_void(self, *, unreadable: bool = False) -> None:
        """The chain answers the oldest question about a payment that was given up."""
        payment = self.executor.looks.pop(0)
        outcome = Unknown("no route") if unreadable else self.chain.outcome(payment)
        self.tell(OutcomeRead(payment.payment_id, outcome))
        self.settle_down()

    def facilitator_is(self, problem: str | None) -> None:
        """The facilitator answers how it is."""
        assert self.executor.probes
        self.executor.probes -= 1
        self.tell(FacilitatorProbed(problem))
        self.settle_down()

    # Jobs

    def commit(self, job_id: str, *, payer: str = "alice", lives: int = 3_600_000) -> NewPayment:
        """Store a paid job and tell the gate."""
        payment = a_payment(job_id, payer, UnixMs(self.clock.unix_ms() + lives))
        self.insert(job_id, payment)
        self.tell(JobCommitted(job_id, payment))
        return payment

    def insert(self, job_id: str, payment: NewPayment) -> None:
        """Store a paid job."""
        with self.disk.transaction():
            assert handle(self.disk, self.clock, InsertJob(a_job(job_id), payment=payment)) == ()

    def complete(self, job_id: str) -> None:
        """A worker brings a result; it is durable, and the gate has not heard of it yet."""
        with self.disk.transaction():
            self.disk.assign_job(job_id, 1, WORKER, UnixMs(self.clock.unix_ms() + 1_000))
            frame = completion(job_id, attempt=1)
            recorded = handle(self.disk, self.clock, RecordCompletion(1, WORKER, 1, frame))
        if recorded.view is not None:
            self.ends.append(recorded.view)

    def fail(self, job_id: str) -> None:
        """A job fails; that is durable, and the gate has not heard of it yet."""
        result = failed_result(Failure.NO_ELIGIBLE_WORKER)
        self._end(RecordFailed(job_id, 0, result))

    def cancel(self, job_id: str) -> None:
        """A job is wanted no more."""
        self._end(RecordCancelled(job_id))

    def _end(self, request: RecordFailed | RecordCancelled) -> None:
        with self.disk.transaction():
            ended: JobEnded = handle(self.disk, self.clock, request)
        if ended.view is not None:
            self.ends.append(ended.view)

    # What is true

    def payment(self, job_id: str) -> Payment:
        """A payment as the disk has it."""
        payment = self.disk.payment_of(job_id)
        assert payment is not None
        return payment

    def state(self, job_id: str) -> PaymentState:
        """How a payment stands on the disk."""
        return self.payment(job_id).state

    def earned(self) -> int:
        """What the worker is owed."""
        return self.disk.balance(worker_account(WORKER))

    def paid(self, payer: str = "alice") -> int:
        """What a payer gave, by the ledger."""
        return -self.disk.balance(payer_account(payer))

    def credit(self, payer: str = "alice") -> int:
        """What a payer may still spend, by the ledger."""
        return self.disk.balance(credit_account(payer))


def a_payment(job_id: str, payer: str, expires_at: UnixMs, **changes: Any) -> NewPayment:
    """An authorization that was verified."""
    given: dict[str, Any] = {
        "payment_id": f"pay-{job_id}",
        "payer": payer,
        "network": "eip155:10143",
        "asset": "usdc",
        "pay_to": "operator",
        "amount": PRICE,
        "fee": fee_of(PRICE, 500),
        "expires_at": expires_at,
        "x402_version": 2,
        "payload": SECRET,
        "requirements": b"{}",
        "credit_token_hash": f"hash-{job_id}",
    }
    return NewPayment(**(given | changes))
