"""When a worker tells that it lives, and when it gives up a silent coordinator."""

from __future__ import annotations

from compute_router.protocol.messages import Heartbeat, HeldJob, Register
from compute_router.protocol.units import DurationMs
from compute_router.worker.session_events import (
    CloseSocket,
    Connected,
    Disconnected,
    ReconnectDue,
    ScheduleReconnect,
    Tick,
)
from compute_router.worker.timing import CHALLENGE_WAIT, HEARTBEAT_EVERY, MAX_UNANSWERED_HEARTBEATS, Timing
from tests.worker.conversation import PUBKEY, Conversation, frames


def test_heartbeats_tell_load_and_running_jobs_every_ten_seconds() -> None:
    talk = Conversation(slots=2).registers()
    talk.is_assigned("finished", attempt=1)
    talk.finishes("finished")
    talk.is_assigned("job-1", attempt=3)
    for _ in range(5):
        (beat,) = frames(talk.passes(HEARTBEAT_EVERY))
        talk.hears(type="heartbeat_ack", status="ok")
        assert isinstance(beat, Heartbeat)
        assert beat.jobs == [HeldJob("job-1", 3)]
        assert beat.provider_pubkey == PUBKEY
        assert beat.metrics is not None
        assert (beat.metrics.cpu_pct, beat.metrics.mem_pct, beat.metrics.active_jobs) == (12.5, 40.0, 1)


def test_a_tick_before_its_time_does_nothing() -> None:
    talk = Conversation().registers()
    assert talk.happens(Tick()) == []


def test_jobs_without_attempts_are_counted_in_heartbeats_but_not_named() -> None:
    talk = Conversation().registers()
    talk.is_assigned(attempt=None)
    (beat,) = frames(talk.passes(HEARTBEAT_EVERY))
    assert isinstance(beat, Heartbeat)
    assert beat.metrics is not None
    assert (beat.metrics.active_jobs, beat.jobs) == (1, [])


def test_a_coordinator_that_answers_no_heartbeat_is_left_and_reached_again() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    assert len(frames(talk.passes(MAX_UNANSWERED_HEARTBEATS * HEARTBEAT_EVERY))) == MAX_UNANSWERED_HEARTBEATS
    (close,) = talk.passes(HEARTBEAT_EVERY)
    assert close == CloseSocket(1001, "the coordinator did not answer 3 heartbeats")
    assert talk.passes(10 * HEARTBEAT_EVERY) == []
    again = talk.happens(Disconnected("closed the connection without a word"))
    assert again == [ScheduleReconnect(DurationMs(250), "did not answer 3 heartbeats")]
    talk.happens(ReconnectDue())
    talk.happens(Connected())
    (register,) = frames(talk.passes(CHALLENGE_WAIT))
    assert isinstance(register, Register)
    assert register.active_jobs == [HeldJob("job-1", 1)]


def test_one_answer_makes_up_for_the_heartbeats_before_it() -> None:
    talk = Conversation().registers()
    for _ in range(5):
        talk.passes((MAX_UNANSWERED_HEARTBEATS - 1) * HEARTBEAT_EVERY)
        talk.hears(type="heartbeat_ack", status="ok")
    assert len(frames(talk.passes(HEARTBEAT_EVERY))) == 1


def test_heartbeats_without_answer_are_forgotten_with_their_connection() -> None:
    talk = Conversation().registers()
    talk.passes(MAX_UNANSWERED_HEARTBEATS * HEARTBEAT_EVERY)
    talk.reconnects()
    talk.is_welcomed()
    assert len(frames(talk.passes(HEARTBEAT_EVERY))) == 1


def test_the_rhythm_of_heartbeats_can_be_set() -> None:
    talk = Conversation(timing=Timing(heartbeat_every=DurationMs(50))).registers()
    assert len(frames(talk.passes(100))) == 2


def test_there_are_no_heartbeats_without_a_registration() -> None:
    talk = Conversation().registers()
    talk.happens(Disconnected("gone"))
    assert talk.passes(10 * HEARTBEAT_EVERY) == []
