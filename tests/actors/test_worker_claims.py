"""What a completion claims, judged by its form."""

from __future__ import annotations

import msgspec
import pytest
from nacl.signing import SigningKey

from compute_router.actors.worker_claims import Misnamed, Plausible, WorkerReportedError, read_completion
from compute_router.protocol.messages import JobComplete
from compute_router.protocol.receipts import decode_receipt, public_key_hex, sha256_hex, sign_receipt
from compute_router.protocol.units import UnixMs
from tests.actors.samples import NOON, OUTPUT, completion, key

SIGNER = SigningKey(b"s" * 32)
PUBKEY = public_key_hex(SIGNER)


def with_receipt(
    *, job_id: str = "job", about: str = "job", receipt: bytes | None = None, signature: str | None = "c2ln"
) -> JobComplete:
    signed = sign_receipt(SIGNER, about, OUTPUT, UnixMs(NOON))
    return JobComplete(
        job_id=job_id,
        output=msgspec.Raw(OUTPUT),
        output_hash=sha256_hex(OUTPUT),
        receipt=msgspec.Raw(signed.receipt_json if receipt is None else receipt),
        receipt_signature=signature,
    )


@pytest.mark.parametrize("proven", [True, False])
def test_a_result_with_or_without_a_receipt_may_be_true(proven: bool) -> None:
    for frame in (completion("job"), with_receipt()):
        assert isinstance(read_completion(frame, PUBKEY, proven=proven), Plausible)


def test_a_receipt_that_had_to_be_read_is_handed_on() -> None:
    frame = with_receipt()
    assert frame.receipt is not None
    assert read_completion(frame, PUBKEY, proven=False) == Plausible(decode_receipt(bytes(frame.receipt)))
    assert read_completion(frame, PUBKEY, proven=True) == Plausible(None)


@pytest.mark.parametrize(
    ("frame", "pubkey"),
    [
        (with_receipt(about="other"), PUBKEY),
        (with_receipt(), key("a")),
        (with_receipt(signature=None), PUBKEY),
        (with_receipt(receipt=b"{}"), PUBKEY),
        (with_receipt(receipt=b"5"), PUBKEY),
        (with_receipt(receipt=b'{"job_id":"\xff"}'), PUBKEY),
    ],
    ids=["another job", "another key", "no signature", "empty", "a number", "not UTF-8"],
)
def test_a_receipt_about_something_else_or_about_nothing_changes_nothing_unless_the_key_is_proven(
    frame: JobComplete, pubkey: str
) -> None:
    assert isinstance(read_completion(frame, pubkey, proven=False), Misnamed)
    # The store refuses it, ends the attempt and keeps it as evidence.
    assert read_completion(frame, pubkey, proven=True) == Plausible()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (b'{"error":"model not found"}', "model not found"),
        (b' {\n "error" : "spaced" } ', "spaced"),
        (b'{"error":{"code":5}}', '{"code":5}'),
        (b'{"error":null}', "null"),
        (b'{"error":"\xff"}', "\ufffd"),
        (b'{"error":["\xff"]}', "\ufffd"),
    ],
)
def test_an_output_of_the_single_key_error_is_an_error_from_a_worker_that_is_not_ours(
    output: bytes, message: str
) -> None:
    claim = read_completion(completion("job", output=output), PUBKEY, proven=False)
    assert isinstance(claim, WorkerReportedError)
    assert message in claim.message


@pytest.mark.parametrize(
    "output",
    [
        b'{"error":"none","text":"fine"}',
        b'{"text":"fine","error":"none"}',
        b'{"errors":"none"}',
        b'"error"',
        b'["error"]',
        b"null",
        b"{}",
        b'{"error":1,"\xff":2}',
    ],
)
def test_any_other_output_is_a_result(output: bytes) -> None:
    assert read_completion(completion("job", output=output), PUBKEY, proven=False) == Plausible()


def test_our_own_workers_may_have_an_output_of_the_single_key_error() -> None:
    frame = completion("job", output=b'{"error":"what the document says"}')
    assert read_completion(frame, PUBKEY, proven=True) == Plausible()
