"""What each request to the JobStore does to a real database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nacl.signing import SigningKey

from compute_router.actors.messages.base import Message
from compute_router.actors.messages.job_store import (
    AssignmentRecorded,
    ClassifyLate,
    CompletionRecorded,
    Deleted,
    DeleteFinished,
    FindReplay,
    ForgetKeys,
    GetJob,
    InsertJob,
    JobEnded,
    KeepReceipt,
    LoadUnfinished,
    NoteAlive,
    QuotaUsedUp,
    RecordAssigned,
    RecordCancelled,
    RecordCompletion,
    RecordFailed,
    RecordRequeued,
    RecordStarted,
)
from compute_router.actors.messages.matcher import IsLive
from compute_router.actors.messages.stored_trust import (
    ClaimPairing,
    CreatePairing,
    ListPairings,
    LoadApiKeys,
    PutApiKey,
    RevokeApiKey,
)
from compute_router.actors.messages.worker_registry import Deliver
from compute_router.actors.store_requests import handle
from compute_router.protocol.failures import Failure
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.messages import ErrorFrame, JobAck, JobComplete
from compute_router.protocol.receipts import SignedReceipt, public_key_hex, sha256_hex, sign_receipt
from compute_router.protocol.units import DurationMs, UnixMs
from compute_router.storage.interface import (
    ClaimRefusal,
    DayQuota,
    IdempotencyKey,
    JobView,
    Pairing,
    Replay,
    StoredReceipt,
)
from compute_router.storage.sqlite_store import SqliteStore, open_sqlite_store
from tests.actors.samples import NOON, OUTPUT, a_job, completion, key, signed_completion
from tests.fakes.clock import FakeClock
from tests.storage.samples import an_api_key

SIGNER = SigningKey(b"s" * 32)
PUBKEY = public_key_hex(SIGNER)
LEASE = DurationMs(20_000)


class Office:
    """A database, a clock, and somebody who carries requests out."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.clock = FakeClock()

    def do(self, *requests: Message) -> Any:
        """Carry requests out in one transaction; the answer to the last."""
        answer = None
        with self.store.transaction():
            for request in requests:
                answer = handle(self.store, self.clock, request)
        return answer

    def assigned(self, pubkey: str = PUBKEY) -> Office:
        self.do(InsertJob(a_job()), RecordAssigned("job", 1, pubkey, LEASE))
        return self

    def completed(self, frame: JobComplete | None = None) -> Office:
        self.assigned()
        answer = self.do(RecordCompletion(5, PUBKEY, 1, frame or completion("job")))
        assert answer.view is not None
        return self

    def view(self) -> JobView:
        view = self.store.job_view("job")
        assert view is not None
        return view


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    store = open_sqlite_store(tmp_path / "jobs.db")
    yield Office(store)
    store.close()


GOOD = sign_receipt(SIGNER, "job", OUTPUT, UnixMs(NOON))
HASH = sha256_hex(OUTPUT)


def test_a_request_that_the_store_does_not_know_is_a_mistake(office: Office) -> None:
    with pytest.raises(TypeError, match="IsLive"):
        office.do(IsLive("job"))


def test_a_public_job_is_kept_and_names_no_trusted_keys(office: Office) -> None:
    assert office.do(InsertJob(a_job())) == ()
    assert office.view().status is JobStatus.PENDING


KEY_ID = "alice0000000"
QUOTA = DayQuota(KEY_ID, 20_000, 1)


def test_a_job_within_the_quota_of_its_key_is_kept_and_counted(office: Office) -> None:
    office.do(PutApiKey(an_api_key(KEY_ID)))
    assert office.do(InsertJob(a_job(), quota=QUOTA)) == ()
    assert office.view().status is JobStatus.PENDING


def test_a_job_beyond_the_quota_is_not_kept_and_the_batch_goes_on(office: Office) -> None:
    office.do(PutApiKey(an_api_key(KEY_ID)))
    office.do(InsertJob(a_job("first"), quota=QUOTA))
    name = IdempotencyKey("name", "a" * 64)
    assert office.do(InsertJob(a_job(), name, QUOTA)) == QuotaUsedUp()
    assert office.store.job_view("job") is None
    assert office.store.find_replay("alice", name) is None


def test_a_repeated_commit_is_answered_before_the_quota_is_looked_at(office: Office) -> None:
    name = IdempotencyKey("name", "a" * 64)
    office.do(PutApiKey(an_api_key(KEY_ID)))
    office.do(InsertJob(a_job(), name, QUOTA))
    for _ in range(2):
        assert office.do(InsertJob(a_job("again"), name, QUOTA)) == Replay("job", same_request=True)
    tomorrow = DayQuota(KEY_ID, QUOTA.day + 1, 1)
    assert office.do(InsertJob(a_job("again"), name, tomorrow)) == Replay("job", same_request=True)
    # The repeat has used nothing of the new day.
    assert office.do(InsertJob(a_job("new"), quota=tomorrow)) == ()


def test_keys_are_loaded_with_what_became_of_them(office: Office) -> None:
    key = an_api_key(KEY_ID)
    office.do(PutApiKey(key))
    assert office.do(RevokeApiKey(KEY_ID, UnixMs(9))) is True
    assert office.do(RevokeApiKey(KEY_ID, UnixMs(10))) is False
    assert office.do(LoadApiKeys()) == (msgspec.structs.replace(key, revoked_at=UnixMs(9)),)


def test_a_private_job_is_kept_and_names_its_users_trusted_keys(office: Office) -> None:
    office.do(
        CreatePairing("alice", "CODE", UnixMs(NOON), UnixMs(NOON + 1)),
        ClaimPairing("CODE", PUBKEY, UnixMs(NOON)),
    )
    assert office.do(InsertJob(a_job(private=True))) == (PUBKEY,)


def test_an_assignment_hands_out_the_payload_and_keeps_the_lease(office: Office) -> None:
    job = a_job()
    office.clock.advance(7)
    answer = office.do(InsertJob(job), RecordAssigned("job", 1, PUBKEY, LEASE))
    assert answer == AssignmentRecorded("job", 1, job.payload, sha256_hex(job.payload))
    ((kept, trusted),) = office.do(LoadUnfinished()).jobs
    assert trusted == ()
    assert (kept.attempt, kept.worker_pubkey, kept.lease_deadline) == (1, PUBKEY, NOON + 7 + LEASE)


def test_an_assignment_that_somebody_else_was_first_with_hands_out_nothing(office: Office) -> None:
    office.assigned()
    assert office.do(RecordAssigned("job", 1, key("b"), LEASE)) == AssignmentRecorded("job", 1, None)


def test_a_start_makes_the_job_running_and_has_no_answer(office: Office) -> None:
    office.assigned()
    assert office.do(RecordStarted("job", 1)) is None
    assert office.view().status is JobStatus.RUNNING


@pytest.mark.parametrize(("keep", "tried"), [(True, (PUBKEY,)), (False, ())])
def test_a_requeue_gives_a_window_and_keeps_who_tried(
    office: Office, keep: bool, tried: tuple[str, ...]
) -> None:
    office.assigned()
    office.do(RecordRequeued("job", 1, Failure.WORKER_ERROR, DurationMs(30_000), keep, counts=True))
    ((kept, _),) = office.do(LoadUnfinished()).jobs
    assert kept.status is JobStatus.PENDING
    assert (kept.tried_pubkeys, kept.last_failure) == (tried, Failure.WORKER_ERROR)
    assert kept.queue_deadline == NOON + 30_000
    assert kept.failures == 1


def test_a_requeue_that_does_not_count_leaves_the_number_of_failures(office: Office) -> None:
    office.assigned()
    office.do(RecordRequeued("job", 1, Failure.WORKER_BUSY, DurationMs(5), keep_tried=True, counts=False))
    ((kept, _),) = office.do(LoadUnfinished()).jobs
    assert (kept.failures, kept.attempt, kept.last_failure) == (0, 1, Failure.WORKER_BUSY)
    assert kept.queue_deadline == NOON + 5


def test_a_result_with_a_good_receipt_is_kept_together_with_it(office: Office) -> None:
    office.assigned()
    office.clock.advance(5)
    answer = office.do(RecordCompletion(5, PUBKEY, 1, signed_completion(GOOD)))
    assert isinstance(answer, CompletionRecorded)
    assert (answer.worker_id, answer.job_id, answer.attempt, answer.reason) == (5, "job", 1, None)
    assert answer.view == office.view()
    assert answer.view == JobView(
        job_id="job",
        user_id="alice",
        status=JobStatus.COMPLETED,
        result=OUTPUT,
        created_at=UnixMs(NOON),
        completed_at=UnixMs(NOON + 5),
        receipt=StoredReceipt(
            provider_pubkey=PUBKEY,
            receipt_json=GOOD.receipt_json,
            signature=GOOD.signature,
            verified=True,
        ),
    )


def test_a_result_without_a_receipt_is_kept_when_it_has_its_hash(office: Office) -> None:
    office.completed()
    assert office.view().result == OUTPUT
    assert office.view().receipt is None


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (completion("job", output_hash="0" * 64), "output_hash_mismatch"),
        (signed_completion(SignedReceipt(GOOD.receipt_json, "AAAA")), "bad_signature"),
        (signed_completion(GOOD, output=b"5"), "output_hash_mismatch"),
        (
            signed_completion(sign_receipt(SigningKey(b"x" * 32), "job", OUTPUT, UnixMs(NOON))),
            "receipt_key_mismatch",
        ),
        (signed_completion(sign_receipt(SIGNER, "other", OUTPUT, UnixMs(NOON))), "receipt_job_mismatch"),
    ],
)
def test_a_result_that_is_not_proven_is_not_kept_and_the_answer_says_why(
    office: Office, frame: JobComplete, code: str
) -> None:
    office.assigned()
    answer = office.do(RecordCompletion(5, PUBKEY, 1, frame))
    assert answer.view is None
    assert answer.reason.startswith(f"{code}: ")
    assert office.view().status is JobStatus.ASSIGNED


def test_a_result_of_an_attempt_that_has_ended_is_not_kept_and_has_no_reason(office: Office) -> None:
    office.assigned()
    office.do(RecordRequeued("job", 1, Failure.LEASE_EXPIRED, LEASE, keep_tried=False, counts=True))
    answer = office.do(RecordCompletion(5, PUBKEY, 1, signed_completion(GOOD)))
    assert (answer.view, answer.reason) == (None, None)
    assert office.view().receipt is None


def test_a_failed_job_keeps_its_result_and_ends_once(office: Office) -> None:
    office.assigned()
    answer = office.do(RecordFailed("job", 1, b'{"error":"worker_error"}'))
    assert answer == JobEnded("job", office.view())
    assert office.view().status is JobStatus.FAILED
    assert office.do(RecordFailed("job", 1, b"{}")) == JobEnded("job", None)


# Results that come late


def test_a_late_result_for_an_unknown_job_is_an_error(office: Office) -> None:
    answer = office.do(ClassifyLate(5, PUBKEY, "nobody's", 1, HASH))
    assert answer == Deliver(5, ErrorFrame("UNKNOWN_JOB", "There is no job with this id."))


@pytest.mark.parametrize("attempt", [1, None])
def test_a_result_that_was_kept_before_is_accepted_again(office: Office, attempt: int | None) -> None:
    office.completed()
    answer = office.do(ClassifyLate(5, PUBKEY, "job", attempt, HASH))
    assert answer == Deliver(5, JobAck("job", "accepted", attempt=attempt))


@pytest.mark.parametrize(("pubkey", "attempt"), [(PUBKEY, 2), (key("b"), 1), (key("b"), None)])
def test_a_result_of_another_worker_or_attempt_is_stale(
    office: Office, pubkey: str, attempt: int | None
) -> None:
    office.completed()
    answer = office.do(ClassifyLate(5, pubkey, "job", attempt, HASH))
    assert answer == Deliver(5, JobAck("job", "stale", attempt=attempt))


@pytest.mark.parametrize("attempt", [1, None])
def test_another_output_of_the_attempt_that_was_kept_is_stale(office: Office, attempt: int | None) -> None:
    office.completed()
    answer = office.do(ClassifyLate(5, PUBKEY, "job", attempt, sha256_hex(b'"another"')))
    assert answer == Deliver(5, JobAck("job", "stale", attempt=attempt))


@pytest.mark.parametrize("attempt", [1, None])
def test_a_result_for_a_job_that_ended_otherwise_is_stale(office: Office, attempt: int | None) -> None:
    office.assigned()
    office.do(RecordFailed("job", 1, b"{}"))
    answer = office.do(ClassifyLate(5, PUBKEY, "job", attempt, HASH))
    assert answer == Deliver(5, JobAck("job", "stale", attempt=attempt))


# Receipts that come apart from their result


def test_a_receipt_that_comes_later_is_kept_as_verified(office: Office) -> None:
    office.completed()
    assert office.do(KeepReceipt(5, PUBKEY, GOOD.receipt_json, GOOD.signature)) is None
    receipt = office.view().receipt
    assert receipt is not None
    assert receipt.verified
    assert receipt.receipt_json == GOOD.receipt_json


@pytest.mark.parametrize(
    "signed",
    [
        SignedReceipt(GOOD.receipt_json, "stub"),
        SignedReceipt(GOOD.receipt_json, ""),
        sign_receipt(SIGNER, "job", b"another output", UnixMs(NOON)),
    ],
    ids=["stub signature", "no signature", "another output"],
)
def test_a_receipt_that_does_not_prove_the_result_is_kept_as_unverified(
    office: Office, signed: SignedReceipt
) -> None:
    office.completed()
    assert office.do(KeepReceipt(5, PUBKEY, signed.receipt_json, signed.signature)) is None
    receipt = office.view().receipt
    assert receipt is not None
    assert not receipt.verified


def test_a_worthless_receipt_does_not_push_a_good_one_out(office: Office) -> None:
    office.completed(signed_completion(GOOD))
    office.do(KeepReceipt(5, PUBKEY, GOOD.receipt_json, "stub"))
    receipt = office.view().receipt
    assert receipt is not None
    assert receipt.verified


@pytest.mark.parametrize("receipt", [b"{}", b"null", b"5", b'{"job_id":"\xff"}'])
def test_a_receipt_that_cannot_be_read_is_an_error(office: Office, receipt: bytes) -> None:
    answer = office.do(KeepReceipt(5, PUBKEY, receipt, "c2ln"))
    assert answer.frame.code == "RECEIPT_MALFORMED"


@pytest.mark.parametrize("status", ["unknown", "assigned", "failed"])
def test_a_receipt_for_a_job_that_is_not_completed_is_an_error(office: Office, status: str) -> None:
    if status != "unknown":
        office.assigned()
    if status == "failed":
        office.do(RecordFailed("job", 1, b"{}"))
    answer = office.do(KeepReceipt(5, PUBKEY, GOOD.receipt_json, GOOD.signature))
    assert answer.frame.code == "UNKNOWN_JOB"


def test_a_receipt_about_another_workers_job_is_an_error(office: Office) -> None:
    office.completed()
    other = SigningKey(b"x" * 32)
    forged = sign_receipt(other, "job", OUTPUT, UnixMs(NOON))
    for sender in (PUBKEY, public_key_hex(other)):
        answer = office.do(KeepReceipt(5, sender, forged.receipt_json, forged.signature))
        assert answer.frame.code == "RECEIPT_MISMATCH"
    assert office.view().receipt is None


# Reading


def test_a_job_can_be_read_and_an_unknown_one_is_nothing(office: Office) -> None:
    office.do(InsertJob(a_job()))
    assert office.do(GetJob("job")) == office.view()
    assert office.do(GetJob("other")) is None


def test_unfinished_jobs_come_with_their_users_trusted_keys(office: Office) -> None:
    office.do(
        CreatePairing("alice", "CODE", UnixMs(NOON), UnixMs(NOON + 1)),
        ClaimPairing("CODE", PUBKEY, UnixMs(NOON)),
        InsertJob(a_job("open")),
        InsertJob(a_job("secret", private=True)),
        InsertJob(a_job("done")),
        RecordFailed("done", 0, b"{}"),
    )
    found = office.do(LoadUnfinished()).jobs
    assert [(job.job_id, trusted) for job, trusted in found] == [("open", ()), ("secret", (PUBKEY,))]


def test_a_restart_hears_when_the_last_run_was_alive(office: Office) -> None:
    office.clock.advance(60_000)
    assert office.do(LoadUnfinished()).alive_until == NOON + 60_000, "a first start: now"
    office.do(NoteAlive())
    office.clock.advance(3_600_000)
    assert office.do(LoadUnfinished()).alive_until == NOON + 60_000


@pytest.mark.parametrize("assigned", [True, False])
def test_a_cancel_ends_an_unfinished_job_at_whatever_attempt(office: Office, assigned: bool) -> None:
    office.do(InsertJob(a_job()))
    if assigned:
        office.do(RecordAssigned("job", 1, PUBKEY, LEASE))
    answer = office.do(RecordCancelled("job"))
    assert answer == JobEnded("job", office.view())
    assert answer.view.status is JobStatus.CANCELLED
    assert msgspec.json.decode(answer.view.result)["error"] == "cancelled"


@pytest.mark.parametrize("pubkey", [PUBKEY, key("b")])
def test_a_completion_after_a_cancel_is_not_kept_and_stale(office: Office, pubkey: str) -> None:
    office.assigned()
    cancelled = office.do(RecordCancelled("job")).view
    answer = office.do(RecordCompletion(5, PUBKEY, 1, signed_completion(GOOD)))
    assert (answer.view, answer.reason) == (None, None)
    assert office.view() == cancelled
    late = office.do(ClassifyLate(5, pubkey, "job", 1, HASH))
    assert late == Deliver(5, JobAck("job", "stale", attempt=1))


def test_a_cancel_after_a_completion_changes_nothing(office: Office) -> None:
    office.completed(signed_completion(GOOD))
    before = office.view()
    assert office.do(RecordCancelled("job")) == JobEnded("job", None)
    assert office.view() == before


def test_the_same_commit_again_is_answered_with_the_job_that_is_there(office: Office) -> None:
    same, other = IdempotencyKey("k", "1" * 64), IdempotencyKey("k", "2" * 64)
    assert office.do(FindReplay("alice", same)) is None
    assert office.do(InsertJob(a_job(), same)) == ()
    assert office.do(InsertJob(a_job("again"), same)) == Replay("job", same_request=True)
    assert office.do(InsertJob(a_job("again"), other)) == Replay("job", same_request=False)
    assert office.do(FindReplay("alice", same)) == Replay("job", same_request=True)
    assert office.store.job_view("again") is None


def test_what_is_too_old_is_deleted_as_much_as_asked_for(office: Office) -> None:
    for number in range(3):
        office.do(InsertJob(a_job(str(number)), IdempotencyKey(str(number), "1" * 64)))
        office.do(RecordFailed(str(number), 0, b"{}"))
    jobs, keys = DeleteFinished(UnixMs(NOON + 1), 2), ForgetKeys(UnixMs(NOON + 1), 1)
    assert office.do(keys) == Deleted(keys, 1)
    assert office.do(jobs) == Deleted(jobs, 2)
    assert office.do(jobs) == Deleted(jobs, 1)
    assert office.do(jobs) == Deleted(jobs, 0)


def test_pairing_goes_through_to_the_database(office: Office) -> None:
    office.do(CreatePairing("alice", "CODE", UnixMs(NOON), UnixMs(NOON + 10)))
    assert office.do(ClaimPairing("WRONG", PUBKEY, UnixMs(NOON))) is ClaimRefusal.INVALID_CODE
    pairing = office.do(ClaimPairing("CODE", PUBKEY, UnixMs(NOON + 1)))
    assert pairing == Pairing(user_id="alice", provider_pubkey=PUBKEY, paired_at=UnixMs(NOON + 1))
    assert office.do(ListPairings("alice")) == (pairing,)
