"""Pieces of output on their way."""

from __future__ import annotations

from compute_router.protocol.messages import JobChunk
from compute_router.worker.jobs import AttemptKey
from compute_router.worker.session_events import Connected, Disconnected, JobProgressed, ReconnectDue
from compute_router.worker.timing import CHALLENGE_WAIT
from tests.worker.conversation import LLAMA, Conversation, frames


def llm_job() -> Conversation:
    talk = Conversation(models=(LLAMA,)).registers()
    talk.is_assigned(job_type="LLM_INFER", payload={"prompt": "hi"})
    return talk


def progress(delta: str) -> JobProgressed:
    return JobProgressed(AttemptKey("job-1", 1), delta)


def test_chunks_are_numbered_from_zero() -> None:
    talk = llm_job()
    sent = [frames(talk.happens(progress(delta))) for delta in ("Hel", "lo")]
    assert sent == [[JobChunk("job-1", 1, 0, "Hel")], [JobChunk("job-1", 1, 1, "lo")]]


def test_chunks_of_a_lost_connection_are_not_repeated_but_leave_a_gap() -> None:
    talk = llm_job()
    talk.happens(progress("a"))
    talk.happens(Disconnected("gone"))
    assert talk.happens(progress("b")) == []
    talk.happens(ReconnectDue())
    talk.happens(Connected())
    talk.passes(CHALLENGE_WAIT)
    assert talk.is_welcomed() == []
    assert frames(talk.happens(progress("c"))) == [JobChunk("job-1", 1, 2, "c")]


def test_a_coordinator_that_counts_no_attempts_gets_no_chunks() -> None:
    talk = Conversation(models=(LLAMA,)).registers()
    talk.is_assigned(attempt=None, job_type="LLM_INFER", payload={"prompt": "hi"})
    assert talk.happens(JobProgressed(AttemptKey("job-1", None), "Hel")) == []


def test_a_chunk_that_comes_after_its_result_is_not_sent() -> None:
    talk = llm_job()
    talk.finishes()
    assert talk.happens(progress("late")) == []
