"""How long a Solana transaction can still land: until its blockhash is 150 blocks old, whenever it is shown.

The chain itself lists its newest blockhashes, in an account of its own (the sysvar RecentBlockhashes). Where
a hash stands in it is how old it is. That account is deprecated: where a node has none, nobody knows.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec
from solders.hash import Hash
from solders.transaction import VersionedTransaction

from compute_router.protocol.units import DurationMs
from compute_router.transport.payments.json_rpc import ChainUnreadableError, JsonRpc

RECENT_BLOCKHASHES: Final = "SysvarRecentB1ockHashes11111111111111111111"
BLOCKS: Final = 150
BLOCK_MS: Final = 400
_MARGIN_MS: Final = 2_000
"""For blocks that come faster, and for a node that is behind."""

_FIRST_ENTRY: Final = 8
_ENTRY: Final = 40
_HASH: Final = 32
_FRESH_SECONDS: Final = 2.0
_NO_LIST_SECONDS: Final = 60.0
"""A node that never had a list is not asked for it at every payment."""

_OF_USE_SECONDS: Final = 45.0
"""After that what came right after a list may have too little time left to be settled."""

_PROCESSED: Final = {"commitment": "processed"}


class _Payload(msgspec.Struct, frozen=True):
    transaction: str


class KnowsAge(Protocol):
    """Knows how long an authorization can be carried out, where that is not said in it."""

    async def lives(self, payload: bytes) -> DurationMs | None:
        """For how long a payment that was read can still be settled, 0 if no more; None: nobody knows."""


class BlockhashAges:
    """Ages by one node. Its list is read again when it is some seconds old, or lacks a hash.

    A node that has no list now may have had one before, as one of several behind one address. What it gave is
    used for some time then.
    """

    def __init__(self, rpc: JsonRpc, now: Callable[[], float] = time.monotonic) -> None:
        """``now`` is a time in seconds that never goes back."""
        self._rpc = rpc
        self._now = now
        self._reading = asyncio.Lock()
        self._asked_at = self._read_at = -_NO_LIST_SECONDS
        self._had_a_list = False
        self._places: dict[str, int] = {}

    async def lives(self, payload: bytes) -> DurationMs | None:
        """See :class:`KnowsAge`.

        Raises:
            ChainUnreadableError: the node cannot be asked.
        """
        raw = base64.b64decode(msgspec.json.decode(payload, type=_Payload).transaction)
        blockhash = str(VersionedTransaction.from_bytes(raw).message.recent_blockhash)
        asked_at = self._now()
        async with self._reading:
            fresh = _FRESH_SECONDS if self._had_a_list else _NO_LIST_SECONDS
            old = self._now() - self._asked_at >= fresh
            # What was read after this question came is as good as reading it again.
            if old or (self._places and blockhash not in self._places and self._asked_at < asked_at):
                await self._read()
            has_list, place, read_at = bool(self._places), self._places.get(blockhash), self._read_at
        if not has_list:
            return None
        if place is None:
            # Older than all in the list, or younger than the list.
            if not await self._is_good(blockhash):
                return DurationMs(0)
            place = 0
        passed = int((self._now() - read_at) * 1000)
        return DurationMs(max((BLOCKS - place) * BLOCK_MS - passed - _MARGIN_MS, 0))

    async def close(self) -> None:
        """Give up the connections."""
        await self._rpc.close()

    async def _read(self) -> None:
        answer = await self._rpc.call(
            "getAccountInfo", RECENT_BLOCKHASHES, _PROCESSED | {"encoding": "base64"}
        )
        places = _places(answer)
        self._asked_at = self._now()
        if places or self._asked_at - self._read_at >= _OF_USE_SECONDS:
            self._places, self._read_at = places, self._asked_at
        self._had_a_list = self._had_a_list or bool(places)

    async def _is_good(self, blockhash: str) -> bool:
        answer = await self._rpc.call("isBlockhashValid", blockhash, _PROCESSED)
        good = answer.get("value") if isinstance(answer, dict) else None
        if not isinstance(good, bool):
            raise ChainUnreadableError("The chain's node answered isBlockhashValid with nonsense.")
        return good


def _places(answer: Any) -> dict[str, int]:
    """How many blocks came after each blockhash; none where there is no such list."""
    try:
        if answer["value"] is None:
            return {}
        data = base64.b64decode(answer["value"]["data"][0], validate=True)
    except (LookupError, TypeError, ValueError):
        raise ChainUnreadableError("The chain's node answered getAccountInfo with nonsense.") from None
    many = min(int.from_bytes(data[:_FIRST_ENTRY], "little"), (len(data) - _FIRST_ENTRY) // _ENTRY)
    starts = (_FIRST_ENTRY + place * _ENTRY for place in range(many))
    return {str(Hash(data[start : start + _HASH])): place for place, start in enumerate(starts)}
