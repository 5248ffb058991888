"""Jobs whose worker is away for a moment, and jobs that a restart finds."""

from __future__ import annotations

import pytest

from compute_router.protocol.job_state import JobStatus
from tests.actors.matching import Matching
from tests.actors.samples import LLM, a_job, completion, failed, key, reject, started

A, B = key("a"), key("b")


def orphaned(*job_ids: str, slots: int = 1, private: bool = False) -> Matching:
    """A market whose worker 1 was lost while it ran jobs."""
    market = Matching()
    if private:
        market.grant_trust("alice", A)
    market.online(1, A, slots=slots)
    market.submit(*(a_job(job_id, private=private) for job_id in job_ids))
    market.offline(1)
    return market


def test_a_job_stays_with_a_proven_worker_that_comes_back_holding_it() -> None:
    market = orphaned("job")
    market.online(2, A, held=(("job", 1),))
    assert market.assignments() == [("job", 1)]
    market.says(2, completion("job", attempt=1))
    assert market.acks(2) == [("job", "accepted")]


def test_a_job_that_came_back_has_a_lease_again() -> None:
    market = orphaned("job")
    market.advance(market.policy.reconnect_grace - 1)
    market.online(2, A, held=(("job", 1),))
    market.advance(market.policy.task_lease - 1)
    assert len(market.assignments()) == 1
    market.advance(1)
    assert len(market.assignments()) == 2


def test_a_returning_worker_is_given_nothing_for_the_slot_it_still_uses() -> None:
    market = orphaned("job")
    market.submit(a_job("next"))
    market.online(2, A, held=(("job", 1),))
    assert market.given_to(2) == []


def test_a_job_that_its_returning_worker_no_longer_holds_is_tried_again() -> None:
    market = orphaned("job")
    market.online(2, A)
    assert market.assignments() == [("job", 1), ("job", 2)]


def test_a_claim_to_hold_another_attempt_does_not_count() -> None:
    market = orphaned("job")
    market.online(2, A, held=(("job", 2),))
    assert market.assignments() == [("job", 1), ("job", 2)]


def test_a_claim_to_hold_somebody_elses_job_does_not_count() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job())
    market.online(2, B, held=(("job", 1), ("unknown", 1)))
    assert [job.worker_id for job in market.core.jobs] == [1]


def test_jobs_that_are_still_held_take_their_slots_before_lost_ones_are_placed_again() -> None:
    market = orphaned("lost", "still held", slots=2, private=True)
    market.online(2, A, slots=1, held=(("still held", 1),))
    assert market.given_to(2) == []
    market.says(2, completion("still held"))
    assert market.given_to(2) == ["lost"]


def test_a_job_whose_worker_does_not_come_back_goes_to_another_when_the_grace_is_over() -> None:
    market = orphaned("job")
    market.online(2, B)
    market.advance(market.policy.reconnect_grace - 1)
    assert market.given_to(2) == []
    market.advance(1)
    assert market.given_to(2) == ["job"]
    assert market.tried() == (A,)


def test_a_worker_that_comes_back_after_the_grace_is_too_late() -> None:
    market = orphaned("job")
    market.online(2, B)
    market.advance(market.policy.reconnect_grace)
    market.online(3, A, held=(("job", 1),))
    market.says(3, completion("job", attempt=1))
    assert market.acks(3) == [("job", "stale")]
    market.says(2, completion("job", attempt=2))
    assert market.status() is JobStatus.COMPLETED


def test_an_unproven_connection_cannot_take_over_an_orphan() -> None:
    market = orphaned("job")
    market.online(2, A, proven=False, held=(("job", 1),))
    for frame in (completion("job", attempt=1), reject("job", 1), failed("job"), started("job")):
        market.says(2, frame)
    assert market.acks(2) == [("job", "stale")] * 4
    assert market.status() is JobStatus.ASSIGNED


def test_an_orphan_may_be_delivered_by_its_key_once_that_is_proven() -> None:
    market = orphaned("job")
    market.online(2, A, proven=False)
    market.online(2, A, proven=True)
    market.says(2, completion("job", attempt=1))
    assert market.acks(2) == [("job", "accepted")]


# A restart


@pytest.mark.parametrize("proven", [True, False])
def test_a_restart_takes_up_waiting_jobs_with_a_whole_window(proven: bool) -> None:
    market = Matching()
    market.submit(a_job("one"), a_job("two"))
    market.advance(market.policy.queue_window - 1)
    market.restart()
    market.advance(market.policy.queue_window - 1)
    market.online(1, A, slots=2, proven=proven)
    assert market.given_to(1) == ["one", "two"]


def test_a_restart_loses_no_trust() -> None:
    market = Matching()
    market.grant_trust("alice", A)
    market.online(1, A)
    market.submit(a_job("one", private=True), a_job("two", private=True))
    market.restart()
    market.online(2, B, slots=9)
    assert market.given_to(2) == []
    market.online(3, A)
    assert market.given_to(3) == ["one"]


def test_a_worker_that_comes_back_after_a_restart_keeps_its_job() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job())
    market.restart()
    market.online(2, A, held=(("job", 1),))
    market.says(2, completion("job", attempt=1))
    assert market.acks(2) == [("job", "accepted")]


def test_a_running_job_is_running_after_a_restart() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job())
    market.says(1, started("job"))
    market.restart()
    market.online(2, A, held=(("job", 1),))
    market.says(2, started("job"))
    market.says(2, completion("job"))
    assert market.status() is JobStatus.COMPLETED


def test_after_a_restart_a_job_waits_for_its_worker_until_the_lease_ends() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job(job_type=LLM))
    market.advance(1_000)
    market.restart()
    market.online(2, B)
    market.advance(market.policy.llm_lease - 1_001)
    assert market.given_to(2) == []
    market.advance(1)
    assert market.given_to(2) == ["job"]


def test_after_a_long_outage_workers_still_get_time_to_come_back() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job())
    market.clock.advance(3_600_000)
    market.restart()
    market.advance(market.policy.restart_grace - 1)
    market.online(2, A, held=(("job", 1),))
    market.says(2, completion("job", attempt=1))
    assert market.acks(2) == [("job", "accepted")]


def test_an_outage_costs_no_attempt() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job())
    for number in range(5):
        market.restart()
        market.online(2 + number, A, held=(("job", 1),))
    assert market.tried() == ()
    assert market.assignments() == [("job", 1)]


def test_a_restart_remembers_attempts_and_who_tried() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job())
    market.says(1, failed("job"))
    market.restart()
    market.online(2, A)
    market.online(3, B)
    market.says(2, failed("job", 2))
    assert market.assignments() == [("job", 1), ("job", 2), ("job", 3)]
    market.says(3, failed("job", 3))
    assert market.failure()["error"] == "attempts_exhausted"
