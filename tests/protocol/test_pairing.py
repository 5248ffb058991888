"""Codes, tokens, claims and fingerprints of pairing."""

from __future__ import annotations

import hashlib

import hypothesis.strategies as st
import pytest
from hypothesis import given
from nacl.signing import SigningKey

from compute_router.protocol.errors import BadSignatureError
from compute_router.protocol.http_api import TrustClaimRequest, TrustCreateAnswer
from compute_router.protocol.pairing import (
    ClaimSignatureError,
    claim_message,
    code_head,
    hash_user_token,
    is_user_token,
    key_fingerprint,
    new_pairing_code,
    new_user_token,
    sign_claim,
    verify_claim,
)
from compute_router.protocol.receipts import public_key_hex

KEY = SigningKey(bytes(range(32)))
PUBKEY = public_key_hex(KEY)
SIGNATURE = sign_claim(KEY, "solana:x", "CODE")


def test_codes_are_new_every_time_and_easy_to_read_out() -> None:
    codes = [new_pairing_code() for _ in range(100)]
    assert len(set(codes)) == 100
    assert all(len(code) == 12 and not set(code) & set("ILOU") and code.isalnum() for code in codes)
    assert all(code_head(code) == code[:4] for code in codes)


def test_tokens_are_new_every_time_and_have_the_form_of_tokens() -> None:
    tokens = [new_user_token() for _ in range(100)]
    assert len(set(tokens)) == 100
    assert all(is_user_token(token) and len(token) == 47 for token in tokens)


@pytest.mark.parametrize(
    "text", ["", "crt_", "crt_" + "a" * 42, "crt_" + "a" * 44, "crk_" + "a" * 43, "crt_" + "ä" * 43]
)
def test_other_texts_are_no_tokens(text: str) -> None:
    assert not is_user_token(text)


def test_of_a_token_its_sha_256_is_kept() -> None:
    token = new_user_token()
    assert hash_user_token(token) == hashlib.sha256(token.encode()).hexdigest()


def test_a_claim_is_signed_over_network_code_and_key() -> None:
    assert claim_message("solana:x", "CODE", "ab") == b"compute-router/claim/v1\nsolana:x\nCODE\nab"
    verify_claim("solana:x", "CODE", PUBKEY, SIGNATURE)


@pytest.mark.parametrize(
    ("network", "code", "pubkey"),
    [
        ("solana:y", "CODE", PUBKEY),
        ("solana:x", "CODF", PUBKEY),
        ("solana:x", "CODE", public_key_hex(SigningKey(bytes(32)))),
    ],
)
def test_a_claim_is_good_for_nothing_else(network: str, code: str, pubkey: str) -> None:
    with pytest.raises(ClaimSignatureError) as refused:
        verify_claim(network, code, pubkey, SIGNATURE)
    assert (refused.value.code, refused.value.http_status) == (BadSignatureError.code, 400)


@given(st.text(max_size=128))
def test_no_other_text_passes_for_the_signature(text: str) -> None:
    if text != SIGNATURE:
        with pytest.raises(ClaimSignatureError):
            verify_claim("solana:x", "CODE", PUBKEY, text)


def test_a_fingerprint_is_four_groups_of_the_hash_of_the_keys_bytes() -> None:
    digits = hashlib.sha256(bytes.fromhex(PUBKEY)).hexdigest()
    assert key_fingerprint(PUBKEY) == f"{digits[:4]} {digits[4:8]} {digits[8:12]} {digits[12:16]}"
    assert key_fingerprint(PUBKEY) != key_fingerprint("00" * 32)


def test_secrets_are_in_no_repr() -> None:
    token = new_user_token()
    shown = repr(TrustCreateAnswer("CODE", "t", token)) + repr(TrustClaimRequest("CODE", PUBKEY, SIGNATURE))
    assert not [secret for secret in (token, "CODE", SIGNATURE) if secret in shown]
