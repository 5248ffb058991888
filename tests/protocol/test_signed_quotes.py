from __future__ import annotations

import base64
import json

import pytest
from nacl.signing import SigningKey

from compute_router.protocol.errors import QuoteRefusedError
from compute_router.protocol.jobs import JobType, Tier
from compute_router.protocol.signed_quotes import PaidAt, quote_ends, read_quote, sign_quote
from compute_router.protocol.units import MicroUsd, UnixMs

KEY = SigningKey(b"k" * 32)
HERE = PaidAt("eip155:10143", "0xUSDC", "0xHome")
ENDS = UnixMs(1_770_638_400_000)
TEXT = sign_quote(KEY, HERE, Tier.FAST, JobType.TASK, MicroUsd(3000), ENDS)


def test_a_quote_says_again_what_was_signed() -> None:
    quote = read_quote(KEY.verify_key, TEXT, HERE)
    assert (quote.tier, quote.job_type, quote.amount) == (Tier.FAST, JobType.TASK, 3000)
    assert quote_ends(quote) == ENDS


def test_the_same_quote_has_the_same_text() -> None:
    assert sign_quote(KEY, HERE, Tier.FAST, JobType.TASK, MicroUsd(3000), ENDS) == TEXT


def cheaper() -> str:
    signed, _, signature = TEXT.partition(".")
    raw = base64.urlsafe_b64decode(signed + "=" * (-len(signed) % 4)).replace(b"3000", b"1000")
    return base64.urlsafe_b64encode(raw).decode().rstrip("=") + "." + signature


def of_another_purpose() -> str:
    text = b'{"domain":"something/else","network":"eip155:10143"}'
    parts = (text, KEY.sign(text).signature)
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a",
        "é.é",
        TEXT + "A",
        TEXT[:-8],
        TEXT + ".",
        " " + TEXT,
        cheaper(),
        of_another_purpose(),
        TEXT.replace(".", ""),
        "A" * 5000,
        f"{TEXT}\n",
    ],
)
def test_what_was_not_signed_for_this_is_refused(text: str) -> None:
    with pytest.raises(QuoteRefusedError):
        read_quote(KEY.verify_key, text, HERE)


def test_the_quote_of_another_key_is_refused() -> None:
    with pytest.raises(QuoteRefusedError):
        read_quote(SigningKey(b"x" * 32).verify_key, TEXT, HERE)


@pytest.mark.parametrize(
    "elsewhere",
    [
        PaidAt("solana:other", "0xUSDC", "0xHome"),
        PaidAt("eip155:10143", "0xDAI", "0xHome"),
        PaidAt("eip155:10143", "0xUSDC", "0xAway"),
    ],
)
def test_a_quote_for_money_elsewhere_is_refused(elsewhere: PaidAt) -> None:
    with pytest.raises(QuoteRefusedError):
        read_quote(KEY.verify_key, TEXT, elsewhere)


def test_a_quote_names_whose_word_it_is_and_all_that_it_binds() -> None:
    signed = TEXT.partition(".")[0]
    assert json.loads(base64.urlsafe_b64decode(signed + "=" * (-len(signed) % 4))) == {
        "domain": "compute-router/quote/v1",
        "coordinator": KEY.verify_key.encode().hex(),
        "network": "eip155:10143",
        "asset": "0xUSDC",
        "pay_to": "0xHome",
        "tier": "FAST",
        "job_type": "TASK",
        "amount": 3000,
        "expires_at": "2026-02-09T12:00:00.000Z",
    }
