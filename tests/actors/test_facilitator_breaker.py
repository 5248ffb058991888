"""When the facilitator counts as down, how often it is asked how it is, and who is woken when it is back."""

from __future__ import annotations

from compute_router.actors.facilitator_breaker import FacilitatorBreaker
from compute_router.actors.messages.base import Message
from compute_router.actors.messages.payment_gate import AskHealth
from compute_router.actors.messages.timers import SetTimer
from compute_router.actors.payment_policy import PaymentPolicy

POLICY = PaymentPolicy()


def breaker() -> tuple[FacilitatorBreaker, list[Message]]:
    told: list[Message] = []
    return FacilitatorBreaker(POLICY, told.append), told


def opened() -> tuple[FacilitatorBreaker, list[Message]]:
    it, told = breaker()
    for _ in range(POLICY.failures_until_down):
        it.was_silent()
    assert it.is_open
    return it, told


def waits(told: list[Message]) -> list[int]:
    return [message.delay for message in told if isinstance(message, SetTimer)]


def test_it_opens_after_some_silences_in_a_row() -> None:
    it, told = breaker()
    seen = []
    for _ in range(POLICY.failures_until_down):
        seen.append((it.is_open, len(told)))
        it.was_silent()
    assert seen == [(False, 0)] * POLICY.failures_until_down
    assert it.is_open
    assert waits(told) == [POLICY.retry_backoff]


def test_an_answer_between_silences_begins_the_count_anew() -> None:
    it, _ = breaker()
    for _ in range(10):
        it.was_silent()
        it.answered()
    assert not it.is_open


def test_further_silences_start_no_further_probes() -> None:
    it, told = opened()
    it.was_silent()
    assert len(waits(told)) == 1


def test_it_is_asked_how_it_is_at_longer_and_longer_intervals() -> None:
    it, told = opened()
    for _ in range(9):
        it.probe_due()
        assert it.probed("no answer") == []
    assert told.count(AskHealth()) == 9
    pauses = waits(told)
    assert pauses == sorted(pauses)
    assert pauses[-1] == POLICY.max_backoff


def test_all_that_waited_are_woken_once_when_it_is_well() -> None:
    it, _ = opened()
    for payment_id in ("c", "a", "b"):
        it.wait(payment_id)
    it.forget("b")
    assert it.probed(None) == ["a", "c"]
    assert not it.is_open
    assert it.probed(None) == []


def test_an_answer_to_a_settlement_closes_it_as_well() -> None:
    it, told = opened()
    it.wait("a")
    assert it.answered() == ["a"]
    it.probe_due()
    assert AskHealth() not in told


def test_after_it_closed_it_opens_only_after_as_many_silences_again() -> None:
    it, _ = opened()
    it.answered()
    it.was_silent()
    assert not it.is_open
