"""A price that the coordinator gave its word for, signed with its key, until a time.

The text is two parts in base64url with a dot between: the compact JSON of the quote, and the ed25519
signature over those JSON bytes. The first key of the JSON names what it is, so that no other signature of
that key can pass for it.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

import msgspec
from nacl.exceptions import BadSignatureError as NaclBadSignatureError
from nacl.signing import SigningKey, VerifyKey

from compute_router.protocol.errors import QuoteRefusedError
from compute_router.protocol.jobs import JobType, Tier
from compute_router.protocol.units import MicroUsd, UnixMs, iso_from_unix_ms, unix_ms_from_iso

QUOTE_DOMAIN: Final = "compute-router/quote/v1"
LONGEST_QUOTE: Final = 1024


class SignedQuote(msgspec.Struct, frozen=True):
    """What is signed, in the order of its keys. ``amount`` is in micro-USD, ``expires_at`` a timestamp."""

    domain: str
    network: str
    tier: Tier
    job_type: JobType
    amount: MicroUsd
    expires_at: str


_QUOTES: Final = msgspec.json.Decoder(SignedQuote)


def sign_quote(
    key: SigningKey, network: str, tier: Tier, job_type: JobType, amount: MicroUsd, expires_at: UnixMs
) -> str:
    """The text of a quote."""
    quote = SignedQuote(QUOTE_DOMAIN, network, tier, job_type, amount, iso_from_unix_ms(expires_at))
    text = msgspec.json.encode(quote)
    return f"{_base64url(text)}.{_base64url(key.sign(text).signature)}"


def read_quote(key: VerifyKey, text: str, network: str) -> SignedQuote:
    """A quote that this key signed for this network; whether it has expired is not looked at.

    Raises:
        QuoteRefusedError: it is none.
    """
    try:
        if len(text) > LONGEST_QUOTE:
            raise ValueError("too long")
        signed, _, signature = text.partition(".")
        raw = _bytes(signed)
        key.verify(raw, _bytes(signature))
        quote = _QUOTES.decode(raw)
    except (ValueError, binascii.Error, NaclBadSignatureError, msgspec.MsgspecError):
        raise QuoteRefusedError("This is not a quote that this coordinator signed.") from None
    if quote.domain != QUOTE_DOMAIN or quote.network != network:
        raise QuoteRefusedError("This quote is for something else.")
    return quote


def quote_ends(quote: SignedQuote) -> UnixMs:
    """When a quote expires."""
    return unix_ms_from_iso(quote.expires_at)


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
