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
from compute_router.protocol.receipts import public_key_hex
from compute_router.protocol.units import MicroUsd, UnixMs, iso_from_unix_ms, unix_ms_from_iso

QUOTE_DOMAIN: Final = "compute-router/quote/v1"
LONGEST_QUOTE: Final = 1024


class PaidAt(msgspec.Struct, frozen=True):
    """Where a coordinator takes its money: the network's CAIP-2 id, the asset there, and the address."""

    network: str
    asset: str
    pay_to: str


class SignedQuote(msgspec.Struct, frozen=True):
    """What is signed, in the order of its keys. ``amount`` is in micro-USD, ``expires_at`` a timestamp.

    ``coordinator`` is the public key that signed. The price holds for jobs of any model and length.
    """

    domain: str
    coordinator: str
    network: str
    asset: str
    pay_to: str
    tier: Tier
    job_type: JobType
    amount: MicroUsd
    expires_at: str


_QUOTES: Final = msgspec.json.Decoder(SignedQuote)


def sign_quote(
    key: SigningKey, where: PaidAt, tier: Tier, job_type: JobType, amount: MicroUsd, expires_at: UnixMs
) -> str:
    """The text of a quote."""
    quote = SignedQuote(
        domain=QUOTE_DOMAIN,
        coordinator=public_key_hex(key),
        network=where.network,
        asset=where.asset,
        pay_to=where.pay_to,
        tier=tier,
        job_type=job_type,
        amount=amount,
        expires_at=iso_from_unix_ms(expires_at),
    )
    text = msgspec.json.encode(quote)
    return f"{_base64url(text)}.{_base64url(key.sign(text).signature)}"


def read_quote(key: VerifyKey, text: str, where: PaidAt) -> SignedQuote:
    """A quote that this key signed for money at this place; whether it has expired is not looked at.

    Raises:
        QuoteRefusedError: it is none, or for money on another network, in another asset or to somebody else.
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
    if quote.domain != QUOTE_DOMAIN or quote.coordinator != bytes(key).hex():
        raise QuoteRefusedError("This is not a quote that this coordinator signed.")
    if (quote.network, quote.asset) != (where.network, where.asset):
        raise QuoteRefusedError("This quote is for other money than this coordinator takes.")
    if quote.pay_to != where.pay_to:
        raise QuoteRefusedError("Payments go to another address than this quote says; ask for another.")
    return quote


def quote_ends(quote: SignedQuote) -> UnixMs:
    """When a quote expires."""
    return unix_ms_from_iso(quote.expires_at)


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
