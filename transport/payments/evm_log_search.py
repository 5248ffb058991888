"""Finding the log of an event that surely happened, on a node that searches few blocks in one question.

It is looked for in the newest blocks first, where it mostly is. Otherwise the times of blocks lead to the one
of when it can have happened at the earliest, and the search goes on from there, oldest first. What was
searched is remembered, so that a search that was broken off goes on, and does not begin again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from compute_router.transport.payments.evm_answers import Block, number, read_block
from compute_router.transport.payments.json_rpc import ChainUnreadableError, JsonRpc

BLOCKS_AT_ONCE: Final = 100
"""Public nodes search no more blocks for logs in one question."""

QUESTIONS_AT_ONCE: Final = 8
_MOST_REMEMBERED: Final = 1000


class _Progress(msgspec.Struct):
    """Spans of blocks that are still to be searched, and the first block beyond all of them."""

    spans: list[tuple[int, int]]
    end: int


class LogSearch:
    """Searches of one node for logs of one contract."""

    def __init__(self, rpc: JsonRpc, address: str) -> None:
        self._rpc = rpc
        self._address = address
        self._progress: dict[str, _Progress] = {}

    async def find(
        self, name: str, topics: Sequence[Any], newest: Block, since: Sequence[int]
    ) -> dict[str, Any] | None:
        """The log with these topics up to a block; None when there is none in any block since these times.

        ``since`` are times in seconds since 1970, likeliest first: blocks since that one are searched first.
        ``name`` is that of the search, for when it is broken off.

        Raises:
            ChainUnreadableError: the node cannot be asked.
        """
        last = number(newest.number)
        recent = max(0, last + 1 - BLOCKS_AT_ONCE * QUESTIONS_AT_ONCE)
        if (log := await self._search(topics, recent, last)) is not None:
            return log
        progress = self._progress.get(name)
        if progress is None:
            progress = _Progress(await self._spans(since, newest), last + 1)
            if len(self._progress) >= _MOST_REMEMBERED:
                self._progress.pop(next(iter(self._progress)))
            self._progress[name] = progress
        elif last >= progress.end:
            # Blocks that came since it was broken off.
            progress.spans.append((progress.end, last))
            progress.end = last + 1
        while progress.spans:
            first, end = progress.spans[0]
            until = min(end, first + BLOCKS_AT_ONCE * QUESTIONS_AT_ONCE - 1)
            log = await self._search(topics, first, until)
            if log is not None:
                break
            progress.spans[0:1] = [(until + 1, end)] if until < end else []
        # If nothing was found, a node behind the others may have been asked: all of it counts for nothing.
        self._progress.pop(name, None)
        return log

    async def _spans(self, since: Sequence[int], newest: Block) -> list[tuple[int, int]]:
        spans: list[tuple[int, int]] = []
        end = number(newest.number)
        for at in since:
            first = await self._block_before(at, newest)
            if first <= end:
                spans.append((first, end))
                end = first - 1
        return spans

    async def _block_before(self, at: int, newest: Block) -> int:
        """A block from before a time, not much older than need be; 0 when the node has none."""
        if number(newest.timestamp) < at:
            return number(newest.number) + 1
        before, after = 0, number(newest.number)
        while after - before > BLOCKS_AT_ONCE:
            step = (after - before) / (QUESTIONS_AT_ONCE + 1)
            asked = [before + round(step * turn) for turn in range(1, QUESTIONS_AT_ONCE + 1)]
            times = await asyncio.gather(*(self._time_of(block) for block in asked))
            for block, time in zip(asked, times, strict=True):
                if time >= at:
                    after = block
                    break
                before = block
        return before

    async def _time_of(self, block: int) -> int:
        answer = await self._rpc.call("eth_getBlockByNumber", hex(block), False)
        # Blocks that a node does not keep are its oldest.
        return 0 if answer is None else number(read_block(answer).timestamp)

    async def _search(self, topics: Sequence[Any], first: int, last: int) -> dict[str, Any] | None:
        starts = range(first, last + 1, BLOCKS_AT_ONCE)
        found = await asyncio.gather(
            *(self._logs(topics, start, min(last, start + BLOCKS_AT_ONCE - 1)) for start in starts)
        )
        return next((log for logs in found for log in logs), None)

    async def _logs(self, topics: Sequence[Any], first: int, last: int) -> list[dict[str, Any]]:
        asked = {"address": self._address, "topics": topics, "fromBlock": hex(first), "toBlock": hex(last)}
        logs = await self._rpc.call("eth_getLogs", asked)
        if not isinstance(logs, list):
            raise ChainUnreadableError("The chain's node answered eth_getLogs with nonsense.")
        return [log for log in logs if not log.get("removed")]
