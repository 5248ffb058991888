"""The token of a credit: derived from the coordinator's key and the payment, so that it need not be stored.

Whoever holds the coordinator's key can show it again and again to the owner of the failed job; the database
holds only its hash. Another key makes other tokens: a coordinator that loses its key cannot show the old ones
any more, but those that were shown before are still good.
"""

from __future__ import annotations

import base64
import re
from typing import Final

from nacl.encoding import RawEncoder
from nacl.hash import blake2b

from compute_router.protocol.errors import RequestError
from compute_router.protocol.receipts import sha256_hex

_PURPOSE: Final = b"cr/credit-token"
_TOKEN: Final = re.compile(r"crc_[A-Za-z0-9_-]{43}", re.ASCII)


class BadCreditTokenError(RequestError):
    """This is no credit token."""

    code = "bad_credit_token"


def credit_token(secret: bytes, payment_id: str) -> str:
    """The token of the credit that a payment became: ``crc_`` and 43 characters of base64url.

    ``secret`` is the 32-byte seed of the coordinator's key.
    """
    digest = blake2b(payment_id.encode(), digest_size=32, key=secret, person=_PURPOSE, encoder=RawEncoder)
    return "crc_" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def hash_credit_token(token: str) -> str:
    """What is kept of a token: its SHA-256 hex.

    Raises:
        BadCreditTokenError: it does not look like one.
    """
    if not _TOKEN.fullmatch(token):
        raise BadCreditTokenError("A credit token is crc_ and 43 letters, digits, - or _.")
    return sha256_hex(token.encode("ascii"))
