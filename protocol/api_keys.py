"""API keys: what one looks like, who may do what with it, and the bodies of the calls that manage them.

A key is ``crk_<key_id>_<secret>``: 12 letters and digits that name it, and 43 characters of base64url that
nobody can guess. The coordinator keeps the SHA-256 of the whole.
"""

from __future__ import annotations

import re
import secrets
import string
from enum import Enum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from compute_router.protocol.jobs import UserId
from compute_router.protocol.receipts import sha256_hex

_ID_CHARS: Final = 12
_SECRET_BYTES: Final = 32
_ID_ALPHABET: Final = string.ascii_lowercase + string.digits
_KEY: Final = re.compile(r"crk_([a-z0-9]{12})_[A-Za-z0-9_-]{43}", re.ASCII)

MAX_LIMIT: Final = 1 << 30

Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT)]
KeyName = Annotated[str, Meta(max_length=100, pattern=r"^[^\x00-\x1f\x7f]*\Z")]


class KeyScope(Enum):
    """``user``: the jobs and pairings of one user. ``admin``: everything for everybody, and the keys."""

    USER = "user"
    ADMIN = "admin"


def new_api_key() -> str:
    """A new key, from the system's source of randomness."""
    key_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_CHARS))
    return f"crk_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def key_id_of(api_key: str) -> str | None:
    """The part of a key that names it, which is no secret; None when this is no key."""
    match = _KEY.fullmatch(api_key)
    return None if match is None else match[1]


def hash_api_key(api_key: str) -> str:
    """What is kept of a key: the SHA-256 hex of the whole. A random secret needs no slow hash."""
    return sha256_hex(api_key.encode("ascii"))


class KeyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /v1/keys``. A ``user`` key has one user and may have limits; an ``admin`` key neither.

    ``jobs_at_once`` counts the unfinished jobs of the user, days are those of UTC.
    """

    scope: KeyScope
    user_id: UserId | None = None
    name: KeyName = ""
    jobs_per_minute: Limit | None = None
    jobs_at_once: Limit | None = None
    jobs_per_day: Limit | None = None

    def __post_init__(self) -> None:
        """Refuse what contradicts the scope; msgspec makes a ValidationError of it."""
        if self.scope is KeyScope.USER:
            if self.user_id is None:
                raise ValueError("A user key needs a user_id")
        elif self.user_id is not None:
            raise ValueError("An admin key has no user_id")
        elif (self.jobs_per_minute, self.jobs_at_once, self.jobs_per_day) != (None, None, None):
            raise ValueError("An admin key has no limits")


class KeyInfo(msgspec.Struct, frozen=True):
    """What anybody with an admin key may know about a key. Times as everywhere, null: not revoked."""

    key_id: str
    name: str
    scope: KeyScope
    user_id: str | None
    jobs_per_minute: int | None
    jobs_at_once: int | None
    jobs_per_day: int | None
    created_at: str
    revoked_at: str | None


class NewKeyAnswer(KeyInfo, frozen=True, kw_only=True):
    """Answer of ``POST /v1/keys``: the only time that the key itself is shown."""

    key: str

    def __repr__(self) -> str:
        """Everything but the key."""
        return f"NewKeyAnswer(key_id={self.key_id!r}, scope={self.scope!r}, user_id={self.user_id!r})"


class KeyListAnswer(msgspec.Struct, frozen=True):
    """Answer of ``GET /v1/keys``, oldest first, with those that were revoked."""

    keys: list[KeyInfo]


class RevokedKeyAnswer(msgspec.Struct, frozen=True):
    """Answer of ``DELETE /v1/keys/{key_id}``."""

    key_id: str
    revoked_at: str
