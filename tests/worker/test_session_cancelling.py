"""Cancelled jobs are stopped, and nothing more is said about them."""

from __future__ import annotations

import pytest

from compute_router.protocol.messages import Heartbeat, JobReject
from compute_router.worker.jobs import AttemptKey, Outcome
from compute_router.worker.session_events import JobProgressed, StopJob
from compute_router.worker.timing import HEARTBEAT_EVERY
from tests.worker.conversation import DONE, LLAMA, LOST, Conversation, frames, started_jobs


def test_a_cancelled_job_is_stopped_and_nothing_more_is_said_about_it() -> None:
    talk = Conversation(models=(LLAMA,)).registers()
    talk.is_assigned(job_type="LLM_INFER", payload={"prompt": "hi"})
    assert talk.is_cancelled() == [StopJob(AttemptKey("job-1", 1))]
    assert talk.happens(JobProgressed(AttemptKey("job-1", 1), "Hel")) == []
    (beat,) = frames(talk.passes(HEARTBEAT_EVERY))
    assert isinstance(beat, Heartbeat)
    assert beat.jobs == []
    assert talk.stops() == []
    assert talk.session.held == []


@pytest.mark.parametrize("outcome", [DONE, LOST], ids=["result", "failure"])
def test_an_outcome_that_crosses_its_cancel_is_dropped(outcome: Outcome) -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.is_cancelled()
    assert talk.finishes(outcome=outcome) == []
    assert talk.session.held == []


def test_a_cancelled_job_frees_its_slot_at_once() -> None:
    talk = Conversation().registers()
    talk.is_assigned("a")
    talk.is_cancelled("a")
    assert len(started_jobs(talk.is_assigned("b"))) == 1
    assert talk.stops("a") == []
    assert frames(talk.is_assigned("c")) == [JobReject("c", "busy", 1)]


def test_a_held_result_of_a_cancelled_job_is_dropped() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.finishes()
    assert talk.is_cancelled() == []
    assert talk.reconnects().active_jobs == []
    assert talk.is_welcomed() == []


def test_the_cancel_of_another_attempt_or_an_unknown_job_changes_nothing() -> None:
    talk = Conversation().registers()
    talk.is_assigned(attempt=2)
    assert talk.is_cancelled(attempt=1) == []
    assert talk.is_cancelled("job-9") == []
    assert talk.session.held == [AttemptKey("job-1", 2)]


def test_a_second_cancel_changes_nothing() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.is_cancelled()
    assert talk.is_cancelled() == []
    talk.stops()
    assert talk.is_cancelled() == []


def test_a_cancelled_attempt_is_not_begun_anew_while_it_still_stops() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.is_cancelled()
    assert frames(talk.is_assigned()) == [JobReject("job-1", "busy", 1)]
