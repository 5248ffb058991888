"""Proofs of completions: which are wrong, what is kept against the worker, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from nacl.signing import SigningKey

from compute_router.actors.messages.job_store import (
    CompletionRecorded,
    DeleteFinished,
    GetReceipt,
    InsertJob,
    KeepReceipt,
    RecordAssigned,
    RecordCompletion,
    RecordFailed,
)
from compute_router.actors.proofs import MAX_EVIDENCE_PER_WORKER
from compute_router.actors.store_requests import EVIDENCE_LIFETIME, handle
from compute_router.protocol.job_state import JobStatus
from compute_router.protocol.messages import JobComplete
from compute_router.protocol.receipts import (
    MAX_RECEIPT_BYTES,
    SignedReceipt,
    WorkDone,
    public_key_hex,
    sha256_hex,
    sign_base64,
    sign_receipt,
)
from compute_router.protocol.units import DurationMs, UnixMs
from compute_router.storage.interface import Evidence, StoredReceipt
from compute_router.storage.sqlite_store import SqliteStore, open_sqlite_store
from tests.actors.samples import NOON, OUTPUT, a_job, completion, signed_completion
from tests.fakes.clock import FakeClock

SIGNER, OTHER = SigningKey(b"s" * 32), SigningKey(b"x" * 32)
PUBKEY = public_key_hex(SIGNER)
REQUEST_HASH = sha256_hex(a_job().payload)
WORK = WorkDone(REQUEST_HASH, None, None, 1)
GOOD = sign_receipt(SIGNER, "job", OUTPUT, NOON, WORK)


class Office:
    """A database with one job that was given to one worker, and whoever carries requests out."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.clock = FakeClock()
        with store.transaction():
            handle(store, self.clock, InsertJob(a_job()))
            handle(store, self.clock, RecordAssigned("job", 1, PUBKEY, DurationMs(20_000)))

    def complete(
        self,
        frame: JobComplete,
        *,
        proven: bool = True,
        request_hash: str | None = REQUEST_HASH,
        receipt_required: bool = False,
    ) -> CompletionRecorded:
        request = RecordCompletion(
            5,
            PUBKEY,
            1,
            frame,
            proven=proven,
            request_hash=request_hash,
            receipt_required=receipt_required,
        )
        with self.store.transaction():
            answer = handle(self.store, self.clock, request)
        assert isinstance(answer, CompletionRecorded)
        return answer

    def refusal(self, frame: JobComplete, **circumstances: object) -> str:
        """The code that a completion is refused with; nothing of it may have been kept."""
        answer = self.complete(frame, **circumstances)  # type: ignore[arg-type]
        assert answer.view is None
        assert answer.reason is not None
        view = self.store.job_view("job")
        assert view is not None
        assert (view.status, view.result, view.receipt) == (JobStatus.ASSIGNED, None, None)
        return answer.reason.partition(":")[0]

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        return self.store.evidence(PUBKEY)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    store = open_sqlite_store(tmp_path / "jobs.db")
    yield Office(store)
    store.close()


def signed_by(key: SigningKey, text: bytes) -> SignedReceipt:
    return SignedReceipt(text, sign_base64(key, text))


def reordered(receipt: bytes) -> bytes:
    fields = msgspec.json.decode(receipt)
    return msgspec.json.encode(dict(reversed(fields.items())))


WRONG = {
    "another signer": (signed_completion(signed_by(OTHER, GOOD.receipt_json)), "bad_signature"),
    "no signature": (
        msgspec.structs.replace(signed_completion(GOOD), receipt_signature=None),
        "receipt_malformed",
    ),
    "reordered after signing": (
        signed_completion(SignedReceipt(reordered(GOOD.receipt_json), GOOD.signature)),
        "bad_signature",
    ),
    "encoded again after signing": (
        signed_completion(SignedReceipt(msgspec.json.format(GOOD.receipt_json, indent=1), GOOD.signature)),
        "bad_signature",
    ),
    "another output": (
        signed_completion(GOOD, b'{"summary":"swapped","word_count":1}'),
        "output_hash_mismatch",
    ),
    "the output encoded again": (
        signed_completion(GOOD, msgspec.json.format(OUTPUT)),
        "output_hash_mismatch",
    ),
    "a false hash beside the receipt": (
        msgspec.structs.replace(signed_completion(GOOD), output_hash="0" * 64),
        "output_hash_mismatch",
    ),
    "a false hash without a receipt": (completion("job", output_hash="0" * 64), "output_hash_mismatch"),
    "another job": (
        signed_completion(sign_receipt(SIGNER, "other", OUTPUT, NOON, WORK)),
        "receipt_job_mismatch",
    ),
    "another key": (
        signed_completion(sign_receipt(OTHER, "job", OUTPUT, NOON, WORK)),
        "receipt_key_mismatch",
    ),
    "another attempt": (
        signed_completion(sign_receipt(SIGNER, "job", OUTPUT, NOON, WorkDone(REQUEST_HASH, None, None, 2))),
        "receipt_attempt_mismatch",
    ),
    "another request": (
        signed_completion(sign_receipt(SIGNER, "job", OUTPUT, NOON, WorkDone("0" * 64, None, None, 1))),
        "request_hash_mismatch",
    ),
    "no receipt at all": (signed_completion(signed_by(SIGNER, b'{"job_id":"job"}')), "receipt_malformed"),
    "a key that is there twice": (
        signed_completion(signed_by(SIGNER, b'{"attempt":9,' + GOOD.receipt_json[1:])),
        "receipt_malformed",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_proof_of_a_proven_worker_is_refused_and_kept_as_evidence(office: Office, name: str) -> None:
    frame, code = WRONG[name]
    office.clock.advance(7)
    assert office.refusal(frame) == code
    assert office.evidence == (
        Evidence(
            job_id="job",
            attempt=1,
            worker_pubkey=PUBKEY,
            reason=code,
            output_hash=sha256_hex(bytes(frame.output)),
            receipt_json=None if frame.receipt is None else bytes(frame.receipt),
            signature=frame.receipt_signature,
            created_at=UnixMs(NOON + 7),
        ),
    )


def test_what_an_unproven_worker_sends_counts_against_the_key_only_if_the_key_signed_it(
    office: Office,
) -> None:
    assert office.refusal(WRONG["another signer"][0], proven=False) == "bad_signature"
    assert office.refusal(WRONG["a false hash without a receipt"][0], proven=False) == "output_hash_mismatch"
    assert list(office.evidence) == [], "or anybody could have evidence kept against somebody else"
    assert office.refusal(WRONG["another output"][0], proven=False) == "output_hash_mismatch"
    assert [piece.reason for piece in office.evidence] == ["output_hash_mismatch"]


@pytest.mark.parametrize("proven", [True, False])
def test_a_receipt_of_either_form_proves_the_result(office: Office, proven: bool) -> None:
    signed = GOOD if proven else sign_receipt(SIGNER, "job", OUTPUT, NOON)
    answer = office.complete(signed_completion(signed), proven=proven)
    assert answer.view is not None
    assert answer.view.receipt == StoredReceipt(
        provider_pubkey=PUBKEY, receipt_json=signed.receipt_json, signature=signed.signature, verified=True
    )
    assert office.evidence == ()


@pytest.mark.parametrize("output", [b'{"x":1.0e5}', b'{"t":"caf\\u00e9"}', '{"t":"日本"}'.encode(), b"-0.0"])
def test_outputs_that_encoders_rewrite_are_proven_as_the_bytes_that_came(
    office: Office, output: bytes
) -> None:
    answer = office.complete(signed_completion(sign_receipt(SIGNER, "job", output, NOON, WORK), output))
    assert answer.view is not None
    assert answer.view.result == output


def test_after_a_restart_the_payload_is_read_again_to_check_the_request(office: Office) -> None:
    wrong, code = WRONG["another request"]
    assert office.refusal(wrong, request_hash=None) == code
    assert office.complete(signed_completion(GOOD), request_hash=None).view is not None


def test_a_result_without_a_receipt_is_taken_unless_receipts_are_required(office: Office) -> None:
    assert office.refusal(completion("job"), receipt_required=True) == "receipt_missing"
    assert office.evidence == (), "a missing receipt is no lie"
    assert office.complete(completion("job")).view is not None


def test_a_receipt_that_is_far_too_long_is_refused_and_not_kept(office: Office) -> None:
    padded = GOOD.receipt_json[:-1] + b',"note":"%s"}' % (b"x" * MAX_RECEIPT_BYTES)
    assert office.refusal(signed_completion(signed_by(SIGNER, padded))) == "receipt_malformed"
    assert [piece.receipt_json for piece in office.evidence] == [None]


def test_evidence_against_one_worker_is_bounded(office: Office) -> None:
    frame, _ = WRONG["another output"]
    for _ in range(MAX_EVIDENCE_PER_WORKER + 3):
        office.complete(frame)
    assert len(office.evidence) == MAX_EVIDENCE_PER_WORKER


def test_evidence_is_kept_as_long_as_jobs_and_for_a_month_at_least(office: Office) -> None:
    office.complete(WRONG["another output"][0])

    def left_after(days: int, keep_days: int | None) -> int:
        office.clock.advance(days * 86_400_000)
        now = office.clock.unix_ms()
        before = UnixMs(0 if keep_days is None else now - keep_days * 86_400_000)
        with office.store.transaction():
            handle(office.store, office.clock, DeleteFinished(before, 10))
        return len(office.evidence)

    assert EVIDENCE_LIFETIME == 30 * 86_400_000
    assert left_after(29, keep_days=1) == 1
    assert left_after(29, keep_days=90) == 1
    assert left_after(1000, keep_days=None) == 1
    assert left_after(0, keep_days=1) == 0


@pytest.mark.parametrize(
    "work",
    [WorkDone("0" * 64, None, None, 1), WorkDone(REQUEST_HASH, None, None, 2)],
    ids=["request", "attempt"],
)
def test_a_late_receipt_about_another_request_or_attempt_is_not_verified(
    office: Office, work: WorkDone
) -> None:
    office.complete(completion("job"))
    for signed, verified in ((sign_receipt(SIGNER, "job", OUTPUT, NOON, work), False), (GOOD, True)):
        with office.store.transaction():
            handle(office.store, office.clock, KeepReceipt(5, PUBKEY, signed.receipt_json, signed.signature))
        view = office.store.job_view("job")
        assert view is not None
        assert view.receipt is not None
        assert view.receipt.verified is verified


def test_what_a_statement_is_made_of_is_there_when_the_job_is_completed(office: Office) -> None:
    assert handle(office.store, office.clock, GetReceipt("nobody's")) is None
    facts = handle(office.store, office.clock, GetReceipt("job"))
    assert (facts.view.status, facts.output_hash, facts.worker_pubkey) == (JobStatus.ASSIGNED, None, None)
    office.complete(signed_completion(GOOD))
    facts = handle(office.store, office.clock, GetReceipt("job"))
    assert (facts.output_hash, facts.worker_pubkey) == (sha256_hex(OUTPUT), PUBKEY)


def test_a_job_that_failed_has_nothing_to_state(office: Office) -> None:
    with office.store.transaction():
        handle(office.store, office.clock, RecordFailed("job", 1, b"{}"))
    assert handle(office.store, office.clock, GetReceipt("job")).output_hash is None
