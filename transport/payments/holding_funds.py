"""Holding what a job costs of its payer's balance, so that he cannot pay for two jobs with the same money."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import pykka

from compute_router.actors.messages.payment_gate import FundsMark, FundsRefusal, HoldFunds
from compute_router.actors.payment_ports import ChainReader
from compute_router.actors.runtime import ask
from compute_router.protocol.errors import InsufficientFundsError, TooMuchUnsettledError
from compute_router.protocol.payments import NewPayment
from compute_router.protocol.units import MicroUsd
from compute_router.transport.payments.offers import Offered

logger = logging.getLogger(__name__)

_READ_SECONDS: Final = 3.0
_BALANCE_READS: Final = 8
"""How often a balance is read anew because other payments of its owner were settled meanwhile."""


class HoldingFunds:
    """Reads balances of the chain and has the gate hold of them."""

    def __init__(self, gate: pykka.ActorRef[Any], reader: ChainReader) -> None:
        self._gate = gate
        self._reader = reader

    async def hold(self, job_id: str, payment: NewPayment, mark: int, offered: Offered) -> None:
        """Hold a payment's amount for a job. ``mark`` is the gate's from before the balance is read.

        Raises:
            InsufficientFundsError: the payer has too little.
            TooMuchUnsettledError: the payer owes as much as one payer may.
        """
        held = HoldFunds(job_id, await self._balance(payment.payer), mark)
        refusal: FundsRefusal | None = await ask(self._gate, held)
        for _ in range(_BALANCE_READS):
            if refusal is not FundsRefusal.BALANCE_IS_OLD:
                break
            mark = await ask(self._gate, FundsMark())
            held = HoldFunds(job_id, await self._balance(payment.payer), mark)
            refusal = await ask(self._gate, held)
        if refusal in (FundsRefusal.BALANCE_TOO_LOW, FundsRefusal.BALANCE_IS_OLD):
            raise InsufficientFundsError(
                "The payer has too little for this job and those that are not settled yet.", offered.offer
            )
        if refusal is FundsRefusal.TOO_MUCH_UNSETTLED:
            raise TooMuchUnsettledError(
                "This payer has too much that is not settled yet; wait for some of it."
            )

    async def _balance(self, payer: str) -> MicroUsd | None:
        try:
            async with asyncio.timeout(_READ_SECONDS):
                return await self._reader.balance(payer)
        except Exception as error:
            # Whatever a reader of a chain runs into, the job can be taken within the payer's limit.
            logger.warning("the balance of a payer could not be read: %s", type(error).__name__)
            return None
