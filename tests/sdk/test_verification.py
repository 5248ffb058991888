from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from compute_router.protocol.errors import (
    BadSignatureError,
    OutputHashMismatchError,
    ReceiptError,
    ReceiptJobMismatchError,
    ReceiptMalformedError,
)
from compute_router.protocol.receipts import WorkDone, attach_proof, sha256_hex, sign_receipt
from compute_router.protocol.units import UnixMs
from compute_router.sdk import ReceiptMissingError, UnexpectedAnswerError
from compute_router.sdk.checks import Check, Verdict
from compute_router.sdk.proof_checks import Asked, judge
from compute_router.sdk.proof_documents import document_of
from compute_router.sdk.snapshots import JobSnapshot, read_snapshot
from tests.fakes.http_coordinator import (
    JOB_ID,
    WORKER_KEY,
    WORKER_PUBKEY,
    FakeCoordinator,
    completed,
    job_answer,
    signed_receipt,
)
from tests.sdk.clients import blocking

OUTPUT = b'{"text":"hello","model":"m"}'
# Valid JSON that Python's encoder would not write this way.
ODD_OUTPUTS = [
    b'{"text":"caf\\u00e9","model":"m"}',
    b'{"x":1.0e5}',
    b'{"x":1E400}',
    b'{"x":100000.0, "y" : [ ]}',
    b'{"x":-0.0,"x":0.1000}',
    b'"\\/"',
    '{"text":"日本"}'.encode(),
]


def snapshot(result: bytes, receipt: bytes) -> JobSnapshot:
    return read_snapshot(job_answer("completed", result, receipt)[1], JOB_ID)


def checks_of(of: JobSnapshot) -> tuple[Check, ...]:
    return judge(document_of(of.answer), Asked()).checks


def error_of(result: bytes, receipt: bytes) -> ReceiptError:
    verification = snapshot(result, receipt).verify()
    assert not verification.verified
    assert verification.error is not None
    return verification.error


@pytest.mark.parametrize("output", ODD_OUTPUTS)
def test_outputs_are_checked_as_the_bytes_that_came_whatever_another_encoder_would_write(
    output: bytes,
) -> None:
    verification = snapshot(output, signed_receipt(output)).verify()
    assert verification.verified
    assert verification.receipt is not None
    assert verification.receipt.provider_pubkey == WORKER_PUBKEY


@pytest.mark.parametrize("output", [b'{"x":1.0e5}', b'{"text":"caf\\u00e9"}'])
def test_the_same_value_in_other_bytes_is_another_output(output: bytes) -> None:
    other = msgspec.json.encode(msgspec.json.decode(output))
    assert isinstance(error_of(other, signed_receipt(output)), OutputHashMismatchError)


def test_a_coordinator_that_lies_about_a_tampered_result_is_not_believed() -> None:
    receipt = signed_receipt(OUTPUT, claimed=True)
    assert isinstance(error_of(b'{"text":"evil","model":"m"}', receipt), OutputHashMismatchError)


def test_a_coordinator_that_doubts_a_good_receipt_is_not_believed_either() -> None:
    assert snapshot(OUTPUT, signed_receipt(OUTPUT, claimed=False)).verify().verified


def test_a_receipt_of_another_job_proves_nothing() -> None:
    assert isinstance(error_of(OUTPUT, signed_receipt(OUTPUT, "another-job")), ReceiptJobMismatchError)


def test_a_receipt_that_names_another_key_than_its_signer_proves_nothing() -> None:
    stranger = SigningKey(b"\x07" * 32).verify_key.encode().hex().encode()
    receipt = signed_receipt(OUTPUT).replace(WORKER_PUBKEY.encode(), stranger)
    assert isinstance(error_of(OUTPUT, receipt), BadSignatureError)


def test_a_result_without_receipt_is_not_verified() -> None:
    verification = snapshot(OUTPUT, b"null").verify()
    assert verification.receipt is None
    assert isinstance(verification.error, ReceiptMissingError)


@pytest.mark.parametrize(
    "receipt",
    [
        b"5",
        b"{}",
        b'"x"',
        b'{"signature":"x","verified":true}',
        b'{"verified":true}',
        b"[]",
        b"true",
        b"\xff",
    ],
)
def test_a_receipt_of_another_form_is_not_verified(receipt: bytes) -> None:
    assert isinstance(error_of(OUTPUT, b'"\xff"' if receipt == b"\xff" else receipt), ReceiptMalformedError)


@given(st.data())
def test_no_single_changed_byte_in_result_or_receipt_goes_unnoticed(data: st.DataObject) -> None:
    answer = bytearray(completed(OUTPUT)[1])
    start = answer.index(b'"result":') + len(b'"result":')
    end = answer.index(b',"verified":')
    position = data.draw(st.integers(start, end - 1))
    answer[position] ^= data.draw(st.integers(1, 255))
    try:
        changed = read_snapshot(bytes(answer), JOB_ID)
    except UnexpectedAnswerError:
        return
    assert not changed.verify().verified


def test_the_client_reports_its_own_verdict_and_the_reason() -> None:
    lie = job_answer("completed", b'{"text":"evil","model":"m"}', signed_receipt(OUTPUT))
    with blocking(FakeCoordinator([lie])) as router:
        result = router.run_llm("hello")
    assert not result.verified
    assert result.verification_error == "The output does not have the hash that the receipt states."
    assert result.receipt is not None
    assert result.worker_pubkey is None


def test_a_client_that_requires_verified_results_gets_an_exception_instead() -> None:
    lie = job_answer("completed", b'{"text":"evil","model":"m"}', signed_receipt(OUTPUT))
    with (
        blocking(FakeCoordinator([lie]), require_verified=True) as router,
        pytest.raises(OutputHashMismatchError),
    ):
        router.run_llm("hello")


def test_a_client_that_requires_verified_results_takes_none_without_receipt() -> None:
    bare = job_answer("completed", OUTPUT)
    with (
        blocking(FakeCoordinator([bare]), require_verified=True) as router,
        pytest.raises(ReceiptMissingError),
    ):
        router.run_llm("hello")


def long_receipt(request: bytes) -> bytes:
    work = WorkDone(sha256_hex(request), None, None, 1)
    signed = sign_receipt(WORKER_KEY, JOB_ID, OUTPUT, UnixMs(1_770_638_405_000), work)
    return attach_proof(signed.receipt_json, signed.signature, verified=True)


def test_a_result_for_another_request_than_the_one_that_was_sent_is_not_verified() -> None:
    coordinator = FakeCoordinator([job_answer("completed", OUTPUT, long_receipt(b'{"prompt":"another"}'))])
    with blocking(coordinator) as router:
        result = router.run_llm("hello")
    assert not result.verified
    assert result.verification_error == "The request does not have the hash that the receipt states."


@pytest.mark.parametrize("prompt", ["hello", "café 日本 \u2028 🚀", '"\\'])
def test_a_receipt_for_the_very_bytes_that_were_sent_is_verified(prompt: str) -> None:
    coordinator = FakeCoordinator([job_answer("completed", OUTPUT, long_receipt(_payload(prompt)))])
    with blocking(coordinator) as router:
        assert router.run_llm(prompt).verified
    assert b'"payload":' + _payload(prompt) in coordinator.taken[0].body


def _payload(prompt: str) -> bytes:
    return msgspec.json.encode({"prompt": prompt})


def test_checks_after_a_failed_one_are_not_claimed() -> None:
    checks = checks_of(snapshot(b'{"x":1}', signed_receipt(OUTPUT)))
    assert {check.name: check.verdict for check in checks} == {
        "receipt": Verdict.PASSED,
        "form": Verdict.PASSED,
        "job": Verdict.PASSED,
        "hash": Verdict.FAILED,
        "signature": Verdict.NOT_MADE,
    }


def test_all_checks_of_a_good_receipt_pass() -> None:
    checks = checks_of(snapshot(OUTPUT, signed_receipt(OUTPUT)))
    assert {check.verdict for check in checks} == {Verdict.PASSED}
