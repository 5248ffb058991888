"""Which worker a job goes to, and which job a worker gets."""

from __future__ import annotations

import pytest

from compute_router.actors.policy import MatchingPolicy
from compute_router.protocol.jobs import JobType, ProviderType, Tier
from tests.actors.matching import Matching
from tests.actors.samples import LLM, TASK, a_job, completion, failed, key, reject

DESKTOP, SEEKER = ProviderType.DESKTOP, ProviderType.SEEKER
A, B, C = key("a"), key("b"), key("c")
LEGACY = MatchingPolicy(legacy_workers=True)


@pytest.mark.parametrize(
    ("tier", "job_type", "chosen"),
    [
        (Tier.FAST, TASK, "desktop"),
        (Tier.FAST, LLM, "desktop"),
        (Tier.CHEAP, TASK, "phone"),
        (Tier.CHEAP, LLM, "desktop"),
    ],
)
def test_fast_and_inference_prefer_desktops_and_cheap_tasks_prefer_phones(
    tier: Tier, job_type: JobType, chosen: str
) -> None:
    market = Matching()
    workers = {"desktop": 1, "phone": 2}
    market.online(workers["desktop"], A, DESKTOP)
    market.online(workers["phone"], B, SEEKER)
    market.submit(a_job(tier=tier, job_type=job_type))
    assert market.given_to(workers[chosen]) == ["job"]


@pytest.mark.parametrize("tier", list(Tier))
@pytest.mark.parametrize("kind", list(ProviderType))
def test_a_job_takes_the_other_kind_rather_than_wait(tier: Tier, kind: ProviderType) -> None:
    market = Matching()
    market.online(1, A, kind)
    market.submit(a_job(tier=tier))
    assert market.given_to(1) == ["job"]


def test_the_worker_that_was_idle_longest_goes_first() -> None:
    market = Matching()
    for worker_id, pubkey in enumerate((A, B, C), start=1):
        market.online(worker_id, pubkey)
        market.advance(10)
    market.submit(a_job("one"), a_job("two"))
    market.says(1, completion("one"))
    market.submit(a_job("three"), a_job("four"))
    assert market.assignments() == [("one", 1), ("two", 2), ("three", 3), ("four", 1)]


def test_among_trusted_workers_too_the_one_that_was_idle_longest_goes_first() -> None:
    market = Matching()
    for worker_id, pubkey in ((1, B), (2, A)):
        market.grant_trust("alice", pubkey)
        market.online(worker_id, pubkey)
        market.advance(10)
    market.submit(a_job(private=True))
    assert market.given_to(1) == ["job"]


def test_a_worker_that_has_not_tried_the_job_goes_before_one_that_has() -> None:
    market = Matching()
    market.online(1, A, DESKTOP)
    market.submit(a_job(tier=Tier.FAST))
    market.online(2, B, SEEKER)
    market.says(1, failed("job"))
    assert market.assignments() == [("job", 1), ("job", 2)]


def test_a_worker_gets_only_what_it_says_it_can_do() -> None:
    market = Matching()
    market.online(1, A, can=(TASK,))
    market.submit(a_job("chat", job_type=LLM))
    market.submit(a_job("task"))
    assert market.given_to(1) == ["task"]


def test_a_job_that_names_a_model_waits_for_a_worker_that_has_it() -> None:
    market = Matching()
    market.online(1, A, models=("llama",))
    market.submit(a_job(job_type=LLM, model="qwen"))
    assert market.assignments() == []
    market.online(2, B, models=("llama", "qwen"))
    assert market.assignments() == [("job", 2)]


def test_a_job_that_names_no_model_takes_any_worker_for_inference() -> None:
    market = Matching()
    market.online(1, A, models=("llama",))
    market.submit(a_job(job_type=LLM))
    assert market.given_to(1) == ["job"]


def test_a_worker_fills_all_its_slots_and_no_more() -> None:
    market = Matching()
    market.online(1, A, slots=2)
    market.submit(a_job("one"), a_job("two"), a_job("three"))
    assert market.given_to(1) == ["one", "two"]
    market.says(1, completion("two"))
    assert market.given_to(1) == ["one", "two", "three"]


def test_a_freed_slot_takes_the_next_job_before_the_result_is_stored() -> None:
    market = Matching(prompt_store=False)
    market.online(1, A)
    market.submit(a_job("one"))
    market.store_answers()
    market.submit(a_job("two"))
    market.says(1, completion("one"))
    assert [job.worker_id for job in market.core.jobs if job.job_id == "two"] == [1]
    market.store_answers()
    assert market.given_to(1) == ["one", "two"]


def test_an_assignment_goes_out_only_after_it_is_durable() -> None:
    market = Matching(prompt_store=False)
    market.online(1, A)
    market.submit(a_job())
    assert market.assignments() == []
    market.store_answers()
    assert market.assignments() == [("job", 1)]


def test_a_worker_that_did_not_prove_itself_gets_nothing_before_it_settled() -> None:
    market = Matching()
    market.online(1, A, proven=False, settled=False)
    market.submit(a_job())
    assert market.assignments() == []
    market.settle(1)
    assert market.assignments() == [("job", 1)]


def test_a_proven_worker_gets_jobs_at_once() -> None:
    market = Matching()
    market.submit(a_job())
    market.online(1, A, proven=True)
    assert market.assignments() == [("job", 1)]


def test_settling_of_an_unknown_connection_changes_nothing() -> None:
    market = Matching()
    market.settle(7)
    market.offline(7)
    assert market.frames == []


# The order of waiting jobs


def test_fast_goes_before_cheap() -> None:
    market = Matching()
    market.submit(a_job("cheap", tier=Tier.CHEAP), a_job("fast", tier=Tier.FAST))
    market.online(1, A)
    assert market.given_to(1) == ["fast"]


def test_a_cheap_job_that_waited_long_enough_goes_before_fast() -> None:
    market = Matching()
    market.submit(a_job("cheap", tier=Tier.CHEAP))
    market.advance(market.policy.ageing + 1)
    market.submit(a_job("fast", tier=Tier.FAST))
    market.online(1, A)
    assert market.given_to(1) == ["cheap"]


def test_a_users_own_jobs_keep_their_order() -> None:
    market = Matching()
    market.submit(*(a_job(str(number)) for number in range(4)))
    market.online(1, A, slots=4)
    assert market.given_to(1) == ["0", "1", "2", "3"]


def test_no_users_burst_starves_another() -> None:
    market = Matching()
    market.submit(*(a_job(f"burst-{number}", user="alice") for number in range(50)))
    market.submit(a_job("single", user="bob"))
    market.online(1, A)
    market.says(1, completion("burst-0"))
    assert market.given_to(1) == ["burst-0", "single"]


def test_no_users_burst_starves_another_who_asks_for_something_else() -> None:
    market = Matching()
    market.submit(*(a_job(f"burst-{number}", user="alice", tier=Tier.FAST) for number in range(50)))
    market.advance(1)
    market.submit(a_job("single", user="bob", job_type=LLM, tier=Tier.FAST))
    market.online(1, A)
    market.says(1, completion("burst-0"))
    assert market.given_to(1) == ["burst-0", "single"]


# Trust


def test_a_private_job_goes_to_a_trusted_worker_only() -> None:
    market = Matching()
    market.grant_trust("alice", B)
    market.online(1, A)
    market.online(2, B)
    market.submit(a_job(private=True))
    assert market.assignments() == [("job", 2)]


def test_a_trusted_worker_serves_its_own_user_only() -> None:
    market = Matching()
    market.grant_trust("alice", A)
    market.online(1, A)
    assert not market.submit(a_job(private=True, user="bob"))


def test_a_private_job_without_a_trusted_worker_online_is_not_taken_in() -> None:
    market = Matching()
    market.online(1, A)
    assert not market.submit(a_job(private=True))
    assert not market.core.is_live("job")
    assert market.timers == {}


def test_a_private_job_is_not_taken_in_when_the_trusted_worker_cannot_run_it() -> None:
    market = Matching()
    market.grant_trust("alice", A)
    market.online(1, A, can=(TASK,))
    assert not market.submit(a_job(private=True, job_type=LLM))


def test_a_private_job_waits_for_a_trusted_worker_that_is_busy() -> None:
    market = Matching()
    market.grant_trust("alice", A)
    market.online(1, A)
    market.online(2, B, slots=9)
    market.submit(a_job("first", private=True))
    assert market.submit(a_job("second", private=True))
    assert market.given_to(1) == ["first"]
    market.says(1, completion("first"))
    assert market.given_to(1) == ["first", "second"]
    assert market.given_to(2) == []


def test_a_private_job_waits_for_a_trusted_worker_that_has_not_settled() -> None:
    market = Matching(LEGACY)
    market.grant_trust("alice", A)
    market.online(1, A, proven=False, settled=False)
    assert market.submit(a_job(private=True))
    market.settle(1)
    assert market.given_to(1) == ["job"]


def test_a_private_job_never_goes_to_a_worker_that_only_names_a_trusted_key() -> None:
    market = Matching()
    market.grant_trust("alice", A)
    market.online(1, A, proven=False)
    assert not market.submit(a_job(private=True))
    market.submit(a_job("public"))
    assert market.given_to(1) == ["public"]


def test_a_waiting_private_job_does_not_fall_to_one_that_only_names_its_key() -> None:
    market = Matching()
    market.grant_trust("alice", A)
    market.online(1, A)
    market.submit(a_job("runs", private=True), a_job("waits", private=True))
    market.offline(1)
    market.online(2, A, proven=False)
    market.advance(60_000)
    assert market.given_to(2) == []
    assert market.failure("waits")["error"] == "no_trusted_worker"


def test_an_operator_may_do_without_proofs() -> None:
    market = Matching(LEGACY)
    market.grant_trust("alice", A)
    market.online(1, B, proven=False)
    market.online(2, A, proven=False)
    market.submit(a_job(private=True))
    assert market.assignments() == [("job", 2)]


def test_a_worker_paired_while_a_private_job_waits_gets_it() -> None:
    market = Matching()
    market.grant_trust("alice", A)
    market.online(1, A)
    market.online(2, B)
    market.submit(a_job("first", private=True), a_job("second", private=True))
    market.grant_trust("alice", B)
    assert market.assignments() == [("first", 1), ("second", 2)]


def test_a_worker_paired_while_a_private_job_runs_may_have_its_next_attempt() -> None:
    market = Matching()
    market.grant_trust("alice", A)
    market.online(1, A)
    market.online(2, B)
    market.submit(a_job(private=True))
    market.grant_trust("alice", B)
    market.says(1, reject("job"))
    assert market.assignments() == [("job", 1), ("job", 2)]


def test_pairing_with_another_user_gives_no_job() -> None:
    market = Matching()
    market.grant_trust("alice", A)
    market.online(1, A)
    market.online(2, B)
    market.submit(a_job("first", private=True), a_job("second", private=True))
    market.grant_trust("bob", B)
    assert market.given_to(2) == []


# Registering again


def test_a_worker_that_registers_again_with_more_abilities_gets_what_waits_for_them() -> None:
    market = Matching()
    market.online(1, A, can=(TASK,))
    market.submit(a_job(job_type=LLM))
    market.online(1, A, can=(LLM, TASK))
    assert market.given_to(1) == ["job"]


def test_a_worker_that_registers_again_with_fewer_abilities_is_not_asked_for_the_others() -> None:
    market = Matching()
    market.online(1, A, can=(LLM, TASK))
    market.online(1, A, can=(TASK,))
    market.submit(a_job(job_type=LLM))
    assert market.assignments() == []


def test_a_worker_that_registers_again_keeps_its_jobs_and_its_slots_stay_used() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job("one"), a_job("two"))
    market.online(1, A)
    assert market.given_to(1) == ["one"]
    market.says(1, completion("one"))
    assert market.acks(1) == [("one", "accepted")]
    assert market.given_to(1) == ["one", "two"]


def test_a_socket_that_registers_another_key_gives_up_the_jobs_of_the_first() -> None:
    market = Matching()
    market.online(1, A, proven=False)
    market.submit(a_job())
    market.online(1, B, proven=False)
    assert [job.worker_pubkey for job in market.core.jobs] == [B]
    assert market.tried() == (A,)


def test_two_unproven_sockets_of_one_key_are_two_workers() -> None:
    market = Matching()
    market.online(1, A, proven=False)
    market.online(2, A, proven=False)
    market.submit(a_job("one"), a_job("two"))
    assert market.assignments() == [("one", 1), ("two", 2)]
    market.offline(1)
    assert [worker.worker_id for worker in market.core.workers] == [2]


def test_the_sweep_finds_nothing_to_do_after_any_other_event() -> None:
    market = Matching()
    market.online(1, A)
    market.submit(a_job("one"), a_job("two"))
    market.core.sweep(market.now)
    assert market.core.drain() == []
