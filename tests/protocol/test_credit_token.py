from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_router.protocol.credit_token import BadCreditTokenError, credit_token, hash_credit_token

SECRET = b"s" * 32


@given(st.text(max_size=200))
def test_a_token_can_be_shown_again_and_is_one(payment_id: str) -> None:
    token = credit_token(SECRET, payment_id)
    assert token == credit_token(SECRET, payment_id)
    assert len(hash_credit_token(token)) == 64


def test_a_token_is_what_it_was_in_every_version() -> None:
    # blake2b with the seed as its key and "cr/credit-token" as its person, by another implementation.
    token = credit_token(SECRET, "pay-1")
    assert token == "crc_9vidXwTbRs6nx3eKJSoJxrYS4LLKgCq4GCX6WzLijP8"
    assert hash_credit_token(token) == hashlib.sha256(token.encode()).hexdigest()


def test_other_payments_and_other_keys_have_other_tokens() -> None:
    tokens = {credit_token(secret, name) for secret in (SECRET, b"t" * 32) for name in ("pay-1", "pay-2")}
    assert len(tokens) == 4


@pytest.mark.parametrize(
    "text", ["", "crc_", "crk_" + "a" * 43, "crc_" + "a" * 42, "crc_" + "a" * 44, "crc_" + "é" * 43,
             "crc_" + "a" * 43 + "\n"],
)  # fmt: skip
def test_what_is_no_token_has_no_hash_and_is_not_repeated_in_the_error(text: str) -> None:
    with pytest.raises(BadCreditTokenError) as caught:
        hash_credit_token(text)
    assert caught.value.http_status == 400
    assert "aaaa" not in str(caught.value)
