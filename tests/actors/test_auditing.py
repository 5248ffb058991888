"""Track records, audits and bars in the Matcher: what counts, who is preferred, who is thrown out."""

from __future__ import annotations

import msgspec
import pytest

from compute_router.actors.idle_workers import TRIAL_EVERY
from compute_router.actors.policy import MatchingPolicy
from compute_router.actors.track_record import Band, TrackRecord
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.jobs import ProviderType, Tier
from compute_router.protocol.messages import TASKS_V1, JobAssign
from compute_router.protocol.units import DurationMs
from tests.actors.matching import Matching
from tests.actors.samples import LLM, TASK, a_job, busy, completion, failed, key, reject, started

A, B, C, D = key("a"), key("b"), key("c"), key("d")
DESKTOP, SEEKER = ProviderType.DESKTOP, ProviderType.SEEKER
LIE = b'{"summary":"wrong","word_count":1}'
ALL_AUDITED = MatchingPolicy(audit_share=1.0, audit_newcomer_jobs=0)


def record(market: Matching, pubkey: str = A) -> TrackRecord:
    found = market.core._records.find(pubkey)
    assert found is not None
    return found


def counts(market: Matching, pubkey: str = A) -> dict[str, int]:
    """The counts of a key that are not zero."""
    names = ("completed", "failed", "rejected", "lost", "bad_receipts")
    values = {name: getattr(record(market, pubkey), name) for name in names}
    return {name: value for name, value in values.items() if value}


def at_work(**fields: object) -> Matching:
    """A proven worker holds a job."""
    market = Matching()
    market.online(1, A)
    market.submit(a_job(**fields))  # type: ignore[arg-type]
    assert market.given_to(1) == ["job"]
    return market


def spoil(market: Matching, pubkey: str, failures: int) -> None:
    """Give a key a bad record."""
    found = record(market, pubkey)
    for _ in range(failures):
        if market.core._records.failed(found):
            market.core._band_changed(found)


# What counts


def test_a_result_counts_with_the_time_from_sending_to_answer() -> None:
    market = at_work()
    market.advance(700)
    market.says(1, completion("job"))
    assert counts(market) == {"completed": 1}
    assert record(market).latency_sum == 700


def test_the_time_the_disk_takes_does_not_count() -> None:
    market = Matching(prompt_store=False)
    market.online(1, A)
    market.submit(a_job())
    market.advance(400)
    market.store_answers()
    market.advance(100)
    market.says(1, completion("job"))
    market.advance(400)
    assert counts(market) == {}
    market.store_answers()
    assert record(market).latency_sum == 100


@pytest.mark.parametrize(
    ("frame", "counted"),
    [
        (completion("job", output_hash="0" * 64), {"bad_receipts": 1}),
        (busy("job"), {}),
        (failed("job", code="model_unloaded"), {}),
        (failed("job", retryable=False), {}),
    ],
    ids=["wrong proof", "no room", "model away", "no worker could do it"],
)
def test_what_a_worker_does_wrong_counts_and_want_of_room_does_not(
    frame: object, counted: dict[str, int]
) -> None:
    market = at_work()
    market.says(1, frame)  # type: ignore[arg-type]
    assert counts(market) == counted


@pytest.mark.parametrize(
    ("frame", "counted"), [(reject("job"), {"rejected": 1}), (failed("job"), {"failed": 1})]
)
def test_who_refuses_or_fails_a_job_is_blamed_when_another_has_done_it(
    frame: object, counted: dict[str, int]
) -> None:
    market = at_work()
    market.online(2, B)
    market.says(1, frame)  # type: ignore[arg-type]
    market.advance(market.policy.retry_backoff)
    assert counts(market) == {}
    market.says(2, completion("job"))
    assert (counts(market), counts(market, B)) == (counted, {"completed": 1})


def test_a_job_that_everybody_fails_is_held_against_nobody() -> None:
    market = at_work()
    market.online(2, B)
    for attempt in range(1, market.policy.max_failures + 1):
        market.says(holder(market)[1], failed("job", attempt=attempt))
        market.advance(market.policy.max_backoff)
    assert market.status("job") is JobStatus.FAILED
    assert (counts(market), counts(market, B)) == ({}, {})


def test_what_a_connection_without_proof_claims_to_have_done_holds_nobody_else_to_blame() -> None:
    market = at_work()
    market.online(2, B, proven=False)
    market.says(1, failed("job"))
    market.advance(market.policy.retry_backoff)
    market.says(2, completion("job"))
    assert counts(market) == {}


def test_a_worker_that_leaves_a_job_behind_has_lost_it_once_it_had_time_to_return() -> None:
    market = at_work()
    market.offline(1)
    assert counts(market) == {}
    market.advance(market.policy.reconnect_grace)
    assert counts(market) == {"lost": 1}


def test_a_worker_that_returns_with_its_job_has_lost_nothing() -> None:
    market = at_work()
    market.offline(1)
    market.online(2, A, held=(("job", 1),))
    market.says(2, completion("job"))
    assert counts(market) == {"completed": 1}


def test_a_worker_that_falls_silent_has_lost_its_job() -> None:
    market = at_work()
    market.says(1, started("job"))
    market.advance(market.policy.task_lease)
    assert counts(market) == {"lost": 1}


def test_a_job_that_was_never_sent_is_not_lost() -> None:
    market = Matching(prompt_store=False)
    market.online(1, A)
    market.submit(a_job())
    market.offline(1)
    market.advance(60_000)
    assert counts(market) == {}


def test_what_a_restart_of_the_coordinator_costs_is_not_the_workers_fault() -> None:
    market = at_work()
    market.says(1, started("job"))
    market.restart()
    market.advance(60_000)
    market.online(2, A)
    assert counts(market) == {}


def test_a_job_that_was_held_over_a_restart_counts_for_its_worker_without_a_time() -> None:
    market = at_work()
    market.restart()
    market.online(2, A, held=(("job", 1),))
    market.says(2, completion("job"))
    assert counts(market) == {"completed": 1}
    assert record(market).latency_sum == 0


def test_a_cancel_and_a_seekers_deadline_do_not_count() -> None:
    market = at_work()
    market.cancel("job")
    market.submit(a_job("short", run_limit=5))
    market.says(1, started("short"))
    market.advance(6)
    assert market.status("short") is JobStatus.FAILED
    assert counts(market) == {}


def test_a_connection_that_did_not_prove_its_key_leaves_no_mark_on_the_keys_record() -> None:
    market = Matching()
    market.online(1, A)
    market.offline(1)
    market.online(2, A, proven=False)
    market.submit(a_job())
    market.says(2, reject("job"))
    market.submit(a_job("other"))
    market.says(2, completion("other"))
    assert counts(market) == {}


def test_records_survive_a_restart() -> None:
    market = at_work()
    market.says(1, completion("job"))
    market.flush_records()
    market.restart()
    assert counts(market) == {"completed": 1}


def test_a_key_that_was_not_read_at_the_start_is_read_when_it_comes_back() -> None:
    market = at_work()
    market.says(1, completion("job"))
    spoil(market, A, 30)
    market.flush_records()
    market.records_loaded = 0
    market.restart()
    assert market.core._records.find(A) is None
    market.online(2, A)
    assert counts(market) == {"completed": 1, "failed": 30}
    assert record(market).band is Band.POOR


# Who is preferred


def test_a_job_goes_to_the_worker_with_the_better_record_however_long_the_other_waits() -> None:
    market = Matching()
    market.online(1, A)
    spoil(market, A, 5)
    market.advance(1_000)
    market.online(2, B)
    market.submit(a_job())
    assert market.given_to(2) == ["job"]


def test_the_kind_of_machine_comes_before_the_record() -> None:
    market = Matching()
    market.online(1, A, SEEKER)
    market.online(2, B, DESKTOP)
    spoil(market, A, 5)
    market.submit(a_job(tier=Tier.CHEAP))
    assert market.given_to(1) == ["job"]


def test_a_private_job_goes_to_the_trusted_worker_with_the_better_record() -> None:
    market = Matching()
    market.online(1, A)
    market.online(2, B)
    spoil(market, A, 5)
    market.grant_trust("alice", A)
    market.grant_trust("alice", B)
    market.submit(a_job(private=True))
    assert market.given_to(2) == ["job"]


def test_a_worker_that_failed_too_often_stands_behind_the_others_from_then_on() -> None:
    market = Matching()
    market.online(1, A)
    market.online(2, B)
    for number in range(3):
        market.submit(a_job(f"job-{number}"))
        market.says(1, reject(f"job-{number}"))
        market.says(2, completion(f"job-{number}"))
    assert record(market, A).band is Band.FAIR
    before = len(market.given_to(1))
    market.submit(a_job("next"))
    assert market.given_to(2)[-1] == "next"
    assert len(market.given_to(1)) == before


def test_the_worst_worker_gets_a_job_when_nobody_else_is_free() -> None:
    market = Matching()
    market.online(1, A)
    market.online(2, B)
    spoil(market, A, 50)
    market.submit(a_job("one"), a_job("two"), a_job("three"))
    assert (market.given_to(1), market.given_to(2)) == (["two"], ["one"])
    market.says(1, completion("two"))
    assert market.given_to(1) == ["two", "three"]


def test_the_worst_worker_is_tried_now_and_then_so_that_it_can_earn_its_way_up() -> None:
    market = Matching()
    market.online(1, A)
    market.online(2, B)
    spoil(market, A, 50)
    for number in range(2 * TRIAL_EVERY):
        job_id = f"job-{number}"
        market.submit(a_job(job_id))
        market.says(1 if job_id in market.given_to(1) else 2, completion(job_id))
    assert len(market.given_to(1)) == 2


def test_an_unproven_worker_stands_behind_those_that_can_be_held_to_what_they_did() -> None:
    market = Matching()
    market.online(1, A, proven=False)
    market.advance(10)
    market.online(2, B)
    market.submit(a_job(), a_job("next"))
    assert (market.given_to(2), market.given_to(1)) == (["job"], ["next"])


# Audits


def three_workers(policy: MatchingPolicy = ALL_AUDITED, **fields: object) -> Matching:
    market = Matching(policy)
    for number, pubkey in enumerate((A, B, C), 1):
        market.online(number, pubkey, features=(TASKS_V1,), **fields)  # type: ignore[arg-type]
    return market


def holder(market: Matching) -> tuple[str, int]:
    """The job that is held and the worker that holds it, when there is exactly one."""
    ((job_id, worker_id),) = [(job.job_id, job.worker_id) for job in market.core.jobs]
    assert worker_id is not None
    return job_id, worker_id


def deliver(market: Matching, *, liars: tuple[int, ...] = (), lie: bytes = LIE) -> int:
    """The worker that holds the one job delivers; which worker it was."""
    job_id, worker_id = holder(market)
    market.says(worker_id, completion(job_id, output=lie) if worker_id in liars else completion(job_id))
    return worker_id


def judged(market: Matching) -> dict[str, tuple[int, int]]:
    """For each key, in how many audits it agreed and was the odd one."""
    records = ((pubkey, record(market, pubkey)) for pubkey in (A, B, C))
    return {pubkey: (found.audits_agreed, found.audits_disagreed) for pubkey, found in records}


def test_a_finished_task_is_repeated_by_another_worker_and_both_agree() -> None:
    market = three_workers()
    market.submit(a_job())
    first = deliver(market)
    assert market.acks(first) == [("job", "accepted")]
    second = deliver(market)
    assert second != first
    assert not list(market.core.jobs)
    assert sorted(judged(market).values()) == [(0, 0), (1, 0), (1, 0)]
    assert market.barred == []


def test_a_worker_cannot_tell_an_audit_from_a_seekers_job() -> None:
    market = three_workers()
    market.submit(a_job(user="alice"))
    deliver(market)
    real, audit = [frame for _, frame in market.frames if isinstance(frame, JobAssign)]
    assert (audit.payload, audit.user_id) == (real.payload, "alice")
    assert len(audit.job_id) == 36
    assert msgspec.structs.replace(audit, job_id="job") == real


def test_an_audit_is_watched_and_followed_like_any_job_by_whoever_has_its_id() -> None:
    market = three_workers()
    market.submit(a_job())
    deliver(market)
    audit_id, worker_id = holder(market)
    assert market.core.is_live(audit_id)
    assert market.core.follow(audit_id) is not None
    assert not market.core.is_live(audit_id, "alice"), "with accounts it is nobody's"
    market.says(worker_id, completion(audit_id))
    assert [view.job_id for view in market.published] == ["job", audit_id]


def test_an_audit_that_its_worker_cancels_goes_to_another() -> None:
    market = three_workers()
    market.submit(a_job())
    deliver(market)
    audit_id, worker_id = holder(market)
    assert market.cancel(audit_id)
    market.place_audits()
    again, other = holder(market)
    assert again != audit_id
    assert other != worker_id
    market.says(other, completion(again))
    assert market.barred == []
    assert sorted(judged(market).values()) == [(0, 0), (1, 0), (1, 0)]


def test_taking_the_promise_back_before_the_result_saves_nobody_from_an_audit() -> None:
    market = three_workers()
    market.submit(a_job())
    job_id, worker_id = holder(market)
    market.online(worker_id, key("abc"[worker_id - 1]), features=())
    market.says(worker_id, completion(job_id))
    assert holder(market)[1] != worker_id


def test_only_workers_with_the_very_same_promise_judge_each_other() -> None:
    market = Matching(ALL_AUDITED)
    market.online(1, A, features=("tasks/v1+unicode-14.0.0",))
    market.online(2, B, features=("tasks/v1+unicode-15.0.0",))
    market.submit(a_job())
    deliver(market)
    assert not list(market.core.jobs)


def test_an_audit_counts_in_no_users_limit_and_in_no_workers_record() -> None:
    market = three_workers(msgspec.structs.replace(ALL_AUDITED, max_jobs_per_user=1))
    market.submit(a_job())
    first = deliver(market)
    assert market.reserve("alice") is None
    market.give_back("alice")
    second = deliver(market)
    assert counts(market, key("abc"[first - 1])) == {"completed": 1}
    assert counts(market, key("abc"[second - 1])) == {}


@pytest.mark.parametrize("cheat", [1, 2, 3])
def test_the_odd_one_of_three_is_barred_and_nobody_else(cheat: int) -> None:
    market = three_workers()
    for _ in range(3):
        if market.barred:
            break
        market.submit(a_job(f"job-{len(market.path)}"))
        while list(market.core.jobs):
            deliver(market, liars=(cheat,))
    assert market.barred == [key("abc"[cheat - 1])]
    market.flush_records()
    stored = market.store.worker_record(market.barred[0])
    assert stored is not None
    assert stored.audits_disagreed == 1
    assert stored.barred_at is not None
    assert stored.barred_reason
    assert cheat not in market.workers


def test_nobody_is_convicted_when_all_three_differ() -> None:
    market = three_workers()
    market.submit(a_job())
    for number in range(3):
        deliver(market, liars=(1, 2, 3), lie=b"[%d]" % number)
    assert not list(market.core.jobs)
    assert set(judged(market).values()) == {(0, 0)}
    assert market.barred == []


def test_two_that_differ_wait_for_a_third_and_without_one_nothing_follows() -> None:
    market = three_workers()
    market.offline(3)
    market.submit(a_job())
    deliver(market)
    deliver(market, liars=(1, 2))
    assert not list(market.core.jobs)
    market.advance(ALL_AUDITED.audit_window)
    market.place_audits()
    market.online(4, C, features=(TASKS_V1,))
    market.place_audits()
    assert not list(market.core.jobs)
    assert market.barred == []


def test_a_third_that_comes_in_time_decides() -> None:
    market = three_workers()
    market.offline(3)
    market.submit(a_job())
    first = deliver(market)
    cheat = deliver(market, liars=(1, 2))
    market.online(4, C, features=(TASKS_V1,))
    market.place_audits()
    assert deliver(market) == 4
    assert market.barred == [key("abc"[cheat - 1])]
    assert record(market, key("abc"[first - 1])).audits_agreed == 1


def test_an_audit_whose_worker_does_not_deliver_goes_to_another() -> None:
    market = three_workers()
    market.submit(a_job())
    deliver(market)
    audit_id, second = holder(market)
    market.says(second, reject(audit_id))
    assert market.status(audit_id) is JobStatus.FAILED
    assert counts(market, key("abc"[second - 1])) == {}
    market.place_audits()
    _, third = holder(market)
    assert third != second
    deliver(market)
    assert market.barred == []


@pytest.mark.parametrize(
    "job",
    [
        a_job(private=True),
        a_job(job_type=LLM),
    ],
    ids=["private", "inference"],
)
def test_only_public_tasks_are_audited(job: object) -> None:
    market = three_workers()
    for pubkey in (A, B, C):
        market.grant_trust("alice", pubkey)
    market.submit(job)  # type: ignore[arg-type]
    deliver(market)
    assert market.audits == {}


def test_no_worker_without_the_feature_and_none_without_proof_is_audited_or_asked() -> None:
    market = Matching(ALL_AUDITED)
    market.online(1, A)
    market.online(2, B, proven=False, features=(TASKS_V1,))
    market.submit(a_job("one"), a_job("two"))
    market.says(1, completion("one"))
    market.says(2, completion("two"))
    assert market.audits == {}
    market.online(3, C, features=(TASKS_V1,))
    market.submit(a_job("three", tier=Tier.FAST), a_job("four"), a_job("five"))
    assert market.given_to(3)
    market.says(3, completion(market.given_to(3)[0]))
    assert market.audits == {}


def test_with_a_share_of_nothing_there_are_no_audits() -> None:
    market = three_workers(MatchingPolicy(audit_share=0.0, audit_newcomer_jobs=0))
    market.submit(a_job())
    deliver(market)
    assert market.audits == {}


def test_seekers_jobs_go_first_and_an_audit_waits_for_an_idle_worker() -> None:
    market = three_workers()
    market.offline(3)
    market.submit(*(a_job(f"job-{number}") for number in range(4)))
    market.says(1, completion(market.given_to(1)[0]))
    market.says(2, completion(market.given_to(2)[0]))
    assert market.audits == {}
    market.says(1, completion(market.given_to(1)[1]))
    assert len(market.audits) == 1, "only now nobody's job waits"


def test_audits_that_waited_follow_each_other_without_waiting_for_the_sweep() -> None:
    market = three_workers()
    market.offline(2)
    market.offline(3)
    for number in range(3):
        market.submit(a_job(f"job-{number}"))
        deliver(market)
    assert market.audits == {}
    market.online(4, B, features=(TASKS_V1,))
    market.place_audits()
    for _ in range(3):
        deliver(market)
    assert not list(market.core.jobs)
    assert record(market, B).audits_agreed == 3


def test_a_cheat_that_several_audits_find_out_is_barred_once() -> None:
    market = Matching(ALL_AUDITED)
    market.online(1, A, slots=2, features=(TASKS_V1,))
    market.submit(a_job("one"), a_job("two"))
    market.says(1, completion("one", output=LIE))
    market.says(1, completion("two", output=LIE))
    for number, pubkey in enumerate((B, C, D), 2):
        market.online(number, pubkey, slots=2, features=(TASKS_V1,))
        market.place_audits()
    while held := [(job.job_id, job.worker_id or 0) for job in market.core.jobs]:
        for job_id, worker_id in held:
            market.says(worker_id, completion(job_id))
    assert market.barred == [A]
    assert record(market, A).audits_disagreed == 2


def test_no_audit_is_begun_while_the_coordinator_drains() -> None:
    market = three_workers()
    market.submit(a_job())
    market.start_drain()
    deliver(market)
    market.place_audits()
    assert market.audits == {}


def test_a_drain_does_not_wait_for_an_audit() -> None:
    market = three_workers()
    market.submit(a_job())
    deliver(market)
    assert len(list(market.core.jobs)) == 1
    market.start_drain()
    assert market.idle is True


def test_an_unfinished_audit_ends_with_the_run_of_the_coordinator() -> None:
    market = three_workers()
    market.submit(a_job())
    deliver(market)
    audit_id, _ = holder(market)
    market.restart()
    assert market.status(audit_id) is JobStatus.FAILED
    assert not list(market.core.jobs)
    market.online(9, B, held=((audit_id, 1),))
    assert market.cancels(9) == [(audit_id, 1)]


# Bars


def test_the_jobs_of_a_barred_key_go_to_others_at_once_and_their_attempts_do_not_count() -> None:
    policy = msgspec.structs.replace(ALL_AUDITED, max_failures=1)
    market = Matching(policy)
    market.online(1, A, slots=2, features=(TASKS_V1,))
    market.submit(a_job("audited"), a_job("held", lease=60_000))
    assert market.given_to(1) == ["audited", "held"]
    market.online(2, B, features=(TASKS_V1,))
    market.online(3, C, features=(TASKS_V1,))
    market.says(1, completion("audited", output=LIE))
    for _ in range(2):
        audit_id, worker_id = next(
            (job.job_id, job.worker_id) for job in market.core.jobs if job.job_id in market.audits
        )
        assert worker_id is not None
        market.says(worker_id, completion(audit_id))
    assert market.barred == [A]
    assert "held" in market.given_to(2) + market.given_to(3)
    assert [job.failures for job in market.core.jobs] == [0]
    assert market.cancels(1) == [("held", 1)]


def test_a_job_that_waits_for_a_barred_key_to_return_waits_no_longer() -> None:
    market = Matching(msgspec.structs.replace(ALL_AUDITED, reconnect_grace=DurationMs(60_000)))
    market.online(1, A, slots=2, features=(TASKS_V1,))
    market.submit(a_job("audited"), a_job("held", lease=60_000))
    market.says(1, completion("audited", output=LIE))
    market.offline(1)
    for number, pubkey in enumerate((B, C), 2):
        market.online(number, pubkey, can=(TASK,), features=(TASKS_V1,))
    market.place_audits()
    for _ in range(2):
        audit_id, worker_id = next(
            (job.job_id, job.worker_id) for job in market.core.jobs if job.job_id in market.audits
        )
        assert worker_id is not None
        market.says(worker_id, completion(audit_id))
    assert market.barred == [A]
    assert "held" in market.given_to(2) + market.given_to(3)
