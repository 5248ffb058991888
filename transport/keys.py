"""``/v1/keys``: making, listing and revoking API keys, with an admin key only."""

from __future__ import annotations

from typing import Final

import msgspec

from compute_router.actors.messages.stored_trust import PutApiKey, RevokeApiKey
from compute_router.actors.runtime import ask
from compute_router.actors.system import System
from compute_router.protocol.api_keys import (
    KeyInfo,
    KeyListAnswer,
    KeyRequest,
    NewKeyAnswer,
    RevokedKeyAnswer,
)
from compute_router.protocol.errors import NotFoundError
from compute_router.protocol.units import iso_from_unix_ms
from compute_router.storage.interface import ApiKey, key_for
from compute_router.transport.authentication import Authentication
from compute_router.transport.http_types import Answer, Request, json_answer

_REQUESTS: Final = msgspec.json.Decoder(KeyRequest)


class KeysResource:
    """Each change is stored first and takes effect right after, before it is answered."""

    def __init__(self, system: System, authentication: Authentication) -> None:
        self._system = system
        self._authentication = authentication

    async def post(self, request: Request, variable: str) -> Answer:
        self._authentication.admin(request)
        wanted = request.json(_REQUESTS.decode)
        api_key, key = key_for(wanted, self._system.clock.unix_ms())
        await ask(self._system.store, PutApiKey(key))
        self._authentication.ring.add(key)
        return json_answer(NewKeyAnswer(**msgspec.structs.asdict(_info(key)), key=api_key), 201)

    async def get(self, request: Request, variable: str) -> Answer:
        self._authentication.admin(request)
        return json_answer(KeyListAnswer([_info(key) for key in self._authentication.ring.keys]))

    async def delete(self, request: Request, key_id: str) -> Answer:
        self._authentication.admin(request)
        ring = self._authentication.ring
        if ring.get(key_id) is None:
            raise NotFoundError("There is no API key with this id.")
        now = self._system.clock.unix_ms()
        await ask(self._system.store, RevokeApiKey(key_id, now))
        # Whoever revoked it first, it must not work any more when this is answered.
        revoked_at = ring.revoke(key_id, now)
        return json_answer(RevokedKeyAnswer(key_id, iso_from_unix_ms(revoked_at)))


def _info(key: ApiKey) -> KeyInfo:
    return KeyInfo(
        key_id=key.key_id,
        name=key.name,
        scope=key.scope,
        user_id=key.user_id,
        jobs_per_minute=key.jobs_per_minute,
        jobs_at_once=key.jobs_at_once,
        jobs_per_day=key.jobs_per_day,
        created_at=iso_from_unix_ms(key.created_at),
        revoked_at=None if key.revoked_at is None else iso_from_unix_ms(key.revoked_at),
    )
