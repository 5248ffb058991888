"""Asks the facilitator and the chain in tasks of the event loop, a few at a time, and tells the answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from compute_router.actors.messages.base import Message
from compute_router.actors.messages.payment_gate import FacilitatorProbed, OutcomeRead, SettleAnswered
from compute_router.actors.payers_doing import is_worth_a_look
from compute_router.actors.payment_lines import PaymentLine
from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.actors.payment_ports import ChainReader, Facilitator
from compute_router.protocol.errors import ComputeRouterError
from compute_router.protocol.payments import NotSettled, Payment, Refused, Settled, StillOpen, Unknown
from compute_router.protocol.units import DurationMs, MicroUsd

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Executor(Protocol):
    """Carries out what the PaymentCore wants asked. Each question is answered by one message, later."""

    def settle(self, payment: Payment) -> None:
        """Have a payment settled: :class:`SettleAnswered`."""

    def read(self, payment: Payment) -> None:
        """Look a payment up on the chain: :class:`OutcomeRead`."""

    def look(self, payment: Payment) -> None:
        """Look a payment up that was given up, without holding up others: :class:`OutcomeRead`."""

    def probe(self) -> None:
        """See how the facilitator is: :class:`FacilitatorProbed`."""

    def close(self) -> None:
        """Give up all questions; nothing is told any more."""


class PaymentExecutor:
    """The :class:`Executor` over the two ports. Lives on the event loop only."""

    def __init__(
        self,
        facilitator: Facilitator,
        chain: ChainReader,
        policy: PaymentPolicy,
        tell: Callable[[Message], None],
    ) -> None:
        self._facilitator = facilitator
        self._chain = chain
        self._policy = policy
        self._tell = tell
        settlements, reads, looks = policy.settlements_at_once, policy.reads_at_once, policy.looks_at_once
        self._settlements = PaymentLine(settlements, -(-settlements * 3 // 4), self._settle)
        # One transaction answers a question that names it; without, many may have to be looked at.
        self._named_reads = PaymentLine(reads, -(-reads * 3 // 4), self._read)
        self._reads = PaymentLine(reads, -(-reads // 4), self._read)
        self._looks = PaymentLine(looks, -(-looks // 4), self._read)
        self._probe_task: asyncio.Task[None] | None = None

    def settle(self, payment: Payment) -> None:
        self._settlements.put(payment)

    def read(self, payment: Payment) -> None:
        line = self._reads if payment.transaction_ref is None else self._named_reads
        line.put(payment)

    def look(self, payment: Payment) -> None:
        self._looks.put(payment)

    def probe(self) -> None:
        self._probe_task = asyncio.get_running_loop().create_task(self._probe())

    def close(self) -> None:
        self._settlements.close()
        self._named_reads.close()
        self._reads.close()
        self._looks.close()
        if self._probe_task is not None:
            self._probe_task.cancel()

    async def _settle(self, payment: Payment) -> None:
        # What a port answers is checked: money depends on it.
        answer: object = await _answer(self._facilitator.settle(payment), self._policy.settle_timeout)
        if isinstance(answer, Settled) and not answer.transaction_ref:
            answer = Unknown("The facilitator named no transaction.")
        elif not isinstance(answer, (Settled, Refused, Unknown)):
            answer = Unknown("The facilitator gave no answer that there is.")
        has = await self._payer_has(payment) if is_worth_a_look(answer) else None
        self._tell(SettleAnswered(payment.payment_id, answer, has))

    async def _payer_has(self, payment: Payment) -> MicroUsd | None:
        """What the payer has at this moment; None when it cannot be read."""
        balance: object = await _answer(self._chain.balance(payment.payer), self._policy.read_timeout)
        return MicroUsd(balance) if isinstance(balance, int) else None

    async def _read(self, payment: Payment) -> None:
        outcome: object = await _answer(self._chain.outcome(payment), self._policy.read_timeout)
        if not isinstance(outcome, (Settled, NotSettled, StillOpen, Unknown)):
            outcome = Unknown("The chain gave no answer that there is.")
        self._tell(OutcomeRead(payment.payment_id, outcome))

    async def _probe(self) -> None:
        answer = await _answer(self._facilitator.healthy(), self._policy.read_timeout)
        self._tell(FacilitatorProbed(answer.reason if isinstance(answer, Unknown) else answer))


async def _answer(question: Awaitable[T], limit: DurationMs) -> T | Unknown:
    """What a port answers. Whatever goes wrong on the way, nobody knows what came of it."""
    try:
        async with asyncio.timeout(limit / 1000):
            return await question
    except TimeoutError:
        return Unknown("There was no answer in time.")
    except ComputeRouterError as error:
        # Our own words, which quote no authorization and no URL.
        logger.warning("a question about a payment failed: %s", error)
        return Unknown(str(error))
    except Exception as error:
        # Only its kind: the words of a foreign library may quote the authorization.
        logger.warning("a question about a payment failed: %s", type(error).__name__)
        return Unknown(f"The question failed: {type(error).__name__}.")
