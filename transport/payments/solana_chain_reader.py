"""What became of a payer's transaction, read from Solana.

Its name on the chain is the fee payer's signature, which we need not have seen. So it is looked for among the
transactions of the payer's token account, and known by its message, which nobody can change.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

import msgspec
from solders.message import MessageV0, to_bytes_versioned
from solders.transaction import VersionedTransaction

from compute_router.protocol.payments import NotSettled, Payment, Settled, StillOpen
from compute_router.protocol.units import DurationMs, MicroUsd
from compute_router.transport.payments.json_rpc import ChainUnreadableError, JsonRpc, NodeError
from compute_router.transport.payments.solana_programs import MEMO, TOKEN, TOKEN_2022, token_account

_TOKEN_PROGRAMS: Final = (TOKEN, TOKEN_2022)
_CONFIRMED: Final = {"commitment": "confirmed"}
_PAGE: Final = 1000
_MOST_PAGES: Final = 20
_CLOCKS_DIFFER_SECONDS: Final = 3600
"""A blockhash lives for little more than a minute: so far from ``expires_at`` nothing is ours, even if clocks
differ."""
_CLOCKS_DIFFER_MOST_SECONDS: Final = 24 * 3600
"""A clock that was behind when a payment was taken made ``expires_at`` too early, and it must be found."""
_MOST_REMEMBERED: Final = 1000
_MOST_SEEN: Final = 20_000
_MOST_FETCHED: Final = 64
"""Transactions that one look fetches at most. The next one goes on, for none is fetched twice."""

SURELY_OVER: Final = DurationMs(120_000)
"""So long after ``expires_at`` a node that never heard of a blockhash is behind no more: it is too old."""


class _Inner(msgspec.Struct, frozen=True):
    transaction: str


class _Payload(msgspec.Struct, frozen=True):
    payload: _Inner


class _Context(msgspec.Struct, frozen=True):
    slot: int


class _Validity(msgspec.Struct, frozen=True):
    context: _Context
    value: bool


class SolanaChainReader:
    """Implements :class:`~compute_router.actors.payment_ports.ChainReader` for one token on Solana."""

    def __init__(
        self,
        rpc: JsonRpc,
        asset: str,
        *,
        surely_over: DurationMs = SURELY_OVER,
        now: Callable[[], float] = time.time,
    ) -> None:
        """``now`` is the time in seconds since 1970."""
        self._rpc = rpc
        self._asset = asset
        self._surely_over = surely_over
        self._now = now
        self._checked_for: str | None = None
        self._looked_through: dict[str, str] = {}
        # Messages of transactions that were fetched, by signature. Neither ever changes.
        self._seen: dict[str, bytes] = {}

    async def balance(self, payer: str) -> MicroUsd:
        """What a payer has in his token account; 0 when there is none.

        Raises:
            ChainUnreadableError: the chain cannot be read.
        """
        try:
            answer = await self._rpc.call(
                "getTokenAccountBalance", token_account(payer, self._asset), _CONFIRMED
            )
        except NodeError as error:
            if "could not find account" in error.said.lower():
                return MicroUsd(0)
            raise
        try:
            return MicroUsd(int(answer["value"]["amount"]))
        except (KeyError, TypeError, ValueError):
            raise ChainUnreadableError("The chain's node answered with what is no balance.") from None

    async def outcome(self, payment: Payment) -> Settled | NotSettled | StillOpen:
        """What became of a transaction, whoever sent it.

        Raises:
            ChainUnreadableError: the chain cannot be read.
        """
        await self._check_chain(payment.network)
        text = msgspec.json.decode(payment.payload, type=_Payload).payload.transaction
        message = VersionedTransaction.from_bytes(base64.b64decode(text)).message
        if payment.transaction_ref is not None:
            named = await self._named(payment.transaction_ref, to_bytes_versioned(message))
            if named is not None:
                return named
        # In this order: what may land no more has landed before it is looked for, or never will.
        over_at = await self._over_at(payment, str(message.recent_blockhash))
        found = await self._landed(payment, message, over_at)
        if found is not None:
            return found
        if over_at is None:
            return StillOpen()
        await self._check_memory(payment)
        return NotSettled("blockhash_expired")

    async def close(self) -> None:
        """Give up the connections."""
        await self._rpc.close()

    async def _check_chain(self, network: str) -> None:
        """A node of another chain knows nothing of a payment; what it says would be taken for the truth."""
        if self._checked_for == network:
            return
        genesis = await self._rpc.call("getGenesisHash")
        if not isinstance(genesis, str) or not genesis.startswith(network.removeprefix("solana:")):
            raise ChainUnreadableError(f"The node is not one of {network}, which the payment is of.")
        self._checked_for = network

    async def _check_memory(self, payment: Payment) -> None:
        """That a node knows of no transaction means something only if it would know of one."""
        oldest = await self._rpc.call("getFirstAvailableBlock")
        if oldest == 0:
            return
        began = await self._rpc.call("getBlockTime", oldest)
        if not isinstance(began, int) or began > payment.expires_at / 1000 - _CLOCKS_DIFFER_SECONDS:
            raise ChainUnreadableError("The chain's node keeps too little history to know of a payment.")

    async def _over_at(self, payment: Payment, blockhash: str) -> int | None:
        """A final slot since which the transaction can land no more; None: it may still land."""
        if self._now() * 1000 < payment.expires_at + self._surely_over:
            return None
        slot = 0
        for commitment in ("processed", "finalized"):
            answer = await self._rpc.call("isBlockhashValid", blockhash, {"commitment": commitment})
            try:
                validity = msgspec.convert(answer, _Validity)
            except msgspec.ValidationError:
                raise ChainUnreadableError(
                    "The chain's node answered isBlockhashValid with nonsense."
                ) from None
            if validity.value:
                return None
            slot = validity.context.slot
        return slot

    async def _landed(self, payment: Payment, message: Any, since: int | None) -> Settled | NotSettled | None:
        found = await self._look_through(payment, message, since)
        # What was found nowhere may be in what an odd node left out: next time all of it is looked at.
        self._looked_through.pop(payment.payment_id, None)
        return found

    async def _look_through(
        self, payment: Payment, message: Any, since: int | None
    ) -> Settled | NotSettled | None:
        wanted = to_bytes_versioned(message)
        memo = _memo(message)
        oldest = min(payment.expires_at / 1000, self._now()) - _CLOCKS_DIFFER_SECONDS
        newest = (payment.expires_at + self._surely_over) / 1000 + _CLOCKS_DIFFER_MOST_SECONDS
        before = self._looked_through.get(payment.payment_id)
        fetched = 0
        for _ in range(_MOST_PAGES):
            page = await self._page(_source(message), before, since)
            young = [entry for entry in page if (entry.get("blockTime") or oldest) >= oldest]
            for entry in _likeliest_first(young, memo):
                if (entry.get("blockTime") or oldest) > newest:
                    continue
                if entry["signature"] not in self._seen:
                    fetched += 1
                    if fetched > _MOST_FETCHED:
                        raise ChainUnreadableError("The payer's account has many transactions to look at.")
                if await self._has_message(entry["signature"], wanted):
                    if entry.get("err") is not None:
                        return NotSettled("transaction_failed")
                    return Settled(str(entry["signature"]))
            if len(young) < len(page):
                return None
            if len(page) < _PAGE:
                return None
            before = str(page[-1]["signature"])
            if since is not None:
                # Nothing can come before these any more: should this be broken off, it goes on from here.
                self._remember(payment.payment_id, before)
        raise ChainUnreadableError("The payer's account has too many transactions to look through at once.")

    def _remember(self, payment_id: str, before: str) -> None:
        if len(self._looked_through) >= _MOST_REMEMBERED and payment_id not in self._looked_through:
            self._looked_through.pop(next(iter(self._looked_through)))
        self._looked_through[payment_id] = before

    async def _page(self, address: str, before: str | None, since: int | None) -> list[dict[str, Any]]:
        options: dict[str, Any] = {**_CONFIRMED, "limit": _PAGE}
        if since is not None:
            # A node that is behind another one says so, instead of leaving out what is new.
            options["minContextSlot"] = since
        if before is not None:
            options["before"] = before
        page = await self._rpc.call("getSignaturesForAddress", address, options)
        if not isinstance(page, list):
            raise ChainUnreadableError("The chain's node answered getSignaturesForAddress with nonsense.")
        return page

    async def _named(self, signature: str, wanted: bytes) -> Settled | NotSettled | None:
        """What became of a transaction that somebody named, if it is the one that is looked for."""
        try:
            answer = await self._transaction(signature)
            if answer is None or _message(answer) != wanted:
                return None
            return Settled(signature) if answer["meta"]["err"] is None else NotSettled("transaction_failed")
        except (ChainUnreadableError, LookupError, TypeError):
            # Then it is looked for where it must be.
            return None

    async def _transaction(self, signature: str) -> Any:
        options = {**_CONFIRMED, "encoding": "base64", "maxSupportedTransactionVersion": 0}
        return await self._rpc.call("getTransaction", signature, options)

    async def _has_message(self, signature: str, wanted: bytes) -> bool:
        seen = self._seen.get(signature)
        if seen is None:
            answer = await self._transaction(signature)
            if answer is None:
                # Listed, and not to be had yet: it may be ours.
                raise ChainUnreadableError("The chain's node does not show a transaction that it lists.")
            seen = sha256(_message(answer)).digest()
            if len(self._seen) >= _MOST_SEEN:
                self._seen.pop(next(iter(self._seen)), None)
            self._seen[signature] = seen
        return seen == sha256(wanted).digest()


def _message(answer: Any) -> bytes:
    try:
        raw = base64.b64decode(answer["transaction"][0])
        return to_bytes_versioned(VersionedTransaction.from_bytes(raw).message)
    # solders has several errors of its own for bytes that are no transaction.
    except Exception:
        raise ChainUnreadableError("The chain's node answered with what is no transaction.") from None


def _memo(message: MessageV0) -> str | None:
    """What makes a payment unlike the payer's others, which lists of transactions show; None without one."""
    keys = message.account_keys
    for instruction in message.instructions:
        if keys[instruction.program_id_index] == MEMO:
            text = bytes(instruction.data)
            return text.decode("ascii") if text.isalnum() else None
    return None


def _likeliest_first(entries: list[dict[str, Any]], memo: str | None) -> list[dict[str, Any]]:
    """What may be the payment: by its memo, then by having none that is shown. Others are left out."""
    if memo is None:
        return entries
    named = [entry for entry in entries if entry.get("memo") and memo in entry["memo"]]
    return named + [entry for entry in entries if not entry.get("memo")]


def _source(message: MessageV0) -> str:
    """The token account that a payment is taken from."""
    keys = message.account_keys
    for instruction in message.instructions:
        if keys[instruction.program_id_index] in _TOKEN_PROGRAMS:
            return str(keys[instruction.accounts[0]])
    raise ValueError("the transaction has no transfer")
