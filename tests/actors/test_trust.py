"""Who may have a PRIVATE job: trusted keys that are proven; of sealed ones, recipients that can open them."""

from __future__ import annotations

import pytest

from compute_router.actors.policy import MatchingPolicy
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.messages import SEALED_V1
from tests.actors.matching import Matching
from tests.actors.samples import a_job, completion, key

A, B, C = key("a"), key("b"), key("c")
LEGACY = MatchingPolicy(legacy_workers=True)
SEALS = (SEALED_V1,)


# Sealed jobs


def test_a_sealed_job_goes_to_a_recipient_that_can_open_it() -> None:
    market = Matching()
    for pubkey in (A, B, C):
        market.grant_trust("alice", pubkey)
    market.online(1, A, features=SEALS)
    market.online(2, B)
    market.online(3, C, features=SEALS)
    market.submit(a_job(sealed_to=(B, C)))
    assert market.assignments() == [("job", 3)]


@pytest.mark.parametrize("proven", [True, False])
@pytest.mark.parametrize("features", [(), ("sealed/v2",)])
def test_a_sealed_job_is_not_taken_in_when_no_recipient_can_open_it(
    proven: bool, features: tuple[str, ...]
) -> None:
    market = Matching()
    market.grant_trust("alice", A)
    market.online(1, A, proven=proven, features=features)
    assert not market.submit(a_job(sealed_to=(A,)))


def test_also_where_proofs_are_done_without_a_sealed_job_wants_one() -> None:
    market = Matching(LEGACY)
    market.grant_trust("alice", A)
    market.online(1, A, proven=False, features=SEALS)
    assert not market.submit(a_job(sealed_to=(A,)))


def test_being_a_recipient_is_no_trust() -> None:
    market = Matching()
    market.online(1, A, features=SEALS)
    assert not market.submit(a_job(sealed_to=(A,)))


def test_a_worker_paired_after_the_sealing_cannot_get_the_job() -> None:
    market = Matching()
    market.grant_trust("alice", A)
    market.online(1, A, features=SEALS)
    market.online(2, B, features=SEALS)
    market.submit(a_job("runs", sealed_to=(A,)), a_job("waits", sealed_to=(A,)))
    market.grant_trust("alice", B)
    assert market.given_to(2) == []
    market.says(1, completion("runs"))
    assert market.given_to(1) == ["runs", "waits"]


def test_a_sealed_job_that_waits_does_not_hold_up_the_plain_ones_behind_it() -> None:
    market = Matching()
    market.grant_trust("alice", A)
    market.grant_trust("alice", B)
    market.online(1, A, features=SEALS)
    market.submit(a_job("runs", sealed_to=(A, B)), a_job("sealed", sealed_to=(A, B)))
    market.submit(a_job("plain", private=True))
    market.online(2, B)
    assert market.given_to(2) == ["plain"]


def test_a_restart_remembers_who_can_open_a_job() -> None:
    market = Matching()
    market.grant_trust("alice", A)
    market.grant_trust("alice", B)
    market.online(1, A, features=SEALS)
    market.submit(a_job("runs", sealed_to=(A,)), a_job("waits", sealed_to=(A,)))
    market.restart()
    market.online(2, B, features=SEALS)
    assert market.given_to(2) == []
    market.online(3, A, features=SEALS, held=(("runs", 1),))
    market.says(3, completion("runs", attempt=1))
    assert market.given_to(3) == ["waits"]


# Trust that ends


def test_a_waiting_private_job_loses_a_worker_that_is_trusted_no_more() -> None:
    market = Matching()
    market.grant_trust("alice", A)
    market.online(1, A)
    market.submit(a_job("other", user="bob"), a_job(private=True))
    market.revoke_trust("alice", A)
    market.says(1, completion("other"))
    assert market.given_to(1) == ["other"]
    market.advance(30_000)
    assert market.failure()["error"] == "no_trusted_worker"


def test_it_may_still_go_to_another_trusted_worker() -> None:
    market = Matching()
    market.grant_trust("alice", A)
    market.grant_trust("alice", B)
    market.online(1, A)
    market.submit(a_job("other", user="bob"), a_job(private=True))
    market.revoke_trust("alice", A)
    market.online(2, B)
    assert market.given_to(2) == ["job"]


@pytest.mark.parametrize("prompt_store", [True, False])
def test_an_attempt_by_a_worker_that_is_trusted_no_more_is_taken_back(prompt_store: bool) -> None:
    market = Matching(prompt_store=prompt_store)
    market.grant_trust("alice", A)
    market.grant_trust("alice", B)
    market.online(1, A)
    market.submit(a_job(private=True))
    market.revoke_trust("alice", A)
    market.store_answers()
    assert market.cancels(1) == ([("job", 1)] if prompt_store else [])
    market.online(2, B)
    market.store_answers()
    assert market.given_to(2) == ["job"]
    assert market.tried() == ()
    market.says(2, completion("job", attempt=2))
    market.store_answers()
    assert market.status() is JobStatus.COMPLETED


def test_its_worker_cannot_complete_it_any_more() -> None:
    market = Matching()
    market.grant_trust("alice", A)
    market.online(1, A)
    market.submit(a_job(private=True))
    market.revoke_trust("alice", A)
    market.says(1, completion("job", attempt=1))
    assert market.acks(1) == [("job", "stale")]
    assert market.status() is JobStatus.PENDING


def test_the_slot_that_is_given_back_takes_none_of_that_users_jobs() -> None:
    market = Matching()
    market.grant_trust("alice", A)
    market.online(1, A)
    market.submit(a_job("one", private=True), a_job("two", private=True), a_job("public", user="bob"))
    market.revoke_trust("alice", A)
    assert market.given_to(1) == ["one", "public"]


def test_a_result_that_is_being_stored_when_trust_ends_still_counts() -> None:
    market = Matching()
    market.grant_trust("alice", A)
    market.online(1, A)
    market.submit(a_job(private=True))
    market.prompt_store = False
    market.says(1, completion("job"))
    market.revoke_trust("alice", A)
    market.store_answers()
    assert market.status() is JobStatus.COMPLETED


def test_the_end_of_one_users_trust_touches_no_other_jobs() -> None:
    market = Matching()
    market.grant_trust("alice", A)
    market.grant_trust("bob", A)
    market.online(1, A, slots=3)
    market.submit(a_job("public"), a_job("bobs", user="bob", private=True))
    market.revoke_trust("alice", A)
    assert market.cancels(1) == []


def test_a_worker_that_is_away_when_trust_ends_loses_the_job_at_once() -> None:
    market = Matching()
    market.grant_trust("alice", A)
    market.grant_trust("alice", B)
    market.online(1, A)
    market.submit(a_job(private=True))
    market.offline(1)
    market.revoke_trust("alice", A)
    market.online(2, B)
    assert market.given_to(2) == ["job"]
    market.online(3, A, held=(("job", 1),))
    assert market.cancels(3) == [("job", 1)]


def test_trust_that_ended_as_the_coordinator_did_ends_the_attempt_at_the_next_start() -> None:
    market = Matching()
    market.grant_trust("alice", A)
    market.online(1, A)
    market.submit(a_job(private=True))
    with market.store.transaction():
        market.store.revoke_pairing("alice", A)
    market.restart()
    assert market.status() is JobStatus.PENDING
    market.online(2, A, held=(("job", 1),))
    assert market.cancels(2) == [("job", 1)]
    market.advance(30_000)
    assert market.failure()["error"] == "no_trusted_worker"
