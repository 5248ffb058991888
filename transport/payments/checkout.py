"""What a job's payment must stand before the job is stored, in the order of what it costs to find out."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import pykka

from compute_router.actors.clock import Clock
from compute_router.actors.health import HealthBoard
from compute_router.actors.messages.job_store import JobEnded
from compute_router.actors.messages.payment_gate import (
    CheckLosses,
    ClaimPayment,
    DropFunds,
    FundsRefusal,
    JobCommitted,
)
from compute_router.actors.messages.stored_earnings import FindPayment
from compute_router.actors.payment_ports import ChainReader
from compute_router.actors.runtime import ask
from compute_router.protocol.errors import (
    CreditRefusedError,
    InsufficientFundsError,
    PayerInDebtError,
    PaymentRefusedError,
    PaymentRequiredError,
    PaymentsUnavailableError,
    PaymentUsedError,
)
from compute_router.protocol.ledger import fee_of
from compute_router.protocol.payment_offer import V1_NETWORK_NAMES
from compute_router.protocol.payments import CREDIT_HEADER, NewPayment, Refused
from compute_router.protocol.receipts import sha256_hex
from compute_router.protocol.units import MicroUsd, UnixMs, format_usd
from compute_router.storage.interface import IdempotencyKey, NewJob
from compute_router.transport.credit_tokens import CreditTokens, commit_key_hash
from compute_router.transport.http_types import Answer, Request
from compute_router.transport.idempotency import HEADER as IDEMPOTENCY_HEADER
from compute_router.transport.payments.authorizations import ReadsAuthorizations
from compute_router.transport.payments.discovery import discovery_answer
from compute_router.transport.payments.edge_facilitator import EdgeFacilitator
from compute_router.transport.payments.facilitator_answers import same_payer
from compute_router.transport.payments.holding_funds import HoldingFunds
from compute_router.transport.payments.job_offers import JobOffers
from compute_router.transport.payments.offers import Offered, Offers
from compute_router.transport.payments.paying_by_credit import PayingByCredit
from compute_router.transport.payments.payments_watch import RECEIVER
from compute_router.transport.payments.presented import check_accepted, presented_payment, v2_payment
from compute_router.transport.payments.quotes import Quotes
from compute_router.transport.payments.remaining_life import RemainingLife
from compute_router.transport.payments.turns import Turns

if TYPE_CHECKING:
    from compute_router.transport.payments.blockhash_ages import KnowsAge

logger = logging.getLogger(__name__)

_CHECKS_OF_A_PAYER: Final = 16


class Checkout:
    """Asks for the payment of a job, and takes it if it is good.

    ``secret`` is what credit tokens are made with; ``facilitator_at`` a URL, or ``local``, for the operator.
    """

    def __init__(
        self,
        *,
        offers: Offers,
        quotes: Quotes,
        authorizations: ReadsAuthorizations,
        facilitator: EdgeFacilitator,
        reader: ChainReader,
        store: pykka.ActorRef[Any],
        gate: pykka.ActorRef[Any],
        clock: Clock,
        secret: bytes,
        fee_bps: int,
        facilitator_at: str,
        health: HealthBoard,
        ages: KnowsAge | None = None,
    ) -> None:
        self.quotes = quotes
        self.offers = offers
        self._authorizations = authorizations
        self._facilitator = facilitator
        self._checks = Turns(_CHECKS_OF_A_PAYER)
        self._store = store
        self._gate = gate
        self._clock = clock
        self.tokens = CreditTokens(secret)
        self.fee_bps = fee_bps
        self.facilitator_at = facilitator_at
        self._health = health
        self._job_offers = JobOffers(offers, quotes, facilitator)
        self._credits = PayingByCredit(
            offers=offers, job_offers=self._job_offers, store=store, tokens=self.tokens, fee_bps=fee_bps
        )
        self._funds = HoldingFunds(gate, reader)
        self._life = RemainingLife(ages, clock)

    def __repr__(self) -> str:
        """Nothing of the secret."""
        return f"Checkout({self.offers.network})"

    def check_available(self) -> None:
        """Whether a paid commit could be taken now, as far as is known without asking anybody.

        Raises:
            PaymentsUnavailableError: the facilitator is down, and the error says for how long it is left
                alone; or nothing can arrive where payments go.
        """
        lacking = self._health.problem(RECEIVER)
        if lacking is not None:
            raise PaymentsUnavailableError(lacking)
        self._facilitator.check_available()

    async def discovery(self, request: Request, variable: str) -> Answer:
        """``GET /.well-known/x402``: everything that is sold here, with what is asked for it."""
        fee_payer = await self._facilitator.fee_payer()
        return discovery_answer(self.offers, request.headers.get("Host"), fee_payer)

    async def payment(self, request: Request, job: NewJob, key: IdempotencyKey | None) -> NewPayment:
        """The payment of a job, checked. Its amount is held until :meth:`stored` or :meth:`drop`.

        Raises:
            PaymentRequiredError: none came, or it cannot be taken; the subclass says why.
            PaymentMalformedError: what came is no payment.
            TooMuchUnsettledError: the payer owes as much as one payer may.
            PaymentsUnavailableError: the facilitator cannot be asked.
        """
        if CREDIT_HEADER in request.headers:
            return await self._credits.payment(request, job, key)
        self.check_available()
        await self._check_losses()
        offered = await self._job_offers.offered(request, job)
        presented = presented_payment(request, offered.offer)
        if presented is None:
            price = format_usd(MicroUsd(int(offered.requirement["amount"])))
            raise PaymentRequiredError(
                f"This job costs {price}: send it again with an x402 payment. What is accepted is in this "
                "answer, and for all that is sold here at /.well-known/x402.",
                offered.offer,
            )
        check_accepted(presented, offered, V1_NETWORK_NAMES[self.offers.network])
        amount = MicroUsd(int(offered.requirement["amount"]))
        authorized = self._authorizations.read(
            bytes(presented.payload), offered, amount, self._clock.unix_ms()
        )
        payment = NewPayment(
            payment_id=authorized.payment_id,
            payer=authorized.payer,
            network=self.offers.network,
            asset=self.offers.facts.asset,
            pay_to=self.offers.pay_to,
            amount=amount,
            fee=fee_of(amount, self.fee_bps),
            expires_at=authorized.expires_at,
            x402_version=presented.version,
            payload=v2_payment(authorized.payload, offered),
            requirements=offered.requirement_json,
            credit_token_hash=self.tokens.kept(authorized.payment_id),
            commit_key_hash=None if key is None else commit_key_hash(key.key),
        )
        try:
            mark = await self._claim(request, job, payment, offered)
            # The store decides, together with the job; but who asks twice need not be checked twice.
            if await ask(self._store, FindPayment(payment.payment_id)) is not None:
                raise await self.used(request, job)
            await self._verify(payment, offered)
            payment = await self._life.apply(payment, authorized.payload, offered)
            # Only now: what nobody signed must hold nobody's funds.
            await self._funds.hold(job.job_id, payment, mark, offered)
        except BaseException:
            self.drop(job.job_id)
            raise
        return payment

    def drop(self, job_id: str) -> None:
        """The job was not stored: its payment is free again, and its payer owes nothing for it."""
        self._gate.tell(DropFunds(job_id))

    def stored(self, job: NewJob, payment: NewPayment) -> None:
        """The job is stored, and its payment with it."""
        self._gate.tell(JobCommitted(job.job_id, payment))

    def ended(self, event: JobEnded) -> None:
        """The job ended before any worker could have it."""
        self._gate.tell(event)

    async def used(self, request: Request, job: NewJob) -> PaymentUsedError:
        """The error for a payment that another job was taken in for."""
        offered = await self._job_offers.offered(request, job)
        return PaymentUsedError("This payment was used for another job; make a new one.", offered.offer)

    async def credit_used_up(self, request: Request, job: NewJob) -> CreditRefusedError:
        """The error for a credit that another job has spent meanwhile."""
        return await self._credits.used_up(request, job)

    async def _check_losses(self) -> None:
        until: UnixMs | None = await ask(self._gate, CheckLosses())
        if until is not None:
            seconds = -(-(until - self._clock.unix_ms()) // 1000)
            raise PaymentsUnavailableError(
                "Too much was lost here within a day on jobs whose payment never came; paid jobs are taken "
                "again when that is older.",
                max(seconds, 1),
            )

    async def _claim(self, request: Request, job: NewJob, payment: NewPayment, offered: Offered) -> int:
        """Keep a payment for this commit, before anybody else sees it; answers the mark of settlements."""
        commit = f"{job.tier.value} {sha256_hex(request.body)} {request.headers.get(IDEMPOTENCY_HEADER, '')}"
        claim = ClaimPayment(job.job_id, payment.payment_id, payment.payer, payment.amount, commit)
        mark: int | FundsRefusal = await ask(self._gate, claim)
        if isinstance(mark, int):
            return mark
        if mark is FundsRefusal.PAYER_IN_DEBT:
            raise PayerInDebtError(
                "Jobs of this payer were done and his money did not come; he must settle that with the "
                "operator, or pay from another account.",
                offered.offer,
            )
        raise PaymentUsedError("This payment was used for another job; make a new one.", offered.offer)

    async def _verify(self, payment: NewPayment, offered: Offered) -> None:
        async with self._checks.of(payment.payer):
            answer = await self._facilitator.verify(payment.payload, payment.requirements)
        if isinstance(answer, Refused):
            if "insufficient" in answer.reason and "amount" not in answer.reason:
                raise InsufficientFundsError("The payer has too little for this job.", offered.offer)
            raise PaymentRefusedError(f"The payment was refused: {answer.reason}.", offered.offer)
        if answer.payer and not same_payer(answer.payer, payment.payer):
            logger.warning("the facilitator verified a payment as somebody else's")
            raise PaymentRefusedError("The payment was refused: another payer.", offered.offer)
