"""Paying out, step by step, so that an end at any point pays nobody twice.

A transfer is signed, then recorded at the coordinator, then sent. One that was recorded is never made
anew: it is looked for on the chain, and the very same one is sent again while it may still land. Where a
chain carries out a transfer once at the most, whatever transaction brings it, one that failed may be followed
by another, recorded like the first. Only when the chain says for good that the transfer did not and cannot
land, the amount is owed again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from compute_router.protocol.errors import ComputeRouterError
from compute_router.protocol.payments import NotSettled, Refused, Settled, StillOpen
from compute_router.protocol.payout_api import OpenPayout, PayoutStepRequest
from compute_router.protocol.payout_state import PayoutEvent, PayoutState
from compute_router.protocol.units import MicroUsd, format_usd
from compute_router.transport.payer.ports import Book, Prepared, Purse, PurseError

logger = logging.getLogger(__name__)

_LONGEST_REASON: Final = 300


class Report(msgspec.Struct, frozen=True):
    """How a run ended: payouts that reached their workers, those owed again, and those still open."""

    settled: int
    refused: int
    open: int


class PayoutRun:
    """One run of paying out."""

    def __init__(self, book: Book, purse: Purse, threshold: MicroUsd, limit: int) -> None:
        self._book = book
        self._purse = purse
        self._threshold = threshold
        self._limit = limit
        self._settled = 0
        self._refused = 0

    async def pay(self, rounds: int, pause: Callable[[], Awaitable[None]]) -> Report:
        """Bring open payouts to an end, record new ones, and pay them.

        Looks at the chain up to ``rounds`` times, with a pause before each; what is open after that is for
        the next run.

        Raises:
            PurseError: the purse cannot pay, so nothing new was recorded.
            ComputeRouterError: the coordinator or the chain cannot be asked.
        """
        await self._purse.check()
        # What an earlier run left comes first: its outcome, or its sending, must not wait for anything.
        await self._bring_on(await self._open())
        await self._check_funds()
        await self._book.record(self._threshold, self._limit)
        for payout in await self._open():
            if payout.state is PayoutState.RECORDED:
                await self._pay(payout)
        for _ in range(rounds):
            if not await self._open():
                break
            await pause()
            await self._bring_on(await self._open())
        return Report(self._settled, self._refused, len(await self._open()))

    async def _open(self) -> list[OpenPayout]:
        return (await self._book.plan(self._threshold, self._limit)).open

    async def _check_funds(self) -> None:
        plan = await self._book.plan(self._threshold, self._limit)
        unsent = [one.amount for one in plan.open if one.state is PayoutState.RECORDED]
        needed = MicroUsd(sum(one.amount for one in plan.payable) + sum(unsent))
        funds = await self._purse.funds()
        if funds < needed:
            raise PurseError(
                f"{self._purse.address} holds {format_usd(funds)}, and {format_usd(needed)} is needed. "
                "Nothing new was recorded."
            )

    async def _pay(self, payout: OpenPayout) -> None:
        prepared = await self._purse.prepare(payout, await self._open())
        if isinstance(prepared, Refused):
            await self._refuse(payout, prepared.reason)
            return
        sent = PayoutStepRequest(PayoutEvent.SEND, prepared.transaction_data, prepared.transaction_ref)
        if await self._book.step(payout.payout_id, sent):
            await self._send(payout, prepared)
        # Otherwise somebody else is paying this one; what was signed here goes nowhere.

    async def _send(self, payout: OpenPayout, prepared: Prepared) -> None:
        try:
            await self._purse.send(prepared.transaction_data)
        except ComputeRouterError as error:
            # It may have been taken all the same. The chain will tell.
            logger.warning("payout %s: %s", payout.payout_id, error)
            if payout.state is not PayoutState.UNKNOWN:
                lost = PayoutStepRequest(PayoutEvent.LOSE_TRACK, reason=str(error)[:_LONGEST_REASON])
                await self._book.step(payout.payout_id, lost)

    async def _bring_on(self, payouts: list[OpenPayout]) -> None:
        """Ask the chain about everything that was signed, and send again what it may still carry out."""
        for payout in payouts:
            if payout.state is PayoutState.RECORDED:
                continue
            if payout.transaction_data is None or payout.transaction_ref is None:
                raise PurseError(f"Payout {payout.payout_id} has no transaction: the book is damaged.")
            try:
                outcome = await self._purse.outcome(payout)
            except ComputeRouterError as error:
                # It stays open, and the others have their turn.
                logger.warning("payout %s: %s", payout.payout_id, error)
                continue
            if isinstance(outcome, Settled):
                reference = outcome.transaction_ref
                settled = PayoutStepRequest(PayoutEvent.SETTLE, transaction_ref=reference)
                if await self._book.step(payout.payout_id, settled):
                    self._settled += 1
                    logger.info("paid %s to %s: %s", format_usd(payout.amount), payout.address, reference)
            elif isinstance(outcome, NotSettled):
                await self._refuse(payout, outcome.reason)
            elif isinstance(outcome, StillOpen):
                await self._send_again(payout, Prepared(payout.transaction_data, payout.transaction_ref))

    async def _send_again(self, payout: OpenPayout, recorded: Prepared) -> None:
        """Send what is recorded; or, when that failed for good and another may not, the other one."""
        opened = await self._open()
        try:
            anew = await self._purse.renew(payout, opened)
        except ComputeRouterError as error:
            logger.warning("payout %s: %s", payout.payout_id, error)
            return
        if anew is None:
            await self._send(payout, recorded)
            return
        sent = PayoutStepRequest(
            PayoutEvent.SEND_ANEW,
            anew.transaction_data,
            anew.transaction_ref,
            replaces=recorded.transaction_ref,
        )
        try:
            recorded_anew = await self._book.step(payout.payout_id, sent)
        except ComputeRouterError as error:
            # A coordinator of an earlier version knows no such step; the other payouts do not wait for it.
            logger.warning("payout %s is not sent anew: %s", payout.payout_id, error)
            return
        if recorded_anew:
            logger.warning(
                "payout %s: transaction %s failed; it is sent anew as %s",
                *(payout.payout_id, recorded.transaction_ref, anew.transaction_ref),
            )
            await self._send(msgspec.structs.replace(payout, state=PayoutState.SENT), anew)

    async def _refuse(self, payout: OpenPayout, reason: str) -> None:
        refused = PayoutStepRequest(PayoutEvent.REFUSE, reason=reason[:_LONGEST_REASON])
        if await self._book.step(payout.payout_id, refused):
            self._refused += 1
            logger.warning("%s to %s was not paid: %s", format_usd(payout.amount), payout.address, reason)
