"""Idempotency keys: one for each submission, so that sending it again cannot make a second job."""

from __future__ import annotations

import re
import secrets
import time
from typing import Final

from compute_router.sdk.errors import InvalidArgumentError
from compute_router.sdk.steps import Answered

SUPPORTED_HEADER: Final = "idempotency-supported"
_RANDOM_BYTES: Final = 10
_KEY: Final = re.compile(r"[!-~]{1,255}", re.ASCII)


def new_key() -> str:
    """A key that nobody used before, in hex: the time in milliseconds (48 bits) and 80 random bits.

    Keys in order of time keep the coordinator's index of them short to write, as UUIDs of version 7 do (RFC
    9562, section 5.7).
    """
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(_RANDOM_BYTES)}"


def checked_key(key: str | None) -> str:
    """The caller's own key, or a new one when there is none.

    Raises:
        InvalidArgumentError: it is not 1 to 255 visible ASCII characters.
    """
    if key is None:
        return new_key()
    if not _KEY.fullmatch(key):
        raise InvalidArgumentError("An idempotency key is 1 to 255 visible ASCII characters.")
    return key


def supports_keys(answer: Answered) -> bool:
    """Whether the coordinator that gave this answer says that it keeps idempotency keys."""
    return answer.headers.get(SUPPORTED_HEADER, "").strip().lower() == "true"
