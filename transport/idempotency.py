"""The ``Idempotency-Key`` header of a commit (IETF draft httpapi-idempotency-key-header)."""

from __future__ import annotations

import re
from typing import Final

from compute_router.protocol.errors import RequestError
from compute_router.protocol.jobs import Tier
from compute_router.protocol.receipts import sha256_hex
from compute_router.storage.interface import IdempotencyKey
from compute_router.transport.http_types import Request

HEADER: Final = "Idempotency-Key"

_MAX_CHARS: Final = 255
_KEY: Final = re.compile(r"[\x21-\x7e]+")


def idempotency_key(request: Request, tier: Tier) -> IdempotencyKey | None:
    """The key of a commit, bound to its tier and the very bytes of its body; None if it has none.

    Raises:
        RequestError: the key is empty, too long, or has other than visible ASCII characters.
    """
    if HEADER not in request.headers:
        return None
    keys = request.headers.get_list(HEADER)
    if len(keys) > 1 or len(keys[0]) > _MAX_CHARS or not _KEY.fullmatch(keys[0]):
        raise RequestError(f"{HEADER} must be one text of 1 to {_MAX_CHARS} visible ASCII characters.")
    return IdempotencyKey(keys[0], sha256_hex(tier.value.encode() + b"\n" + request.body))
