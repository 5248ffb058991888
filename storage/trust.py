"""What is asked of a database about users: who owns them, and the worker keys that they trust.

Part of :class:`~compute_router.storage.interface.Store`; what is said there about transactions and counts
holds.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Protocol

import msgspec

from compute_router.protocol.units import UnixMs

LOCKED: Final = "locked"
"""In place of the hash of an owner's token: no token is right, and a user id is not free for the taking."""


class Pairing(msgspec.Struct, frozen=True, kw_only=True):
    """A user's trust in one worker key; ``signed`` if the key itself signed a claim for it."""

    user_id: str
    provider_pubkey: str
    paired_at: UnixMs
    signed: bool = False


class ClaimRefusal(Enum):
    """Why a pairing code was not accepted."""

    INVALID_CODE = "invalid_code"
    ALREADY_CLAIMED = "already_claimed"
    EXPIRED = "expired"


class TrustStore(Protocol):
    """The part of a store that knows about users and their trust."""

    def owner(self, user_id: str) -> str | None:
        """SHA-256 hex of the token of whoever owns a user id; None when nobody does yet."""

    def put_owner(self, user_id: str, token_hash: str, created_at: UnixMs) -> bool:
        """Make whoever has a token the owner of a user id; False when it has an owner, who stays that.

        LOCKED in place of a hash locks a user id without an owner; an owner may come after it.
        """

    def create_pairing(self, user_id: str, code: str, created_at: UnixMs, expires_at: UnixMs) -> None:
        """Keep a new, unclaimed pairing code."""

    def open_codes(self, user_id: str, now: UnixMs) -> int:
        """How many codes of a user are neither claimed nor expired; burnt ones count."""

    def delete_dead_codes(self, before: UnixMs, limit: int) -> int:
        """Forget some codes that expired unclaimed before a time; returns how many."""

    def claim_pairing(
        self, code: str, provider_pubkey: str, now: UnixMs, *, signed: bool = False
    ) -> Pairing | ClaimRefusal:
        """Use up a pairing code. A user may pair the same key again; it still counts once.

        A code that does not exist counts as a wrong try for every open code with the same head. After
        ``MAX_WRONG_TRIES`` of them a code is burnt: it is refused as if it did not exist.
        """

    def revoke_pairing(self, user_id: str, provider_pubkey: str) -> bool:
        """End a user's trust in a worker key, however often it was paired; False when there was none."""

    def pairings(self, user_id: str) -> tuple[Pairing, ...]:
        """A user's claimed pairings, one for each key, oldest first."""

    def trusted_pubkeys(self, user_id: str) -> tuple[str, ...]:
        """Worker keys paired with a user."""
