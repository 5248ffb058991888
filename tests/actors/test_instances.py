"""Assignments that went out to a connection that was dead already."""

from __future__ import annotations

from tests.actors.matching import Matching
from tests.actors.samples import a_job, completion, key

A, B = key("a"), key("b")


def lost(instance: str | None) -> Matching:
    """A market whose worker 1 was lost right after it was given a job."""
    market = Matching()
    market.online(1, A, instance=instance)
    market.submit(a_job("job"))
    market.offline(1)
    return market


def failures(market: Matching) -> list[int]:
    return [job.failures for job in market.core.jobs]


def test_an_attempt_that_never_reached_the_same_program_does_not_count() -> None:
    market = lost("run-1")
    market.online(2, A, instance="run-1")
    assert market.assignments() == [("job", 1), ("job", 2)]
    assert failures(market) == [0]
    market.says(2, completion("job", attempt=2))
    assert market.acks(2) == [("job", "accepted")]


def test_a_program_that_began_anew_may_have_died_of_the_job_so_the_attempt_counts() -> None:
    market = lost("run-1")
    market.online(2, A, instance="run-2")
    assert failures(market) == [1]


def test_a_program_without_a_name_may_have_died_of_the_job_too() -> None:
    market = lost(None)
    market.online(2, A)
    assert failures(market) == [1]


def test_connections_that_die_again_and_again_do_not_fail_a_job() -> None:
    market = lost("run-1")
    for connection in range(2, 12):
        market.online(connection, A, instance="run-1")
        market.offline(connection)
    market.online(99, A, instance="run-1")
    assert failures(market) == [0]
    market.says(99, completion("job", attempt=12))
    assert market.acks(99) == [("job", "accepted")]
