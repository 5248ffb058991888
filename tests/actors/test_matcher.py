"""The Matcher as an actor: where its messages go, and who is answered."""

from __future__ import annotations

import pytest

from compute_router.actors.matcher import Matcher
from compute_router.actors.messages import (
    ArmTimer,
    AssignmentRecorded,
    CancelTimer,
    CompletionRecorded,
    CountWorkers,
    Deliver,
    IsLive,
    JobEnded,
    JobTimer,
    RecordAssigned,
    RecordCompletion,
    RecordFailed,
    Recover,
    SetTimer,
    StoreRequest,
    Submit,
    Sweep,
    TrustGranted,
    WorkerOffline,
    WorkerOnline,
    WorkerSaid,
    WorkerSettled,
)
from compute_router.actors.policy import MatchingPolicy
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.jobs import JobType, ProviderType
from compute_router.protocol.messages import JobAck, JobAssign
from compute_router.protocol.units import UnixMs
from compute_router.storage.interface import JobView
from tests.actors.samples import NOON, OUTPUT, a_job, completion, key
from tests.fakes.clock import FakeClock
from tests.fakes.stepped import RecordingRef, Stepped, mailbox

POLICY = MatchingPolicy()
VIEW = JobView(
    job_id="job",
    status=JobStatus.COMPLETED,
    result=OUTPUT,
    created_at=NOON,
    completed_at=UnixMs(NOON + 1),
)


class SteppedMatcher(Stepped, Matcher):
    pass


class Watchers:
    def __init__(self) -> None:
        self.published: list[JobView] = []

    def publish(self, view: JobView) -> None:
        self.published.append(view)


class Desk:
    """A matcher whose neighbours write down what they are told."""

    def __init__(self) -> None:
        self.store, self.scheduler, self.registry = RecordingRef(), RecordingRef(), RecordingRef()
        self.watchers = Watchers()
        self.clock = FakeClock()
        self.ref = SteppedMatcher.start(
            pytest.fail, POLICY, self.clock, self.store, self.scheduler, self.registry, self.watchers
        )

    def tell(self, *messages: object) -> None:
        for message in messages:
            self.ref.tell(message)
            mailbox(self.ref).step()

    def ask(self, message: object) -> object:
        answer = self.ref.ask(message, block=False)
        mailbox(self.ref).step()
        return answer.get()


def a_worker(worker_id: int = 1, *, proven: bool = True) -> WorkerOnline:
    return WorkerOnline(
        worker_id, key("a"), ProviderType.DESKTOP, frozenset(JobType), (), 1, proven=proven, held=()
    )


def test_the_sweep_is_set_at_the_start_and_again_after_each() -> None:
    desk = Desk()
    sweep = ArmTimer(SetTimer("sweep", POLICY.sweep_interval, Sweep()), desk.ref)
    assert [message.timer for message in desk.scheduler.take()] == [sweep.timer]
    desk.tell(Sweep())
    assert [message.timer for message in desk.scheduler.take()] == [sweep.timer]


def test_a_job_goes_to_the_store_then_to_the_worker_and_its_end_to_those_who_wait() -> None:
    desk = Desk()
    desk.scheduler.take()
    desk.tell(a_worker(), Submit(a_job()))
    (request,) = desk.store.take()
    assert isinstance(request, StoreRequest)
    assert request.body == RecordAssigned("job", 1, key("a"), POLICY.task_lease)
    assert request.reply_to is not None
    assert request.reply_to.actor_urn == desk.ref.actor_urn
    (timer,) = desk.scheduler.take()
    assert timer.timer == SetTimer("job", POLICY.task_lease, JobTimer("job", 1, False))
    assert desk.registry.take() == []

    desk.tell(AssignmentRecorded("job", 1, b"{}"))
    (assignment,) = desk.registry.take()
    assert isinstance(assignment.frame, JobAssign)
    assert assignment.worker_id == 1

    frame = completion("job", attempt=1)
    desk.tell(WorkerSaid(1, key("a"), True, frame))
    assert [request.body for request in desk.store.take()] == [RecordCompletion(1, key("a"), 1, frame)]
    assert desk.scheduler.take() == [CancelTimer("job")]

    desk.tell(CompletionRecorded(1, "job", 1, VIEW))
    assert desk.watchers.published == [VIEW]
    assert desk.registry.take() == [Deliver(1, JobAck("job", "accepted", attempt=1))]


def test_a_submit_is_answered_with_whether_the_job_was_taken_in() -> None:
    desk = Desk()
    assert desk.ask(Submit(a_job("open"))) is True
    assert desk.ask(Submit(a_job("secret", private=True), (key("a"),))) is False
    assert desk.ask(IsLive("open")) is True
    assert desk.ask(IsLive("secret")) is False


def test_a_job_that_fails_is_ended_by_the_store_before_anybody_hears_of_it() -> None:
    desk = Desk()
    desk.tell(Submit(a_job()), JobTimer("job", 0, waiting=True))
    (request,) = desk.store.take()
    assert isinstance(request.body, RecordFailed)
    assert desk.watchers.published == []
    desk.tell(JobEnded("job", VIEW))
    assert desk.watchers.published == [VIEW]


def test_an_end_that_the_store_did_not_make_is_not_published() -> None:
    desk = Desk()
    desk.tell(JobEnded("job", None))
    assert desk.watchers.published == []


def test_workers_come_settle_and_go() -> None:
    desk = Desk()
    desk.tell(a_worker(proven=False), Submit(a_job()))
    assert desk.store.take() == []
    desk.tell(WorkerSettled(1))
    assert len(desk.store.take()) == 1
    desk.tell(WorkerOffline(1))
    assert len(desk.store.take()) == 1


def test_recovery_and_trust_reach_the_core() -> None:
    desk = Desk()
    desk.tell(Recover(()), TrustGranted("alice", key("a")))
    assert desk.ask(IsLive("job")) is False


def test_an_answer_of_the_store_for_a_worker_is_passed_on() -> None:
    desk = Desk()
    answer = Deliver(1, JobAck("job", "stale"))
    desk.tell(answer)
    assert desk.registry.take() == [answer]


def test_an_unknown_message_is_a_mistake() -> None:
    desk = Desk()
    with pytest.raises(TypeError, match="CountWorkers"):
        desk.ask(CountWorkers())
