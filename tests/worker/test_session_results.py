"""Results are held until the coordinator has them, over any number of connections."""

from __future__ import annotations

import pytest

from compute_router.protocol.messages import HeldJob, JobComplete, JobFailed, Register
from compute_router.worker.jobs import AttemptKey
from compute_router.worker.outbox import MAX_SENDS
from compute_router.worker.session_events import Connected, Disconnected, ModelsChanged, ReconnectDue
from compute_router.worker.timing import CHALLENGE_WAIT
from tests.worker.conversation import LLAMA, LOST, NETWORK, Conversation, frames


def test_a_result_finished_while_disconnected_is_delivered_after_reconnecting() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.happens(Disconnected("gone"))
    assert talk.finishes() == []
    talk.happens(ReconnectDue())
    talk.happens(Connected())
    (register,) = frames(talk.hears(type="challenge", nonce="n2", network=NETWORK))
    assert isinstance(register, Register)
    assert register.active_jobs == [HeldJob("job-1", 1)]
    (complete,) = frames(talk.is_welcomed())
    assert isinstance(complete, JobComplete)


def test_a_running_job_is_listed_as_active_and_delivered_when_it_is_done() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    assert talk.reconnects().active_jobs == [HeldJob("job-1", 1)]
    assert talk.is_welcomed() == []
    assert len(frames(talk.finishes())) == 1


def test_a_result_without_acknowledgement_is_sent_again_after_every_reconnect_up_to_a_bound() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    sends = len(frames(talk.finishes()))
    for _ in range(MAX_SENDS + 3):
        talk.reconnects()
        sends += len(frames(talk.is_welcomed()))
    assert sends == MAX_SENDS
    assert talk.session.held == []


@pytest.mark.parametrize("status", ["accepted", "stale", "rejected"])
def test_an_acknowledged_result_is_forgotten(status: str) -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.finishes()
    talk.hears(type="job_ack", job_id="job-1", attempt=1, status=status)
    assert talk.reconnects().active_jobs == []
    assert talk.is_welcomed() == []


def test_the_reason_why_a_result_was_rejected_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.finishes()
    caplog.clear()
    talk.hears(type="job_ack", job_id="job-1", attempt=1, status="rejected", reason="bad_signature")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == "The result of job job-1 attempt 1 was not taken: bad_signature"


def test_an_unknown_acknowledgement_is_not_taken_for_one(caplog: pytest.LogCaptureFixture) -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.finishes()
    talk.hears(type="job_ack", job_id="job-1", attempt=1, status="perhaps")
    assert "perhaps" in caplog.text
    assert talk.session.held == [AttemptKey("job-1", 1)]


def test_a_coordinator_that_counts_no_attempts_gets_every_result_once() -> None:
    talk = Conversation().registers()
    talk.is_assigned(attempt=None)
    assert len(frames(talk.finishes(attempt=None))) == 1
    assert talk.reconnects().active_jobs == []
    assert talk.is_welcomed() == []


def test_a_failure_needs_no_acknowledgement() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    assert len(frames(talk.finishes(outcome=LOST))) == 1
    assert talk.session.held == []


def test_a_failure_while_disconnected_is_told_after_reconnecting() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.happens(Disconnected("gone"))
    assert talk.finishes(outcome=LOST) == []
    talk.happens(ReconnectDue())
    talk.happens(Connected())
    (register,) = frames(talk.passes(CHALLENGE_WAIT))
    assert isinstance(register, Register)
    assert register.active_jobs == [HeldJob("job-1", 1)]
    (failed,) = frames(talk.is_welcomed())
    assert isinstance(failed, JobFailed)


def test_results_are_not_sent_again_when_models_change() -> None:
    talk = Conversation().registers()
    talk.is_assigned()
    talk.finishes()
    talk.happens(ModelsChanged((LLAMA,)))
    assert talk.is_welcomed() == []
