from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from compute_router.protocol.errors import (
    BadSignatureError,
    OutputHashMismatchError,
    ReceiptAttemptMismatchError,
    ReceiptError,
    ReceiptJobMismatchError,
    ReceiptKeyMismatchError,
    ReceiptMalformedError,
    RequestHashMismatchError,
)
from compute_router.protocol.receipts import (
    MAX_RECEIPT_BYTES,
    SignedReceipt,
    WorkDone,
    attach_proof,
    decode_receipt,
    detach_proof,
    public_key_hex,
    sha256_hex,
    sign_base64,
    sign_receipt,
    verify_receipt,
    verify_signature,
)
from compute_router.protocol.units import UnixMs
from tests.protocol.strategies import TEXT, json_values

KEY = SigningKey(bytes(range(32)))
OTHER_KEY = SigningKey(bytes(32))
NOON = UnixMs(1_770_638_405_000)
FIVE_KEYS = {
    "job_id": "job-1",
    "provider_pubkey": public_key_hex(KEY),
    "output_hash": sha256_hex(b"{}"),
    "completed_at": "2026-02-09T12:00:05.000Z",
    "payment_ref": None,
}

outputs = json_values.map(msgspec.json.encode)
later_keys = st.dictionaries(TEXT.filter(lambda name: name not in FIVE_KEYS), json_values, max_size=4)


def with_each_bit_flipped(data: bytes) -> Iterator[bytes]:
    for at, byte in enumerate(data):
        for shift in range(8):
            yield data[:at] + bytes([byte ^ 1 << shift]) + data[at + 1 :]


def sign(receipt: dict[str, Any], *, indent: int | None = None) -> SignedReceipt:
    text = json.dumps(receipt, indent=indent).encode()
    return SignedReceipt(text, sign_base64(KEY, text))


def test_a_receipt_is_five_keys_in_their_order_without_spaces() -> None:
    signed = sign_receipt(KEY, "job-1", b"{}", NOON)
    assert signed.receipt_json == json.dumps(FIVE_KEYS, separators=(",", ":")).encode()


@given(st.binary(min_size=32, max_size=32).map(SigningKey), TEXT, outputs, st.integers(0, 10**13))
def test_what_was_signed_verifies_for_any_key_job_output_and_time(
    key: SigningKey, job_id: str, output: bytes, at: int
) -> None:
    signed = sign_receipt(key, job_id, output, UnixMs(at))
    receipt = verify_receipt(signed, job_id=job_id, output_json=output, provider_pubkey=public_key_hex(key))
    assert receipt == decode_receipt(signed.receipt_json)


@given(outputs, st.data())
def test_an_output_with_any_bit_flipped_is_refused(output: bytes, data: st.DataObject) -> None:
    signed = sign_receipt(KEY, "job-1", output, NOON)
    forged = data.draw(st.sampled_from(list(with_each_bit_flipped(output))))
    with pytest.raises(OutputHashMismatchError):
        verify_receipt(signed, job_id="job-1", output_json=forged)


def test_a_receipt_with_any_bit_flipped_is_refused() -> None:
    signed = sign_receipt(KEY, "job-1", b"{}", NOON)
    for forged in with_each_bit_flipped(signed.receipt_json):
        with pytest.raises(ReceiptError):
            verify_receipt(SignedReceipt(forged, signed.signature), job_id="job-1", output_json=b"{}")


def test_a_signature_with_any_bit_flipped_is_refused() -> None:
    signature = base64.b64decode(sign_base64(KEY, b"message"))
    for forged in with_each_bit_flipped(signature):
        with pytest.raises(BadSignatureError):
            verify_signature(public_key_hex(KEY), b"message", base64.b64encode(forged).decode())


def test_the_text_of_a_signature_with_any_bit_flipped_is_refused() -> None:
    signature = sign_base64(KEY, b"message").encode()
    for forged in with_each_bit_flipped(signature):
        with pytest.raises(BadSignatureError):
            verify_signature(public_key_hex(KEY), b"message", forged.decode("latin-1"))


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "stub",
        "stub-signature",
        "AAAA",
        base64.b64encode(bytes(64)).decode(),
        base64.b64encode(bytes(63)).decode(),
        base64.b64encode(bytes(65)).decode(),
        "é" * 88,
        sign_base64(KEY, b"message") + "\n",
        sign_base64(KEY, b"message").rstrip("="),
        base64.b64decode(sign_base64(KEY, b"message")).hex(),
        sign_base64(OTHER_KEY, b"message"),
        sign_base64(KEY, b"message "),
    ],
)
def test_a_signature_of_another_form_key_or_message_is_refused(signature: str) -> None:
    with pytest.raises(BadSignatureError):
        verify_signature(public_key_hex(KEY), b"message", signature)


@pytest.mark.parametrize("pubkey", ["", "00", "zz" * 32, "00" * 32, "ff" * 32, "é"])
def test_a_signature_by_what_is_no_key_is_refused(pubkey: str) -> None:
    with pytest.raises(BadSignatureError):
        verify_signature(pubkey, b"message", sign_base64(KEY, b"message"))


@pytest.mark.parametrize(
    ("arrived", "encoded_again"),
    [
        (b'{"confidence":1.0e0}', b'{"confidence":1.0}'),
        (b'{"confidence":1.0}', b'{"confidence":1}'),
        (b'{"text":"\\u00e9"}', '{"text":"é"}'.encode()),
        (b'{"text":"a\\/b"}', b'{"text":"a/b"}'),
        (b'{"a": 1}', b'{"a":1}'),
        (b'{"b":1,"a":2}', b'{"a":2,"b":1}'),
    ],
)
def test_an_output_that_was_encoded_again_no_longer_has_its_hash(
    arrived: bytes, encoded_again: bytes
) -> None:
    assert json.loads(arrived) == json.loads(encoded_again)
    signed = sign_receipt(KEY, "job-1", arrived, NOON)
    verify_receipt(signed, job_id="job-1", output_json=arrived)
    with pytest.raises(OutputHashMismatchError):
        verify_receipt(signed, job_id="job-1", output_json=encoded_again)


def test_a_receipt_for_another_job_is_refused() -> None:
    signed = sign_receipt(KEY, "job-1", b"{}", NOON)
    with pytest.raises(ReceiptJobMismatchError):
        verify_receipt(signed, job_id="job-2", output_json=b"{}")


def test_a_receipt_of_another_worker_is_refused() -> None:
    signed = sign_receipt(OTHER_KEY, "job-1", b"{}", NOON)
    with pytest.raises(ReceiptKeyMismatchError):
        verify_receipt(signed, job_id="job-1", output_json=b"{}", provider_pubkey=public_key_hex(KEY))


def test_a_receipt_that_names_a_key_other_than_its_signers_is_refused() -> None:
    receipt = sign_receipt(KEY, "job-1", b"{}", NOON).receipt_json
    with pytest.raises(BadSignatureError):
        verify_receipt(
            SignedReceipt(receipt, sign_base64(OTHER_KEY, receipt)), job_id="job-1", output_json=b"{}"
        )


@given(later_keys)
def test_keys_after_the_five_are_allowed_and_signed(extra: dict[str, Any]) -> None:
    verify_receipt(sign(FIVE_KEYS | extra), job_id="job-1", output_json=b"{}")


def test_a_receipt_with_spaces_verifies_over_its_own_bytes() -> None:
    verify_receipt(sign(FIVE_KEYS, indent=2), job_id="job-1", output_json=b"{}")


@pytest.mark.parametrize("name", FIVE_KEYS)
def test_a_receipt_without_one_of_the_five_keys_is_malformed(name: str) -> None:
    rest = {key: value for key, value in FIVE_KEYS.items() if key != name}
    with pytest.raises(ReceiptMalformedError):
        verify_receipt(sign(rest), job_id="job-1", output_json=b"{}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("job_id", 5),
        ("job_id", None),
        ("provider_pubkey", public_key_hex(KEY).upper()),
        ("provider_pubkey", public_key_hex(KEY)[:-1]),
        ("output_hash", "sha256:" + sha256_hex(b"{}")),
        ("output_hash", sha256_hex(b"{}").upper()),
        ("output_hash", sha256_hex(b"{}") + "\n"),
        ("completed_at", "2026-02-09T12:00:05Z"),
        ("completed_at", "2026-02-09T12:00:05.000+00:00"),
        ("completed_at", 1_770_638_405_000),
        ("payment_ref", 5),
    ],
)
def test_a_receipt_whose_field_has_another_form_is_malformed(name: str, value: object) -> None:
    with pytest.raises(ReceiptMalformedError):
        verify_receipt(sign(FIVE_KEYS | {name: value}), job_id="job-1", output_json=b"{}")


@pytest.mark.parametrize(
    "text",
    [b"", b"null", b"5", b"[]", b"{", b'"receipt"', b"\xff", b'{"job_id":"\xff"}', b'{"x":' + b"[" * 100_000],
)
def test_bytes_that_are_no_receipt_are_malformed(text: bytes) -> None:
    with pytest.raises(ReceiptMalformedError):
        decode_receipt(text)
    with pytest.raises(ReceiptMalformedError):
        detach_proof(text)


@given(later_keys, st.sampled_from([None, 2]), st.booleans(), TEXT)
def test_detaching_a_proof_gives_back_the_signed_bytes(
    extra: dict[str, Any], indent: int | None, verified: bool, signature: str
) -> None:
    receipt = json.dumps(FIVE_KEYS | extra, indent=indent).encode()
    shown = attach_proof(receipt, signature, verified=verified)
    assert json.loads(shown) == FIVE_KEYS | extra | {"signature": signature, "verified": verified}
    assert detach_proof(shown) == (SignedReceipt(receipt, signature), verified)


def test_a_receipt_that_claims_to_be_verified_does_not_pass_for_the_coordinators_verdict() -> None:
    receipt = json.dumps(FIVE_KEYS | {"signature": "own", "verified": True}).encode()
    signed, verified = detach_proof(attach_proof(receipt, "stub", verified=False))
    assert (signed, verified) == (SignedReceipt(receipt, "stub"), False)


@pytest.mark.parametrize(
    "shown",
    [
        b'{"job_id":"job-1"}',
        b'{"signature":"s","verified":true,"job_id":"job-1"}',
        b'{"job_id":"job-1","verified":true,"signature":"s"}',
        b'{"job_id":"job-1", "signature":"s","verified":true}',
        b'{"job_id":"job-1","signature":"\\u0073","verified":true}',
        b'{"job_id":"job-1","signature":"s","verified":1}',
        b'{"job_id":"job-1","signature":"s","verified":true} ',
        b'{"signature":"s","verified":true}',
    ],
)
def test_a_proof_that_is_not_at_the_end_in_its_form_is_refused(shown: bytes) -> None:
    with pytest.raises(ReceiptMalformedError):
        detach_proof(shown)


# Receipts of ours

WORK = WorkDone("ab" * 32, "llama3.2:1b", "cd" * 32, 2)
NINE_KEYS: dict[str, Any] = FIVE_KEYS | {
    "request_hash": "ab" * 32,
    "model": "llama3.2:1b",
    "model_digest": "cd" * 32,
    "attempt": 2,
}


@pytest.mark.parametrize("model", [("llama3.2:1b", "cd" * 32), ("é", None), (None, None)])
def test_a_receipt_of_ours_is_nine_keys_in_their_order_without_spaces(
    model: tuple[str | None, str | None],
) -> None:
    signed = sign_receipt(KEY, "job-1", b"{}", NOON, WorkDone("ab" * 32, *model, 2))
    fields = NINE_KEYS | {"model": model[0], "model_digest": model[1]}
    assert signed.receipt_json == json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()


def test_a_receipt_of_ours_proves_request_and_attempt() -> None:
    signed = sign_receipt(KEY, "job-1", b"{}", NOON, WORK)
    receipt = verify_receipt(signed, job_id="job-1", output_json=b"{}", request_hash="ab" * 32, attempt=2)
    assert (receipt.model, receipt.model_digest, receipt.attempt) == ("llama3.2:1b", "cd" * 32, 2)
    with pytest.raises(RequestHashMismatchError):
        verify_receipt(signed, job_id="job-1", output_json=b"{}", request_hash="00" * 32)
    with pytest.raises(ReceiptAttemptMismatchError):
        verify_receipt(signed, job_id="job-1", output_json=b"{}", attempt=1)


def test_a_receipt_that_names_no_request_or_attempt_fits_any() -> None:
    signed = sign_receipt(KEY, "job-1", b"{}", NOON)
    verify_receipt(signed, job_id="job-1", output_json=b"{}", request_hash="00" * 32, attempt=7)


@pytest.mark.parametrize(
    "text",
    [
        b'{"job_id":"job-2",%s' % json.dumps(FIVE_KEYS).encode()[1:],
        b'{"job\\u005fid":"job-2",%s' % json.dumps(FIVE_KEYS).encode()[1:],
        b'{"attempt":2,%s' % json.dumps(NINE_KEYS).encode()[1:],
        b'{"attempt":2,%s' % json.dumps({**NINE_KEYS, "model": None}).encode()[1:],
        b'{"note":{"a":1,"a":2},%s' % json.dumps(FIVE_KEYS).encode()[1:],
    ],
)
def test_a_receipt_with_a_key_twice_is_malformed_because_readers_disagree_on_it(text: bytes) -> None:
    with pytest.raises(ReceiptMalformedError, match="twice"):
        decode_receipt(text)


def test_a_receipt_may_hold_numbers_of_any_length() -> None:
    decode_receipt(b'{"n":%s,%s' % (b"1" * 5_000, json.dumps(FIVE_KEYS).encode()[1:]))


def test_a_receipt_that_is_far_too_long_is_malformed() -> None:
    with pytest.raises(ReceiptMalformedError, match="longer"):
        decode_receipt(b'{"n":"%s",%s' % (b"x" * MAX_RECEIPT_BYTES, json.dumps(FIVE_KEYS).encode()[1:]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("request_hash", "ab"),
        ("request_hash", 5),
        ("model", 5),
        ("model_digest", []),
        ("attempt", 0),
        ("attempt", "1"),
        ("attempt", 1.5),
    ],
)
def test_a_receipt_of_ours_whose_field_has_another_form_is_malformed(name: str, value: object) -> None:
    with pytest.raises(ReceiptMalformedError):
        verify_receipt(sign(NINE_KEYS | {name: value}), job_id="job-1", output_json=b"{}")


@given(st.sampled_from([None, 2]), TEXT)
def test_no_receipt_of_ours_can_be_reordered_or_encoded_again(indent: int | None, model: str) -> None:
    signed = sign_receipt(KEY, "job-1", b"{}", NOON, WorkDone("ab" * 32, model, None, 2))
    fields = json.loads(signed.receipt_json)
    for again in (dict(reversed(fields.items())), fields):
        text = json.dumps(again, indent=indent or 1).encode()
        with pytest.raises(BadSignatureError):
            verify_receipt(SignedReceipt(text, signed.signature), job_id="job-1", output_json=b"{}")
