"""The Matcher as an actor: where its messages go, and who is answered."""

from __future__ import annotations

import pytest
from pykka.messages import _ActorStop

from compute_router.actors.admission import Refusal
from compute_router.actors.matcher import Matcher
from compute_router.actors.messages.edge import Chunk, Progress
from compute_router.actors.messages.job_store import (
    AssignmentRecorded,
    CompletionRecorded,
    JobEnded,
    KeepReceipt,
    NoteAlive,
    RecordAssigned,
    RecordCancelled,
    RecordCompletion,
    RecordFailed,
    RecordStarted,
)
from compute_router.actors.messages.matcher import (
    Cancel,
    FlushRecords,
    Follow,
    GiveBack,
    IsLive,
    JobTimer,
    LeasesRenewed,
    Recover,
    Reserve,
    SlotFreed,
    StartDrain,
    Submit,
    Sweep,
    TrustGranted,
    WorkerDraining,
    WorkerOffline,
    WorkerOnline,
    WorkerSaid,
    WorkerSettled,
)
from compute_router.actors.messages.store_request import StoreRequest
from compute_router.actors.messages.stored_trust import PutWorkerRecords
from compute_router.actors.messages.timers import ArmTimer, CancelTimer, SetTimer
from compute_router.actors.messages.worker_registry import CountWorkers, Deliver
from compute_router.actors.policy import MatchingPolicy
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.jobs import JobType, ProviderType
from compute_router.protocol.messages import HeldJob, JobAck, JobAssign, JobCancel
from compute_router.protocol.units import DurationMs, UnixMs
from compute_router.storage.interface import JobView
from tests.actors.samples import NOON, OUTPUT, a_job, an_unfinished_job, chunk, completion, key, started
from tests.fakes.clock import FakeClock
from tests.fakes.stepped import RecordingRef, Stepped, mailbox

POLICY = MatchingPolicy()
VIEW = JobView(
    job_id="job",
    user_id="alice",
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
        self.steps: list[Progress | Chunk] = []

    def publish(self, view: JobView) -> None:
        self.published.append(view)

    def progress(self, step: Progress | Chunk) -> None:
        self.steps.append(step)


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

    def running(self, *, proven: bool = True) -> Desk:
        """A worker holds a job; nobody has been told anything else yet."""
        self.ask(Reserve("alice"))
        self.tell(a_worker(proven=proven), WorkerSettled(1), Submit(a_job()))
        self.tell(AssignmentRecorded("job", 1, b"{}"))
        for neighbour in (self.store, self.scheduler, self.registry):
            neighbour.take()
        return self

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
    assert sweep.timer in [message.timer for message in desk.scheduler.take()]
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

    desk.tell(AssignmentRecorded("job", 1, b"{}", "h" * 64))
    (assignment,) = desk.registry.take()
    assert isinstance(assignment.frame, JobAssign)
    assert assignment.worker_id == 1

    frame = completion("job", attempt=1)
    desk.tell(WorkerSaid(1, key("a"), True, frame))
    (recorded,) = desk.store.take()
    assert recorded.body == RecordCompletion(1, key("a"), 1, frame, proven=True, request_hash="h" * 64)
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
    desk.tell(Recover(((an_unfinished_job(), ()),), NOON), TrustGranted("alice", key("a")))
    assert desk.ask(IsLive("job")) is True


def test_an_answer_of_the_store_for_a_worker_is_passed_on() -> None:
    desk = Desk()
    answer = Deliver(1, JobAck("job", "stale"))
    desk.tell(answer)
    assert desk.registry.take() == [answer]


def test_an_unknown_message_is_a_mistake() -> None:
    desk = Desk()
    with pytest.raises(TypeError, match="CountWorkers"):
        desk.ask(CountWorkers())


def test_while_jobs_are_unfinished_each_sweep_notes_that_the_coordinator_is_alive() -> None:
    desk = Desk()
    desk.tell(Sweep())
    assert desk.store.take() == []
    desk.tell(Submit(a_job()), Sweep())
    assert [request.body for request in desk.store.take()] == [NoteAlive()]


def test_without_jobs_every_second_sweep_finds_out_whether_the_store_can_be_written() -> None:
    desk = Desk()
    desk.tell(Sweep())
    assert desk.store.take() == []
    desk.tell(Sweep())
    assert [request.body for request in desk.store.take()] == [NoteAlive()]


def test_places_are_reserved_and_given_back() -> None:
    desk = Desk()
    for _ in range(POLICY.max_jobs_per_user):
        assert desk.ask(Reserve("alice")) is None
    assert desk.ask(Reserve("alice")) is Refusal.USER_QUEUE_FULL
    desk.tell(GiveBack("alice"))
    assert desk.ask(Reserve("alice")) is None


def test_a_cancel_is_answered_at_once_and_published_when_it_is_stored() -> None:
    desk = Desk().running()
    assert desk.ask(Cancel("unknown")) is False
    assert desk.ask(Cancel("job")) is True
    assert desk.ask(Cancel("job")) is False
    (request,) = desk.store.take()
    assert request.body == RecordCancelled("job")
    assert desk.registry.take() == [Deliver(1, JobCancel("job", 1))]
    assert desk.watchers.published == []
    desk.tell(JobEnded("job", VIEW))
    assert desk.watchers.published == [VIEW]


def test_the_slot_of_a_worker_that_does_not_know_cancels_is_freed_by_a_timer() -> None:
    desk = Desk().running(proven=False)
    assert desk.ask(Cancel("job")) is True
    (freed,) = [message.timer.message for message in desk.scheduler.take() if isinstance(message, ArmTimer)]
    assert freed == SlotFreed(1, "job")
    desk.tell(Submit(a_job("next")))
    desk.store.take()
    desk.tell(freed)
    assert [request.body.job_id for request in desk.store.take()] == ["next"]


def test_a_heartbeat_renews_a_lease_without_a_word_to_anybody() -> None:
    desk = Desk().running()
    desk.tell(LeasesRenewed(1, (HeldJob("job", 1),)))
    assert desk.store.take() == desk.scheduler.take() == desk.registry.take() == []


def test_a_worker_that_drains_gets_no_more_jobs() -> None:
    desk = Desk()
    desk.tell(a_worker(), WorkerDraining(1), Submit(a_job()))
    assert desk.store.take() == []


def test_a_drain_that_finds_no_worker_at_work_is_over_at_once() -> None:
    desk = Desk()
    idle: list[bool] = []
    desk.tell(StartDrain(lambda: idle.append(True)))
    assert idle == [True]
    assert desk.ask(Reserve("alice")) is Refusal.DRAINING


def test_a_drain_is_over_when_the_last_running_job_is_stored() -> None:
    desk = Desk().running()
    idle: list[bool] = []
    desk.tell(StartDrain(lambda: idle.append(True)))
    desk.tell(WorkerSaid(1, key("a"), True, completion("job", attempt=1)))
    assert idle == []
    desk.tell(CompletionRecorded(1, "job", 1, VIEW))
    assert idle == [True]


def test_the_jobs_of_others_are_unknown_when_a_user_is_named() -> None:
    desk = Desk().running()
    assert desk.ask(IsLive("job", "mallory")) is False
    assert desk.ask(Follow("job", "mallory")) is None
    assert desk.ask(Cancel("job", "mallory")) is False
    assert desk.ask(IsLive("job", "alice")) is True
    assert desk.ask(Follow("job", "alice")) == Progress("job", JobStatus.ASSIGNED, 1)
    assert desk.ask(Cancel("job", "alice")) is True


def test_a_receipt_goes_on_to_the_store() -> None:
    desk = Desk()
    receipt = KeepReceipt(1, key("a"), b"{}", "c2ln")
    desk.tell(receipt)
    assert [request.body for request in desk.store.take()] == [receipt]


def test_steps_and_pieces_of_a_followed_job_are_published_and_of_others_not() -> None:
    desk = Desk().running()
    desk.tell(WorkerSaid(1, key("a"), True, chunk("job")))
    assert desk.watchers.steps == []
    assert [request.body for request in desk.store.take()] == [RecordStarted("job", 1)]
    assert desk.ask(Follow("unknown")) is None
    assert desk.ask(Follow("job")) == Progress("job", JobStatus.RUNNING, 1)
    desk.tell(WorkerSaid(1, key("a"), True, chunk("job", seq=1)))
    desk.tell(WorkerSaid(1, key("a"), True, started("job")))
    assert desk.watchers.steps == [Chunk("job", 1, 1, "piece")]


# Track records


def told_to_keep(desk: Desk) -> list[tuple[str, int]]:
    """Key and completed jobs of every record that the store was told to keep since it was last looked at."""
    requests = [request.body for request in desk.store.take()]
    kept = [record for body in requests if isinstance(body, PutWorkerRecords) for record in body.records]
    return [(record.pubkey, record.completed) for record in kept]


def with_a_result(desk: Desk) -> Desk:
    desk.running().tell(CompletionRecorded(1, "job", 1, VIEW))
    desk.store.take()
    return desk


def test_records_that_changed_go_to_the_store_once_a_second_in_one_message() -> None:
    desk = with_a_result(Desk())
    desk.scheduler.take()
    desk.tell(FlushRecords())
    assert told_to_keep(desk) == [(key("a"), 1)]
    flush = SetTimer("records", DurationMs(1_000), FlushRecords())
    assert [message.timer for message in desk.scheduler.take()] == [flush]
    desk.tell(FlushRecords())
    assert desk.store.take() == []


def test_records_that_changed_go_to_the_store_at_the_stop() -> None:
    desk = with_a_result(Desk())
    desk.ref.tell(_ActorStop())
    mailbox(desk.ref).run()
    assert told_to_keep(desk) == [(key("a"), 1)]
