"""What is asked of a database about API keys, and what is kept of them.

Part of :class:`~compute_router.storage.interface.Store`; what is said there about transactions and counts
holds.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from compute_router.protocol.api_keys import KeyRequest, KeyScope, hash_api_key, key_id_of, new_api_key
from compute_router.protocol.units import UnixMs


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of an API key; ``key_hash`` is the SHA-256 hex of the whole key.

    A user key has a ``user_id`` and perhaps limits; an admin key has neither.
    """

    key_id: str
    key_hash: str
    name: str
    scope: KeyScope
    user_id: str | None
    jobs_per_minute: int | None
    jobs_at_once: int | None
    jobs_per_day: int | None
    created_at: UnixMs
    revoked_at: UnixMs | None = None


def key_for(wanted: KeyRequest, now: UnixMs) -> tuple[str, ApiKey]:
    """A new API key: the key itself, which is for its owner only, and what is kept of it."""
    api_key = new_api_key()
    key_id = key_id_of(api_key)
    assert key_id is not None
    return api_key, ApiKey(
        key_id=key_id,
        key_hash=hash_api_key(api_key),
        name=wanted.name,
        scope=wanted.scope,
        user_id=wanted.user_id,
        jobs_per_minute=wanted.jobs_per_minute,
        jobs_at_once=wanted.jobs_at_once,
        jobs_per_day=wanted.jobs_per_day,
        created_at=now,
    )


class DayQuota(msgspec.Struct, frozen=True):
    """How many jobs a key may make on one day; days are counted from the epoch, in UTC."""

    key_id: str
    day: int
    jobs: int


class KeysStore(Protocol):
    """The part of a store that knows about API keys."""

    def put_api_key(self, key: ApiKey) -> None:
        """Keep a new API key."""

    def revoke_api_key(self, key_id: str, now: UnixMs) -> bool:
        """Note that a key may be used no more; False when it is unknown or was revoked before."""

    def api_keys(self) -> tuple[ApiKey, ...]:
        """Every key, oldest first, with those that were revoked."""

    def count_key_job(self, quota: DayQuota) -> bool:
        """Count one more job of a key on a day; False, and nothing counted, when it had all it may have.

        What was counted on earlier days is forgotten.
        """
