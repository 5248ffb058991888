"""What became of an EIP-3009 authorization, read from an EVM chain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from compute_router.protocol.payments import NotSettled, Payment, Settled, StillOpen
from compute_router.protocol.units import MicroUsd
from compute_router.transport.payments.json_rpc import ChainUnreadableError, JsonRpc, NodeError

BALANCE_OF: Final = "0x70a08231"
AUTHORIZATION_STATE: Final = "0xe94a0102"
AUTHORIZATION_USED: Final = "0x98de503528ee59b575ef0c0a2576a82497bfc029a5685b209e9ec333479b10a5"
AUTHORIZATION_CANCELED: Final = "0x1cdd46ff242716cdaa72d159d339a485b3438398348d68f09d7c8c0a59353d81"
TRANSFER: Final = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"

_BLOCKS_AT_ONCE: Final = 100
"""Public nodes search no more blocks for logs in one question."""
_QUESTIONS_AT_ONCE: Final = 8
_FURTHEST_BACK: Final = 50_000
_CLOCKS_DIFFER_SECONDS: Final = 900


class _Transfer(msgspec.Struct, frozen=True, rename={"sender": "from"}):
    sender: str
    validBefore: str  # noqa: N815 - the name of the wire
    nonce: str


class _Inner(msgspec.Struct, frozen=True):
    authorization: _Transfer


class _Payload(msgspec.Struct, frozen=True):
    payload: _Inner


class _Requirements(msgspec.Struct, frozen=True, rename="camel"):
    max_timeout_seconds: int = 3600


class _Block(msgspec.Struct, frozen=True):
    number: str
    timestamp: str


class EvmChainReader:
    """Implements :class:`~compute_router.actors.payment_ports.ChainReader` for one token of an EVM chain.

    Only what is final is believed, where the node knows of finality: what it says cannot be undone then.
    """

    def __init__(self, rpc: JsonRpc, asset: str) -> None:
        self._rpc = rpc
        self._asset = asset
        self._tag = "finalized"

    async def balance(self, payer: str) -> MicroUsd:
        """What a payer has of the token, in the newest block.

        Raises:
            ChainUnreadableError: the chain cannot be read.
        """
        return MicroUsd(_number(await self._ask_token(BALANCE_OF + _word(payer), "latest")))

    async def outcome(self, payment: Payment) -> Settled | NotSettled | StillOpen:
        """What became of an authorization, whoever sent it.

        Raises:
            ChainUnreadableError: the chain cannot be read, or its logs do not reach back far enough.
        """
        transfer = msgspec.json.decode(payment.payload, type=_Payload).payload.authorization
        if payment.transaction_ref is None:
            block = await self._last_block()
        else:
            block, receipt = await asyncio.gather(self._last_block(), self._receipt(payment.transaction_ref))
            if receipt is not None and self._settles(receipt, payment, transfer, _number(block.number)):
                return Settled(payment.transaction_ref)
        # Of that very block, so that a node behind a balancer mixes in no younger or older one.
        used = await self._ask_token(
            AUTHORIZATION_STATE + _word(transfer.sender) + _word(transfer.nonce), block.number
        )
        if _number(used):
            lives = msgspec.json.decode(payment.requirements, type=_Requirements).max_timeout_seconds
            not_before = int(transfer.validBefore) - lives - _CLOCKS_DIFFER_SECONDS
            return await self._how_it_was_used(payment, transfer, _number(block.number), not_before)
        # The token takes an authorization only in blocks before this time, and time does not go back.
        if _number(block.timestamp) >= int(transfer.validBefore):
            return NotSettled("authorization_expired")
        return StillOpen()

    async def close(self) -> None:
        """Give up the connections."""
        await self._rpc.close()

    async def _last_block(self) -> _Block:
        try:
            return _converted(await self._rpc.call("eth_getBlockByNumber", self._tag, False), _Block)
        except NodeError:
            if self._tag == "latest":
                raise
            # Not every node knows of finality.
            self._tag = "latest"
            return await self._last_block()

    async def _ask_token(self, data: str, block: str) -> str:
        answer = await self._rpc.call("eth_call", {"to": self._asset, "data": data}, block)
        if not isinstance(answer, str) or len(answer) != 66:
            raise ChainUnreadableError("The chain's node answered eth_call with nonsense.")
        return answer

    async def _how_it_was_used(
        self, payment: Payment, transfer: _Transfer, newest: int, not_before: int
    ) -> Settled | NotSettled:
        """A used nonce is no payment yet: its owner may cancel it, or sign it for somebody else too."""
        log = await self._log_of_use(transfer, newest, not_before)
        if log["topics"][0].lower() == AUTHORIZATION_CANCELED:
            return NotSettled("authorization_cancelled")
        reference = str(log["transactionHash"])
        receipt = await self._rpc.call("eth_getTransactionReceipt", reference)
        if not isinstance(receipt, dict):
            raise ChainUnreadableError("The chain's node does not know a transaction that it named.")
        if any(self._is_the_transfer(one, payment) for one in receipt["logs"]):
            return Settled(reference)
        return NotSettled("authorization_used_for_another_payment")

    async def _receipt(self, reference: str) -> dict[str, Any] | None:
        """The receipt of a transaction that somebody named; None when there is none that could help."""
        try:
            receipt = await self._rpc.call("eth_getTransactionReceipt", reference)
        except ChainUnreadableError:
            return None
        return receipt if isinstance(receipt, dict) else None

    def _settles(self, receipt: dict[str, Any], payment: Payment, transfer: _Transfer, newest: int) -> bool:
        """Whether a transaction is the settlement, and final. If not, the whole truth must be sought."""
        try:
            used = [AUTHORIZATION_USED, "0x" + _word(transfer.sender), "0x" + _word(transfer.nonce)]
            logs = receipt["logs"]
            return (
                _number(receipt["blockNumber"]) <= newest
                and any(self._is_of_token(log) and _topics(log) == used for log in logs)
                and any(self._is_the_transfer(log, payment) for log in logs)
            )
        except (ChainUnreadableError, LookupError, TypeError):
            return False

    async def _log_of_use(self, transfer: _Transfer, newest: int, not_before: int) -> dict[str, Any]:
        topics = [
            [AUTHORIZATION_USED, AUTHORIZATION_CANCELED],
            "0x" + _word(transfer.sender),
            "0x" + _word(transfer.nonce),
        ]
        for spans in _spans_back_from(newest):
            found = await asyncio.gather(*(self._logs(topics, first, last) for first, last in spans))
            for logs in found:
                if logs:
                    return logs[0]
            oldest = spans[-1][0]
            block = _converted(await self._rpc.call("eth_getBlockByNumber", hex(oldest), False), _Block)
            if _number(block.timestamp) < not_before:
                break
        raise ChainUnreadableError("The chain says that an authorization was used, and has no log of it.")

    async def _logs(self, topics: list[Any], first: int, last: int) -> list[dict[str, Any]]:
        asked = {"address": self._asset, "topics": topics, "fromBlock": hex(first), "toBlock": hex(last)}
        logs = await self._rpc.call("eth_getLogs", asked)
        if not isinstance(logs, list):
            raise ChainUnreadableError("The chain's node answered eth_getLogs with nonsense.")
        return [log for log in logs if not log.get("removed")]

    def _is_the_transfer(self, log: dict[str, Any], payment: Payment) -> bool:
        return (
            self._is_of_token(log)
            and _topics(log) == [TRANSFER, "0x" + _word(payment.payer), "0x" + _word(payment.pay_to)]
            and _number(log["data"]) == payment.amount
        )

    def _is_of_token(self, log: dict[str, Any]) -> bool:
        return str(log["address"]).lower() == self._asset.lower()


def _spans_back_from(newest: int) -> Iterator[list[tuple[int, int]]]:
    """Spans of blocks that may be searched at once, backwards, a few together."""
    last = newest
    while last >= 0 and newest - last < _FURTHEST_BACK:
        spans: list[tuple[int, int]] = []
        while last >= 0 and len(spans) < _QUESTIONS_AT_ONCE:
            spans.append((max(0, last - _BLOCKS_AT_ONCE + 1), last))
            last -= _BLOCKS_AT_ONCE
        yield spans


def _topics(log: dict[str, Any]) -> list[str]:
    return [str(topic).lower() for topic in log["topics"]]


def _word(value: str) -> str:
    """An address or a nonce as the chain's machine has it: 32 bytes, in lower-case hex."""
    return value.removeprefix("0x").lower().rjust(64, "0")


def _number(value: Any) -> int:
    try:
        return int(value, 16)
    except (TypeError, ValueError):
        raise ChainUnreadableError("The chain's node answered with what is no number.") from None


def _converted(value: Any, kind: type[_Block]) -> _Block:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        raise ChainUnreadableError("The chain's node answered with what is no block.") from None
