"""The ``Authorization`` header with a bearer token (RFC 6750, section 2.1)."""

from __future__ import annotations

import hmac
import re
from typing import Final

from compute_router.protocol.errors import AuthenticationError
from compute_router.protocol.receipts import sha256_hex
from compute_router.transport.http_types import Request

_MAX_CHARS: Final = 512
_BEARER: Final = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*)", re.ASCII | re.IGNORECASE)


def bearer_token(request: Request) -> str | None:
    """The token that a request carries, always ASCII; None when it has no ``Authorization`` header.

    Raises:
        AuthenticationError: the header is there twice, or holds something else than one bearer token.
    """
    if "Authorization" not in request.headers:
        return None
    values = request.headers.get_list("Authorization")
    match = _BEARER.fullmatch(values[0]) if len(values) == 1 and len(values[0]) <= _MAX_CHARS else None
    if match is None:
        raise AuthenticationError(
            "The Authorization header must be one bearer token: Authorization: Bearer TOKEN.", presented=True
        )
    return match[1]


def matches_hash(token: str, token_hash: str) -> bool:
    """Whether a token has this SHA-256 hex, in a time that does not tell how much of it is right."""
    return hmac.compare_digest(sha256_hex(token.encode("ascii")), token_hash)
