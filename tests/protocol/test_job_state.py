from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from compute_router.protocol.errors import InvalidTransitionError
from compute_router.protocol.job_state import (
    FINAL,
    TRANSITIONS,
    UNFINISHED,
    JobEvent,
    JobStatus,
    advance,
    sources,
)


def reachable_from(status: JobStatus) -> set[JobStatus]:
    seen = {status}
    frontier = [status]
    while frontier:
        here = frontier.pop()
        ahead = {after for (before, _), after in TRANSITIONS.items() if before is here} - seen
        seen |= ahead
        frontier.extend(ahead)
    return seen


@pytest.mark.parametrize("event", JobEvent)
@pytest.mark.parametrize("status", [status for status in JobStatus if status in FINAL])
def test_what_has_ended_never_changes_again(status: JobStatus, event: JobEvent) -> None:
    with pytest.raises(InvalidTransitionError, match=status.value):
        advance(status, event)


@pytest.mark.parametrize("status", [status for status in JobStatus if status in UNFINISHED])
def test_every_unfinished_job_can_fail_and_be_cancelled(status: JobStatus) -> None:
    assert advance(status, JobEvent.FAIL) is JobStatus.FAILED
    assert advance(status, JobEvent.CANCEL) is JobStatus.CANCELLED


@pytest.mark.parametrize("status", [status for status in JobStatus if status in UNFINISHED])
def test_every_unfinished_job_can_still_reach_every_state(status: JobStatus) -> None:
    assert reachable_from(status) == set(JobStatus)


def test_only_a_waiting_job_can_be_claimed() -> None:
    assert sources(JobEvent.CLAIM) == (JobStatus.PENDING,)


def test_only_an_assigned_job_can_start() -> None:
    assert sources(JobEvent.START) == (JobStatus.ASSIGNED,)


def test_a_job_completes_from_assigned_too_because_not_every_worker_says_that_it_started() -> None:
    assert sources(JobEvent.COMPLETE) == (JobStatus.ASSIGNED, JobStatus.RUNNING)


def test_only_a_job_that_a_worker_holds_can_be_put_back() -> None:
    assert sources(JobEvent.REQUEUE) == (JobStatus.ASSIGNED, JobStatus.RUNNING)
    assert advance(JobStatus.RUNNING, JobEvent.REQUEUE) is JobStatus.PENDING


def test_every_state_is_either_final_or_unfinished() -> None:
    assert set(JobStatus) == FINAL | UNFINISHED
    assert not FINAL & UNFINISHED


def test_an_event_leads_to_the_same_state_from_wherever_it_may_happen() -> None:
    for event in JobEvent:
        assert len({TRANSITIONS[status, event] for status in sources(event)}) == 1


class LifeOfAJob(RuleBasedStateMachine):
    """A job to which anything happens in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.status = JobStatus.PENDING
        self.claims = 0
        self.requeues = 0
        self.ends = 0

    @rule(event=st.sampled_from(JobEvent))
    def happen(self, event: JobEvent) -> None:
        before = self.status
        try:
            self.status = advance(before, event)
        except InvalidTransitionError:
            assert before not in sources(event)
            return
        assert before in sources(event)
        self.claims += event is JobEvent.CLAIM
        self.requeues += event is JobEvent.REQUEUE
        self.ends += self.status in FINAL

    @invariant()
    def it_ends_at_most_once(self) -> None:
        assert self.ends == (self.status in FINAL)

    @invariant()
    def every_claim_but_the_last_was_put_back(self) -> None:
        if self.status is JobStatus.PENDING:
            assert self.claims == self.requeues
        if self.status in {JobStatus.ASSIGNED, JobStatus.RUNNING, JobStatus.COMPLETED}:
            assert self.claims == self.requeues + 1


test_a_job_ends_once_and_is_held_by_one_claim_at_a_time = LifeOfAJob.TestCase
