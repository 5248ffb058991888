"""The coordinator, or a worker, is about to stop: no new jobs, and the running ones finish."""

from __future__ import annotations

from compute_router.actors.admission import Refusal
from compute_router.protocol.job_state import JobStatus
from tests.actors.matching import Matching
from tests.actors.samples import LLM, a_job, completion, failed, key, reject

A, B = key("a"), key("b")


def test_a_draining_coordinator_reserves_no_place() -> None:
    market = Matching()
    market.start_drain()
    assert market.reserve("alice") is Refusal.DRAINING


def test_a_coordinator_without_running_jobs_is_idle_at_once() -> None:
    market = Matching()
    market.submit(a_job())
    market.start_drain()
    assert market.idle


def test_a_draining_coordinator_gives_waiting_jobs_to_nobody() -> None:
    market = Matching()
    market.submit(a_job("waits"))
    market.start_drain()
    market.online(1, A, slots=4)
    market.core.sweep(market.now)
    assert market.core.drain() == []
    assert market.given_to(1) == []
    assert market.status("waits") is JobStatus.PENDING


def test_a_place_reserved_before_the_drain_is_still_good_and_the_job_waits_for_the_next_start() -> None:
    market = Matching()
    market.online(1, A)
    assert market.reserve("alice") is None
    market.start_drain()
    assert market.commit(a_job())
    assert market.given_to(1) == []
    market.restart()
    market.online(2, A)
    assert market.given_to(2) == ["job"]


def test_it_is_idle_when_the_last_running_job_is_stored() -> None:
    market = Matching(prompt_store=False)
    market.online(1, A, slots=2)
    market.submit(a_job("one"), a_job("two"))
    market.store_answers()
    market.start_drain()
    market.says(1, completion("one"))
    market.store_answers()
    market.says(1, completion("two"))
    assert not market.idle, "its result is not on disk"
    market.store_answers()
    assert market.idle


def test_a_job_whose_wait_ends_during_the_drain_waits_for_the_next_start() -> None:
    market = Matching()
    market.submit(a_job(window=5_000))
    market.start_drain()
    market.advance(60_000)
    assert market.status() is JobStatus.PENDING
    market.restart()
    market.online(1, A)
    assert market.given_to(1) == ["job"]


def test_a_job_that_fails_during_the_drain_waits_for_the_next_start() -> None:
    market = Matching()
    market.online(1, A)
    market.online(2, B)
    market.submit(a_job())
    market.start_drain()
    market.says(1, failed("job"))
    assert market.idle
    market.advance(market.policy.max_backoff)
    assert market.assignments() == [("job", 1)]
    market.restart()
    market.online(3, B)
    market.says(3, completion("job"))
    assert market.status() is JobStatus.COMPLETED


def test_a_running_job_that_is_cancelled_makes_it_idle() -> None:
    market = Matching()
    market.online(1, A, proven=False)
    market.submit(a_job())
    market.start_drain()
    market.cancel()
    assert market.idle


def test_it_is_idle_when_a_worker_that_left_did_not_come_back() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job())
    market.start_drain()
    market.offline(1)
    market.advance(market.policy.reconnect_grace - 1)
    assert not market.idle
    market.advance(1)
    assert market.idle


def test_leases_and_limits_hold_during_the_drain() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job(run_limit=5_000))
    market.start_drain()
    market.advance(5_000)
    assert market.failure()["error"] == "deadline_exceeded"
    assert market.idle


# Workers


def test_a_draining_worker_gets_no_more_jobs_and_delivers_what_it_has() -> None:
    market = Matching()
    market.online(1, A, slots=2)
    market.submit(a_job("one"))
    market.drains(1)
    market.submit(a_job("two"))
    market.says(1, completion("one"))
    assert market.status("one") is JobStatus.COMPLETED
    assert market.given_to(1) == ["one"]


def test_a_draining_worker_stays_so_whatever_it_registers_and_however_it_settles() -> None:
    market = Matching()
    market.online(1, A)
    market.drains(1)
    market.online(1, A, slots=4)
    market.settle(1)
    market.submit(a_job())
    assert market.given_to(1) == []


def test_a_worker_that_connects_anew_drains_no_more() -> None:
    market = Matching()
    market.online(1, A)
    market.drains(1)
    market.offline(1)
    market.online(2, A)
    market.submit(a_job())
    assert market.given_to(2) == ["job"]


def test_a_job_that_a_draining_worker_refuses_goes_to_another_and_is_not_held_against_it() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job())
    market.drains(1)
    market.online(2, B)
    market.says(1, reject("job", reason="draining"))
    assert market.assignments() == [("job", 1), ("job", 2)]
    ((job,),) = [list(market.core.jobs)]
    assert job.failures == 0


def test_an_unknown_worker_that_drains_is_nobody() -> None:
    market = Matching()
    market.drains(9)
    market.submit(a_job(job_type=LLM))
    assert market.status() is JobStatus.PENDING
