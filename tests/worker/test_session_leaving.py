"""How a worker drains and leaves."""

from __future__ import annotations

from compute_router.protocol.messages import (
    Drain,
    Heartbeat,
    HeldJob,
    JobComplete,
    JobFailed,
    JobReject,
    Register,
)
from compute_router.protocol.units import DurationMs
from compute_router.worker.jobs import AttemptKey
from compute_router.worker.session_events import (
    CloseSocket,
    Connected,
    Disconnected,
    DrainAsked,
    Drained,
    ModelsChanged,
    ReconnectDue,
    SendFrame,
    StopJob,
)
from compute_router.worker.timing import CHALLENGE_WAIT, HEARTBEAT_EVERY, Timing
from tests.worker.conversation import LLAMA, LOST, Conversation, frames, started_jobs

LEAVE = [CloseSocket(1000, "the worker leaves"), Drained("All jobs are done and delivered.")]


def test_an_idle_worker_that_is_asked_to_drain_says_so_and_leaves() -> None:
    talk = Conversation().registers()
    drain, *rest = talk.happens(DrainAsked())
    assert frames([drain]) == [Drain()]
    assert rest == LEAVE
    assert talk.happens(Disconnected("closed")) == []
    assert talk.session.wake_at is None


def test_a_worker_that_is_not_connected_leaves_without_a_word() -> None:
    assert Conversation().happens(DrainAsked()) == LEAVE


def test_a_draining_worker_leaves_when_its_results_are_acknowledged() -> None:
    talk = Conversation(slots=2).registers()
    talk.is_assigned("a")
    talk.is_assigned("b")
    assert frames(talk.happens(DrainAsked())) == [Drain()]
    assert len(frames(talk.finishes("a"))) == 1
    assert talk.is_answered("a") == []
    (complete,) = talk.finishes("b")
    assert isinstance(complete, SendFrame)
    assert talk.is_answered("b", status="stale") == LEAVE


def test_a_draining_worker_leaves_behind_its_last_failure() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.happens(DrainAsked())
    failed, *rest = talk.finishes(outcome=LOST)
    assert frames([failed]) == [JobFailed("job-1", 1, LOST.code, LOST.message, True)]
    assert rest == LEAVE


def test_a_draining_worker_leaves_when_its_last_job_is_cancelled() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.happens(DrainAsked())
    assert talk.is_cancelled() == [StopJob(AttemptKey("job-1", 1)), *LEAVE]
    assert talk.stops() == []


def test_a_draining_worker_takes_no_more_jobs() -> None:
    talk = Conversation(slots=2).registers()
    talk.is_assigned("a")
    talk.happens(DrainAsked())
    effects = talk.is_assigned("b")
    assert frames(effects) == [JobReject("b", "draining", 1)]
    assert started_jobs(effects) == []


def test_a_draining_worker_keeps_its_heartbeat() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.happens(DrainAsked())
    (beat,) = frames(talk.passes(HEARTBEAT_EVERY))
    assert isinstance(beat, Heartbeat)
    assert beat.jobs == [HeldJob("job-1", 1)]


def test_the_coordinator_can_ask_a_worker_to_drain() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    assert frames(talk.hears(type="drain")) == [Drain()]
    assert talk.hears(type="drain") == []
    talk.finishes()
    assert talk.is_answered() == LEAVE


def test_a_draining_worker_without_connection_comes_back_to_deliver() -> None:
    talk = Conversation(timing=Timing(drain_limit=DurationMs(60_000))).registers()
    talk.is_assigned()
    talk.happens(Disconnected("gone"))
    assert talk.happens(DrainAsked()) == []
    assert talk.finishes() == []
    talk.happens(ReconnectDue())
    talk.happens(Connected())
    (register,) = frames(talk.passes(CHALLENGE_WAIT))
    assert isinstance(register, Register)
    drain, complete = frames(talk.is_welcomed())
    assert drain == Drain()
    assert isinstance(complete, JobComplete)
    assert talk.is_answered() == LEAVE


def test_a_draining_worker_that_registers_again_says_again_that_it_drains() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.happens(DrainAsked())
    register, drain = frames(talk.happens(ModelsChanged((LLAMA,))))
    assert isinstance(register, Register)
    assert drain == Drain()


def test_a_draining_worker_gives_back_what_is_not_done_in_time() -> None:
    talk = Conversation(slots=2, timing=Timing(drain_limit=DurationMs(5_000))).registers()
    talk.is_assigned("done")
    talk.is_assigned("slow")
    talk.happens(DrainAsked())
    talk.finishes("done")
    assert talk.passes(4_999) == []
    stop, given_back, *rest = talk.passes(1)
    assert stop == StopJob(AttemptKey("slow", 1))
    assert frames([given_back]) == [JobReject("slow", "draining", 1)]
    assert rest == [
        CloseSocket(1000, "the worker leaves"),
        Drained("The time to drain is over with 1 job(s) not done and 1 result(s) not acknowledged."),
    ]
    assert talk.stops("slow") == []
    assert talk.session.wake_at is None


def test_a_draining_worker_that_reaches_nobody_leaves_in_time() -> None:
    talk = Conversation(timing=Timing(drain_limit=DurationMs(5_000))).registers()
    talk.is_assigned()
    talk.finishes()
    talk.happens(DrainAsked())
    talk.happens(Disconnected("gone"))
    close, drained = talk.passes(5_000)
    assert isinstance(close, CloseSocket)
    assert drained == Drained(
        "The time to drain is over with 0 job(s) not done and 1 result(s) not acknowledged."
    )
