"""Pairing a worker with a user: codes, the token of a user's owner, and the claim that a worker signs."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import ClassVar, Final

from nacl.signing import SigningKey

from compute_router.protocol.errors import BadSignatureError
from compute_router.protocol.receipts import public_key_hex, sha256_hex, sign_base64, verify_signature
from compute_router.protocol.units import DurationMs

CODE_LIFETIME: Final = DurationMs(60 * 60 * 1000)
MAX_WRONG_TRIES: Final = 5
"""So many wrong codes with the head of a code make that code worthless."""

# Crockford's base 32: no letter that can be taken for a digit. Twelve of them are 60 random bits.
_CODE_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_CODE_LENGTH: Final = 12
_HEAD_LENGTH: Final = 4

_TOKEN_PREFIX: Final = "crt_"  # noqa: S105 - what every token begins with
_TOKEN_BYTES: Final = 32
_TOKEN: Final = re.compile(r"crt_[A-Za-z0-9_-]{43}", re.ASCII)

_FINGERPRINT_GROUPS: Final = 4
_GROUP_DIGITS: Final = 4


class ClaimSignatureError(BadSignatureError):
    """The claim of a pairing code was not signed by the key that it names, for this network and code."""

    http_status: ClassVar[int] = 400


def new_pairing_code() -> str:
    """A new code, from the system's source of randomness."""
    return "".join(secrets.choice(_CODE_ALPHABET) for _ in range(_CODE_LENGTH))


def code_head(code: str) -> str:
    """The part of a code that wrong tries are counted by. Whoever only knows it has 40 bits to guess."""
    return code[:_HEAD_LENGTH]


def new_user_token() -> str:
    """A new token for the owner of a user id: ``crt_`` and 43 characters of base64url, 256 random bits."""
    return _TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)


def is_user_token(text: str) -> bool:
    """Whether a text has the form of a user token."""
    return _TOKEN.fullmatch(text) is not None


def hash_user_token(token: str) -> str:
    """What is kept of a token: its SHA-256 hex. A random secret needs no slow hash."""
    return sha256_hex(token.encode("ascii"))


def claim_message(network: str, pairing_code: str, provider_pubkey: str) -> bytes:
    """The bytes that a worker signs when it claims a code. ``network`` is the coordinator's CAIP-2 id."""
    return f"compute-router/claim/v1\n{network}\n{pairing_code}\n{provider_pubkey}".encode()


def sign_claim(key: SigningKey, network: str, pairing_code: str) -> str:
    """Sign the claim of a code; detached ed25519 in base64."""
    return sign_base64(key, claim_message(network, pairing_code, public_key_hex(key)))


def verify_claim(network: str, pairing_code: str, provider_pubkey: str, signature: str) -> None:
    """Check the signature of a claim.

    Raises:
        ClaimSignatureError: it was not made by this key over these values.
    """
    try:
        verify_signature(provider_pubkey, claim_message(network, pairing_code, provider_pubkey), signature)
    except BadSignatureError:
        raise ClaimSignatureError(
            "The claim is not signed by the key that it names, for this network and code."
        ) from None


def key_fingerprint(pubkey_hex: str) -> str:
    """What people compare keys by: four groups of four digits of the SHA-256 of the key's bytes.

    Raises:
        ValueError: the text is not hex.
    """
    digits = hashlib.sha256(bytes.fromhex(pubkey_hex)).hexdigest()
    starts = range(0, _FINGERPRINT_GROUPS * _GROUP_DIGITS, _GROUP_DIGITS)
    return " ".join(digits[start : start + _GROUP_DIGITS] for start in starts)
