"""The API keys that the coordinator knows, in memory, so that no request has to wait for the database."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from compute_router.protocol.api_keys import KeyScope, key_id_of
from compute_router.protocol.units import UnixMs
from compute_router.storage.interface import ApiKey
from compute_router.transport.bearer import matches_hash

_NO_HASH: Final = "0" * 64


class KeyRing:
    """All keys, with those that were revoked. Lives on the event loop only.

    What holds a connection open on behalf of a key is told when that key is revoked.
    """

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        self._keys = {key.key_id: key for key in keys}
        self._holders: dict[str, set[Callable[[], None]]] = {}

    @property
    def keys(self) -> tuple[ApiKey, ...]:
        """Every key, in the order in which they were made."""
        return tuple(self._keys.values())

    @property
    def has_admin(self) -> bool:
        """Whether there is an admin key that may be used."""
        return any(key.scope is KeyScope.ADMIN and key.revoked_at is None for key in self._keys.values())

    def get(self, key_id: str) -> ApiKey | None:
        """The key of this name, revoked or not."""
        return self._keys.get(key_id)

    def find(self, api_key: str) -> ApiKey | None:
        """The key that somebody presents; None when it is not one of ours, wrong or revoked.

        All of that takes the same time, and only the name, which is no secret, is looked up.
        """
        key = self._keys.get(key_id_of(api_key) or "")
        is_right = matches_hash(api_key, _NO_HASH if key is None else key.key_hash)
        return key if is_right and key is not None and key.revoked_at is None else None

    def is_revoked(self, key: ApiKey) -> bool:
        """Whether a key that was found earlier may be used no more."""
        return self._keys[key.key_id].revoked_at is not None

    def add(self, key: ApiKey) -> None:
        """A key was made, and is stored."""
        self._keys[key.key_id] = key

    def revoke(self, key_id: str, at: UnixMs) -> UnixMs:
        """A key was revoked, and that is stored: it works no more, and what it holds open ends.

        Returns when it was revoked, which may have been before.
        """
        key = self._keys[key_id]
        if key.revoked_at is not None:
            return key.revoked_at
        self._keys[key_id] = msgspec.structs.replace(key, revoked_at=at)
        for on_revoked in self._holders.pop(key_id, ()):
            on_revoked()
        return at

    def hold(self, key: ApiKey, on_revoked: Callable[[], None]) -> Callable[[], None]:
        """Have something called when a key is revoked; returns what ends that, harmless if called twice."""
        self._holders.setdefault(key.key_id, set()).add(on_revoked)

        def release() -> None:
            holders = self._holders.get(key.key_id)
            if holders is not None:
                holders.discard(on_revoked)
                if not holders:
                    del self._holders[key.key_id]

        return release

    def __len__(self) -> int:
        """How many things are held open on behalf of keys."""
        return sum(map(len, self._holders.values()))
