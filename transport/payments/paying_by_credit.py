"""Paying for a job by the credit that an earlier one left; no chain and no facilitator is asked for it."""

from __future__ import annotations

from typing import Any

import pykka

from compute_router.actors.messages.stored_earnings import FindCredit
from compute_router.actors.runtime import ask
from compute_router.protocol.credit_token import BadCreditTokenError, hash_credit_token
from compute_router.protocol.errors import CreditRefusedError, PaymentMalformedError
from compute_router.protocol.ledger import fee_of
from compute_router.protocol.payment_offer import PAYMENT_HEADER, PAYMENT_HEADER_V1
from compute_router.protocol.payments import CREDIT_HEADER, CREDIT_NETWORK, Credit, NewPayment
from compute_router.storage.interface import IdempotencyKey, NewJob
from compute_router.transport.credit_tokens import CreditTokens, commit_key_hash
from compute_router.transport.http_types import Request
from compute_router.transport.payments.job_offers import JobOffers
from compute_router.transport.payments.offers import Offers


class PayingByCredit:
    """Makes payments of credits that the store knows."""

    def __init__(
        self,
        *,
        offers: Offers,
        job_offers: JobOffers,
        store: pykka.ActorRef[Any],
        tokens: CreditTokens,
        fee_bps: int,
    ) -> None:
        self._offers = offers
        self._job_offers = job_offers
        self._store = store
        self._tokens = tokens
        self._fee_bps = fee_bps

    async def payment(self, request: Request, job: NewJob, key: IdempotencyKey | None) -> NewPayment:
        """The payment of a job by the credit in its request's header.

        Raises:
            PaymentMalformedError: what came is no credit, or a payment came with it.
            CreditRefusedError: there is no such credit, or too little of it.
        """
        if PAYMENT_HEADER in request.headers or PAYMENT_HEADER_V1 in request.headers:
            raise PaymentMalformedError("Send a payment or a credit, not both.")
        try:
            spends = hash_credit_token(request.headers[CREDIT_HEADER])
        except BadCreditTokenError as error:
            raise PaymentMalformedError(str(error)) from None
        # What is left decides the commit itself; this only says who the payer is.
        credit: Credit | None = await ask(self._store, FindCredit(spends))
        amount = await self._job_offers.amount(request, job)
        if credit is None or credit.amount_left < amount:
            raise await self.used_up(request, job)
        payment_id = f"{CREDIT_NETWORK}/{job.job_id}"
        return NewPayment(
            payment_id=payment_id,
            payer=credit.payer,
            network=CREDIT_NETWORK,
            asset=self._offers.facts.asset,
            pay_to=self._offers.pay_to,
            amount=amount,
            fee=fee_of(amount, self._fee_bps),
            expires_at=job.created_at,
            x402_version=0,
            payload=b"",
            requirements=b"",
            credit_token_hash=self._tokens.kept(payment_id),
            commit_key_hash=None if key is None else commit_key_hash(key.key),
            spends=spends,
        )

    async def used_up(self, request: Request, job: NewJob) -> CreditRefusedError:
        """The error for a credit that is not there, or not enough of it."""
        offered = await self._job_offers.offered(request, job)
        return CreditRefusedError("There is no such credit, or not enough left of it.", offered.offer)
