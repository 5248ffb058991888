"""``deadline_s``: how long an attempt may run, whatever signs of life its worker gives."""

from __future__ import annotations

import pytest

from compute_router.protocol.job_state import JobStatus
from tests.actors.matching import Matching
from tests.actors.samples import a_job, completion, failed, key

A, B = key("a"), key("b")
LIMIT = 45_000


def keep_alive(market: Matching, worker_id: int, until: int) -> None:
    """Let time pass up to a moment while a worker renews its lease every ten seconds."""
    while market.now < until:
        market.advance(min(10_000, until - market.now))
        market.beats(worker_id, ("job", 1))


@pytest.mark.parametrize("proven", [True, False])
def test_a_job_that_runs_too_long_fails_and_its_worker_is_told_to_stop(proven: bool) -> None:
    market = Matching()
    market.online(1, A, proven=proven)
    market.submit(a_job(run_limit=LIMIT))
    keep_alive(market, 1, LIMIT - 1)
    assert market.status() is JobStatus.ASSIGNED
    market.advance(1)
    assert market.cancels(1) == [("job", 1)]
    assert market.failure()["error"] == "deadline_exceeded"


def test_a_job_without_a_limit_of_its_own_has_the_coordinators() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job())
    keep_alive(market, 1, market.policy.run_limit - 1)
    assert market.status() is JobStatus.ASSIGNED
    market.advance(1)
    assert market.failure()["error"] == "deadline_exceeded"


def test_the_coordinators_limit_is_the_most() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job(run_limit=10 * market.policy.run_limit))
    keep_alive(market, 1, market.policy.run_limit)
    assert market.failure()["error"] == "deadline_exceeded"


def test_a_limit_shorter_than_the_lease_ends_the_job_before_it() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job(run_limit=5_000))
    market.advance(5_000)
    assert market.failure()["error"] == "deadline_exceeded"


def test_waiting_does_not_count() -> None:
    market = Matching()
    market.submit(a_job(run_limit=5_000))
    market.advance(20_000)
    market.online(1, A)
    market.advance(4_999)
    market.says(1, completion("job"))
    assert market.status() is JobStatus.COMPLETED


def test_each_attempt_has_the_whole_limit() -> None:
    market = Matching()
    market.online(1, A)
    market.online(2, B)
    market.submit(a_job(run_limit=5_000))
    market.advance(4_999)
    market.says(1, failed("job"))
    market.advance(4_999)
    market.says(2, completion("job"))
    assert market.status() is JobStatus.COMPLETED


def test_a_worker_that_comes_back_does_not_begin_the_limit_anew() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job(run_limit=15_000))
    market.advance(10_000)
    market.offline(1)
    market.advance(1_000)
    market.online(2, A, held=(("job", 1),))
    market.advance(3_999)
    assert market.status() is JobStatus.ASSIGNED
    market.advance(1)
    assert market.failure()["error"] == "deadline_exceeded"


def test_a_result_that_comes_in_time_counts_however_slow_the_store_is() -> None:
    market = Matching(prompt_store=False)
    market.online(1, A)
    market.submit(a_job(run_limit=5_000))
    market.store_answers()
    market.says(1, completion("job"))
    market.advance(60_000)
    market.store_answers()
    assert market.status() is JobStatus.COMPLETED


def test_a_result_after_the_limit_is_stale() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job(run_limit=5_000))
    market.advance(5_000)
    market.says(1, completion("job", attempt=1))
    assert market.acks(1) == [("job", "stale")]
