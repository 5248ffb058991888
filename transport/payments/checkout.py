"""What a job's payment must stand before the job is stored, in the order of what it costs to find out."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
import pykka

from compute_router.actors.clock import Clock
from compute_router.actors.messages.job_store import JobEnded
from compute_router.actors.messages.payment_gate import (
    CheckLosses,
    ClaimPayment,
    DropFunds,
    FundsMark,
    FundsRefusal,
    HoldFunds,
    JobCommitted,
)
from compute_router.actors.messages.stored_earnings import FindCredit, FindPayment
from compute_router.actors.payment_ports import ChainReader, Facilitator
from compute_router.actors.runtime import ask
from compute_router.protocol.credit_token import BadCreditTokenError, hash_credit_token
from compute_router.protocol.errors import (
    CreditRefusedError,
    InsufficientFundsError,
    PayerInDebtError,
    PaymentExpiredError,
    PaymentMalformedError,
    PaymentRefusedError,
    PaymentRequiredError,
    PaymentsUnavailableError,
    PaymentUsedError,
    QuoteRefusedError,
    TooMuchUnsettledError,
)
from compute_router.protocol.ledger import fee_of
from compute_router.protocol.payment_offer import PAYMENT_HEADER, PAYMENT_HEADER_V1, V1_NETWORK_NAMES
from compute_router.protocol.payments import (
    CREDIT_HEADER,
    CREDIT_NETWORK,
    Credit,
    NewPayment,
    Refused,
)
from compute_router.protocol.receipts import sha256_hex
from compute_router.protocol.units import DurationMs, MicroUsd, UnixMs
from compute_router.storage.interface import IdempotencyKey, NewJob
from compute_router.transport.credit_tokens import CreditTokens, commit_key_hash
from compute_router.transport.http_types import Answer, Request
from compute_router.transport.idempotency import HEADER as IDEMPOTENCY_HEADER
from compute_router.transport.payments.authorizations import ReadsAuthorizations
from compute_router.transport.payments.discovery import discovery_answer
from compute_router.transport.payments.facilitator_answers import same_payer
from compute_router.transport.payments.offers import Offered, Offers, resource_url
from compute_router.transport.payments.presented import check_accepted, presented_payment, v2_payment
from compute_router.transport.payments.quotes import Quotes
from compute_router.transport.payments.turns import Turns

if TYPE_CHECKING:
    from compute_router.transport.payments.blockhash_ages import KnowsAge

logger = logging.getLogger(__name__)

_READ_SECONDS: Final = 3.0
_BALANCE_READS: Final = 8
"""How often a balance is read anew because other payments of its owner were settled meanwhile."""

_CHECKS_OF_A_PAYER: Final = 16
_SHORTEST_LIFE: Final = DurationMs(10_000)
"""So that there is time to settle it."""


class EdgeFacilitator(Facilitator, Protocol):
    """A facilitator, and what the edge needs of it besides."""

    def check_available(self) -> None:
        """Whether it makes sense to ask for a payment now.

        Raises:
            PaymentsUnavailableError: it is down.
        """

    async def fee_payer(self) -> str | None:
        """The account that pays for transactions; None where none is named.

        Raises:
            PaymentsUnavailableError: the facilitator does not say.
        """


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
        ages: KnowsAge | None = None,
    ) -> None:
        self.quotes = quotes
        self.offers = offers
        self._authorizations = authorizations
        self._facilitator = facilitator
        self._reader = reader
        self._checks = Turns(_CHECKS_OF_A_PAYER)
        self._store = store
        self._gate = gate
        self._clock = clock
        self.tokens = CreditTokens(secret)
        self.fee_bps = fee_bps
        self.facilitator_at = facilitator_at
        self._ages = ages

    def __repr__(self) -> str:
        """Nothing of the secret."""
        return f"Checkout({self.offers.network})"

    def check_available(self) -> None:
        """Whether a paid commit could be taken now, as far as is known without asking anybody.

        Raises:
            PaymentsUnavailableError: the facilitator is down; the error says for how long it is left alone.
        """
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
            return await self._credit(request, job, key)
        self._facilitator.check_available()
        await self._check_losses()
        offered = await self._offered(request, job)
        presented = presented_payment(request, offered.offer)
        if presented is None:
            raise PaymentRequiredError("This job must be paid for.", offered.offer)
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
            payment = await self._aged(payment, authorized.payload, offered)
            # Only now: what nobody signed must hold nobody's funds.
            await self._hold(job.job_id, payment, mark, offered)
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
        offered = await self._offered(request, job)
        return PaymentUsedError("This payment was used for another job; make a new one.", offered.offer)

    async def credit_used_up(self, request: Request, job: NewJob) -> CreditRefusedError:
        """The error for a credit that another job has spent meanwhile."""
        offered = await self._offered(request, job)
        return CreditRefusedError("There is no such credit, or not enough left of it.", offered.offer)

    async def _offered(self, request: Request, job: NewJob) -> Offered:
        return await self._offer(request, await self._amount(request, job))

    async def _amount(self, request: Request, job: NewJob) -> MicroUsd:
        try:
            return self.quotes.price(request, job.tier, job.job_type)
        except QuoteRefusedError as error:
            today = self.quotes.listed(job.tier, job.job_type)
            error.offer = (await self._offer(request, today)).offer
            raise

    async def _offer(self, request: Request, amount: MicroUsd) -> Offered:
        url = resource_url(request.headers.get("Host"), request.path)
        return self.offers.offered(amount, url, await self._facilitator.fee_payer())

    async def _credit(self, request: Request, job: NewJob, key: IdempotencyKey | None) -> NewPayment:
        if PAYMENT_HEADER in request.headers or PAYMENT_HEADER_V1 in request.headers:
            raise PaymentMalformedError("Send a payment or a credit, not both.")
        try:
            spends = hash_credit_token(request.headers[CREDIT_HEADER])
        except BadCreditTokenError as error:
            raise PaymentMalformedError(str(error)) from None
        # What is left decides the commit itself; this only says who the payer is.
        credit: Credit | None = await ask(self._store, FindCredit(spends))
        amount = await self._amount(request, job)
        if credit is None or credit.amount_left < amount:
            raise await self.credit_used_up(request, job)
        payment_id = f"{CREDIT_NETWORK}/{job.job_id}"
        return NewPayment(
            payment_id=payment_id,
            payer=credit.payer,
            network=CREDIT_NETWORK,
            asset=self.offers.facts.asset,
            pay_to=self.offers.pay_to,
            amount=amount,
            fee=fee_of(amount, self.fee_bps),
            expires_at=job.created_at,
            x402_version=0,
            payload=b"",
            requirements=b"",
            credit_token_hash=self.tokens.kept(payment_id),
            commit_key_hash=None if key is None else commit_key_hash(key.key),
            spends=spends,
        )

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

    async def _hold(self, job_id: str, payment: NewPayment, mark: int, offered: Offered) -> None:
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

    async def _aged(self, payment: NewPayment, authorized: bytes, offered: Offered) -> NewPayment:
        """The payment, with the end that its age leaves it."""
        if self._ages is None:
            return payment
        try:
            async with asyncio.timeout(_READ_SECONDS):
                lives = await self._ages.lives(authorized)
        except Exception as error:
            # As with a balance: the job can be taken, and whoever signed it long ago is in debt.
            logger.warning("the age of a payment could not be read: %s", type(error).__name__)
            return payment
        if lives is None:
            return payment
        if lives < _SHORTEST_LIFE:
            raise PaymentExpiredError(
                "The transaction can land for a few seconds only; sign one with a new blockhash.",
                offered.offer,
            )
        expires_at = min(payment.expires_at, UnixMs(self._clock.unix_ms() + lives))
        return msgspec.structs.replace(payment, expires_at=expires_at)

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
