"""Whose a user id is: whoever has its token may make codes for it and end its pairings."""

from __future__ import annotations

import hmac
from enum import Enum

import msgspec

from compute_router.storage.interface import LOCKED


class OwnerProof(msgspec.Struct, frozen=True):
    """What a request brought to show that it comes from the owner of a user id.

    ``token_hash`` is the SHA-256 hex of the token that came with it, or None. ``vouched``: the edge knows by
    other means that the request may act for this user, and no token is needed.
    """

    token_hash: str | None = None
    vouched: bool = False


class OwnerRefusal(Enum):
    """Why a request may not act for a user."""

    TOKEN_MISSING = "token_missing"  # noqa: S105 - a reason, no secret
    TOKEN_WRONG = "token_wrong"  # noqa: S105
    LOCKED = "locked"


def refuse_owner(proof: OwnerProof, owner: str | None) -> OwnerRefusal | None:
    """Why a request may not do what only a user's owner may; None if it may.

    ``owner`` is the SHA-256 hex of the owner's token; None when nobody owns the user, and then no token is
    right. Nor is any for a user that is locked.
    """
    if proof.vouched:
        return None
    if owner == LOCKED:
        return OwnerRefusal.LOCKED
    if proof.token_hash is None:
        return OwnerRefusal.TOKEN_MISSING
    if owner is None or not hmac.compare_digest(proof.token_hash, owner):
        return OwnerRefusal.TOKEN_WRONG
    return None
