"""The coordinator's statement: its exact text, and what is not one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from nacl.signing import SigningKey

from compute_router.protocol.countersigning import COUNTERSIGN_DOMAIN, Countersigner, decode_statement
from compute_router.protocol.errors import StatementMalformedError
from compute_router.protocol.receipts import (
    SignedReceipt,
    public_key_hex,
    sha256_hex,
    sign_receipt,
    verify_signature,
)
from compute_router.protocol.units import UnixMs

KEY = SigningKey(b"k" * 32)
NETWORK = "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"
NOON = UnixMs(1_770_638_405_250)
HASH = sha256_hex(b"{}")
RECEIPT = sign_receipt(SigningKey(b"w" * 32), "job-1", b"{}", NOON)
FIELDS: dict[str, Any] = {
    "domain": "compute-router/countersign/v1",
    "network": NETWORK,
    "job_id": "job-1",
    "receipt_hash": sha256_hex(RECEIPT.receipt_json),
    "signature": RECEIPT.signature,
    "verified": True,
    "completed_at": "2026-02-09T12:00:05.250Z",
    "output_hash": HASH,
}


def compact(fields: dict[str, Any]) -> str:
    return json.dumps(fields, separators=(",", ":"))


def test_a_statement_is_compact_json_whose_first_key_says_what_it_is() -> None:
    signed = Countersigner(KEY, NETWORK).sign(
        "job-1", RECEIPT, verified=True, completed_at=NOON, output_hash=HASH
    )
    assert signed.statement == compact(FIELDS)
    assert signed.statement.startswith('{"domain":"compute-router/countersign/v1",')
    verify_signature(public_key_hex(KEY), signed.statement.encode(), signed.signature)


def test_a_statement_about_a_result_without_receipt_says_so() -> None:
    signed = Countersigner(KEY, NETWORK).sign(
        "job-1", None, verified=False, completed_at=NOON, output_hash=HASH
    )
    statement = decode_statement(signed.statement)
    assert (statement.receipt_hash, statement.signature, statement.verified) == (None, None, False)
    assert statement.domain == COUNTERSIGN_DOMAIN


@pytest.mark.parametrize("signature", ["stub", 'é"\\\n', "\u2028"])
def test_a_signature_of_any_text_is_stated_as_it_came(signature: str) -> None:
    receipt = SignedReceipt(RECEIPT.receipt_json, signature)
    signed = Countersigner(KEY, NETWORK).sign(
        "job-1", receipt, verified=False, completed_at=NOON, output_hash=HASH
    )
    assert decode_statement(signed.statement).signature == signature


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '"\ud800"',
        compact(FIELDS) + " ",
        json.dumps(FIELDS),
        compact(dict(reversed(FIELDS.items()))),
        compact(FIELDS | {"more": 1}),
        '{"job_id":"other",' + compact(FIELDS)[1:],
        compact(FIELDS | {"domain": "compute-router/countersign/v2"}),
        compact(FIELDS | {"output_hash": HASH.upper()}),
        compact(FIELDS | {"verified": 1}),
    ],
)
def test_anything_else_is_no_statement(text: str) -> None:
    with pytest.raises(StatementMalformedError):
        decode_statement(text)


def test_a_countersigner_shows_its_public_half_only() -> None:
    shown = repr(Countersigner(KEY, NETWORK))
    assert public_key_hex(KEY) in shown
    assert KEY.encode().hex() not in shown
