"""Jobs whose worker is away for a moment, and jobs that a restart finds."""

from __future__ import annotations

import pytest

from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.jobs import Tier
from tests.actors.matching import Matching
from tests.actors.samples import LLM, TASK, a_job, busy, completion, failed, key, reject, started

A, B = key("a"), key("b")
HOUR = 3_600_000


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
@pytest.mark.parametrize("outage", [0, 1_000, 3_600_000])
def test_a_restart_takes_up_waiting_jobs_with_what_was_left_of_their_window(
    outage: int, proven: bool
) -> None:
    market = Matching()
    market.submit(a_job("one"), a_job("two"))
    market.advance(10_000)
    market.restart(outage=outage)
    market.advance(market.policy.queue_window - 10_001)
    market.online(1, A, proven=proven)
    assert market.given_to(1) == ["one"]
    market.advance(1)
    assert market.failure("two")["error"] == "no_eligible_worker"


def test_a_restart_leaves_a_waiting_job_time_for_workers_to_come_back() -> None:
    market = Matching()
    market.submit(a_job("one"), a_job("two"))
    market.advance(market.policy.queue_window - 1)
    market.restart()
    market.advance(market.policy.restart_grace - 1)
    market.online(1, A)
    assert market.given_to(1) == ["one"]
    market.advance(1)
    assert market.failure("two")["error"] == "no_eligible_worker"


def test_a_restart_gives_no_job_more_than_its_own_window() -> None:
    market = Matching()
    market.submit(a_job(window=1_000))
    market.advance(999)
    market.restart()
    market.advance(999)
    assert market.status() is JobStatus.PENDING
    market.advance(1)
    assert market.failure()["error"] == "no_eligible_worker"


@pytest.mark.parametrize("step", [-7 * HOUR, 7 * HOUR])
def test_a_wall_clock_that_steps_neither_expires_nor_immortalises_a_job_over_a_restart(step: int) -> None:
    market = Matching()
    market.online(1, A, can=(TASK,))
    market.submit(a_job("held"), a_job("waits", job_type=LLM))
    market.clock.step_wall(step)
    market.restart()
    market.advance(market.policy.restart_grace - 1)
    assert {job.job_id for job in market.core.jobs} == {"held", "waits"}
    market.advance(2 * market.policy.queue_window + market.policy.task_lease)
    assert market.failure("held")["error"] == "worker_disconnected"
    assert market.failure("waits")["error"] == "no_eligible_worker"


@pytest.mark.parametrize("step", [-7 * HOUR, 7 * HOUR])
def test_a_wall_clock_that_steps_moves_no_deadline_of_a_running_coordinator(step: int) -> None:
    market = Matching()
    market.online(1, A, can=(TASK,))
    market.submit(a_job("held"), a_job("waits", job_type=LLM))
    market.clock.step_wall(step)
    market.advance(market.policy.task_lease - 1)
    assert market.cancels(1) == []
    market.advance(1)
    assert market.cancels(1) == [("held", 1)]
    market.advance(market.policy.queue_window - market.policy.task_lease - 1)
    assert market.status("waits") is JobStatus.PENDING
    market.advance(1)
    assert market.status("waits") is JobStatus.FAILED


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
    market.advance(market.policy.lease(LLM, None) - 1_001)
    assert market.given_to(2) == []
    market.advance(1)
    assert market.given_to(2) == ["job"]


def test_after_a_long_outage_workers_still_get_time_to_come_back() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job())
    market.restart(outage=3_600_000)
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


def test_after_an_outage_a_lease_has_what_was_left_of_it() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job(job_type=LLM))
    market.advance(1_000)
    market.restart(outage=3_600_000)
    market.online(2, B)
    market.advance(market.policy.lease(LLM, None) - 1_001)
    assert market.given_to(2) == []
    market.advance(1)
    assert market.given_to(2) == ["job"]


@pytest.mark.parametrize("outage", [0, 3_600_000])
def test_a_restart_does_not_begin_the_run_limit_anew(outage: int) -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job(run_limit=60_000))
    for _ in range(4):
        market.advance(10_000)
        market.beats(1, ("job", 1))
    market.restart(outage=outage)
    market.online(2, A, held=(("job", 1),))
    market.advance(10_000)
    market.beats(2, ("job", 1))
    market.advance(9_999)
    assert market.cancels(2) == []
    market.advance(1)
    assert market.cancels(2) == [("job", 1)]
    assert market.failure()["error"] == "deadline_exceeded"


def test_after_a_restart_a_job_past_its_run_limit_has_a_moment_to_be_delivered() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job(run_limit=15_000))
    market.advance(14_999)
    market.restart()
    market.advance(market.policy.restart_grace - 1)
    market.online(2, A, held=(("job", 1),))
    market.says(2, completion("job", attempt=1))
    assert market.status() is JobStatus.COMPLETED


def test_soft_failures_are_not_counted_over_a_restart_and_others_are() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job())
    market.says(1, failed("job", 1))
    market.advance(market.policy.backoff(1))
    market.says(1, busy("job", 2))
    market.restart()
    ((job,),) = [list(market.core.jobs)]
    assert (job.attempt, job.failures) == (2, 1)
    market.online(2, A)
    market.says(2, failed("job", 3))
    market.advance(market.policy.max_backoff)
    market.says(2, failed("job", 4))
    assert market.failure()["error"] == "attempts_exhausted"


def test_a_restart_keeps_who_waited_longest() -> None:
    market = Matching()
    market.submit(a_job("inference", job_type=LLM, user="alice"))
    market.advance(1_000)
    market.submit(a_job("task", user="bob"))
    market.advance(1_000)
    market.restart(outage=3_600_000)
    market.online(1, A)
    assert market.given_to(1) == ["inference"]


def test_a_restart_keeps_the_age_that_lets_a_cheap_job_go_before_a_fast_one() -> None:
    market = Matching()
    market.submit(a_job("cheap", tier=Tier.CHEAP))
    market.advance(market.policy.ageing + 1)
    market.submit(a_job("fast", tier=Tier.FAST))
    market.restart()
    market.online(1, A)
    assert market.given_to(1) == ["cheap"]


def test_a_worker_that_comes_back_is_told_what_nobody_wants_any_more() -> None:
    market = Matching()
    market.online(1, A, slots=3)
    market.submit(a_job("cancelled"), a_job("moved on"), a_job("held"))
    market.offline(1)
    market.cancel("cancelled")
    market.online(2, B)
    market.online(3, A, slots=3, held=(("cancelled", 1), ("held", 1), ("moved on", 2), ("unknown", 1)))
    assert market.cancels(3) == [("cancelled", 1), ("moved on", 2), ("unknown", 1)]
    assert market.given_to(2) == ["moved on"]
    market.says(3, completion("held", attempt=1))
    assert market.status("held") is JobStatus.COMPLETED
