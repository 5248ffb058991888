"""Making, listing and revoking API keys: for clients that have an admin key."""

from __future__ import annotations

import msgspec

from compute_router.protocol.api_keys import (
    KeyInfo,
    KeyListAnswer,
    KeyRequest,
    KeyScope,
    NewKeyAnswer,
    RevokedKeyAnswer,
)
from compute_router.sdk.answers import read_answer
from compute_router.sdk.errors import InvalidArgumentError
from compute_router.sdk.requests import key_create_call, key_list_call, key_revoke_call
from compute_router.sdk.steps import Flow, call


class KeyLimits(msgspec.Struct, frozen=True):
    """What a user key allows; None: no limit. ``jobs_at_once`` counts the user's unfinished jobs."""

    jobs_per_minute: int | None = None
    jobs_at_once: int | None = None
    jobs_per_day: int | None = None


def checked_key_request(
    scope: KeyScope | str, user_id: str | None, name: str, limits: KeyLimits | None
) -> KeyRequest:
    """What a new key is to be.

    Raises:
        InvalidArgumentError: there is no such key.
    """
    wanted = {"scope": scope, "user_id": user_id, "name": name}
    try:
        return msgspec.convert(wanted | msgspec.structs.asdict(limits or KeyLimits()), KeyRequest)
    except msgspec.ValidationError as error:
        raise InvalidArgumentError(f"There cannot be such a key: {error}.") from None


def create_key(wanted: KeyRequest, read_timeout_s: float) -> Flow[NewKeyAnswer]:
    """Make a key. The answer is the only place where it is ever shown."""
    reply = yield from call(key_create_call(wanted, read_timeout_s))
    return read_answer(reply, NewKeyAnswer, expected_status=201)


def list_keys(read_timeout_s: float) -> Flow[list[KeyInfo]]:
    """All keys, oldest first, with those that were revoked."""
    reply = yield from call(key_list_call(read_timeout_s))
    return read_answer(reply, KeyListAnswer).keys


def revoke_key(key_id: str, read_timeout_s: float) -> Flow[RevokedKeyAnswer]:
    """Revoke a key; it stops working at once."""
    reply = yield from call(key_revoke_call(key_id, read_timeout_s))
    return read_answer(reply, RevokedKeyAnswer)
