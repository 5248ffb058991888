"""How payments stand: the harmless part in ``/v1/health``, all of it at ``/v1/payments`` for an operator."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from compute_router.actors.messages.stored_earnings import GetMoneyTotals
from compute_router.actors.runtime import ask
from compute_router.actors.system import System
from compute_router.protocol.errors import PaymentsUnavailableError
from compute_router.protocol.ledger import FEES, HELD, LOSSES, RECEIVABLE
from compute_router.protocol.payment_state import OPEN_PAYMENTS, PaymentState
from compute_router.protocol.payments import MoneyTotals
from compute_router.protocol.payments_api import (
    FacilitatorShown,
    LedgerShown,
    PaymentsAnswer,
    PaymentsPublic,
    StateTotal,
)
from compute_router.protocol.units import MicroUsd, iso_from_unix_ms
from compute_router.transport.authentication import Authentication
from compute_router.transport.http_types import Answer, Request, json_answer

if TYPE_CHECKING:
    from compute_router.transport.payments.checkout import Checkout


def public_payments(system: System, checkout: Checkout | None) -> PaymentsPublic:
    """What anybody may know."""
    if checkout is None:
        return PaymentsPublic(enabled=False)
    shown = _facilitator(system, checkout)
    return PaymentsPublic(
        enabled=True,
        network=checkout.offers.network,
        asset=checkout.offers.facts.asset,
        pay_to=checkout.offers.pay_to,
        facilitator_ok=shown.problem is None and shown.breaker == "closed",
    )


class PaymentsResource:
    """``GET /v1/payments``, with an admin key.

    It reads a handful of sums that the database keeps up, however many payments there are.
    """

    def __init__(self, system: System, authentication: Authentication, checkout: Checkout | None) -> None:
        self._system = system
        self._authentication = authentication
        self._checkout = checkout

    async def get(self, request: Request, variable: str) -> Answer:
        self._authentication.admin(request)
        totals: MoneyTotals = await ask(self._system.store, GetMoneyTotals())
        checkout, now = self._checkout, self._system.clock.unix_ms()
        oldest = totals.oldest_settlement
        by_state = {state: totals.payments.get(state, (0, MicroUsd(0))) for state in PaymentState}
        return json_answer(
            PaymentsAnswer(
                enabled=checkout is not None,
                network=self._system.network.caip2,
                timestamp=iso_from_unix_ms(now),
                asset=None if checkout is None else checkout.offers.facts.asset,
                pay_to=None if checkout is None else checkout.offers.pay_to,
                fee_bps=None if checkout is None else checkout.fee_bps,
                facilitator=None if checkout is None else _facilitator(self._system, checkout),
                by_state={state: StateTotal(count, amount) for state, (count, amount) in by_state.items()},
                unsettled=MicroUsd(sum(by_state[state][1] for state in OPEN_PAYMENTS)),
                oldest_settlement_s=None if oldest is None else max(now - oldest, 0) / 1000,
                ledger=_ledger(totals.accounts),
            )
        )


def _facilitator(system: System, checkout: Checkout) -> FacilitatorShown:
    problem = system.health.problem("facilitator")
    try:
        checkout.check_available()
    except PaymentsUnavailableError as error:
        return FacilitatorShown(checkout.facilitator_at, problem, "open", math.ceil(error.retry_after_s))
    return FacilitatorShown(checkout.facilitator_at, problem, "closed", 0)


def _ledger(accounts: dict[str, MicroUsd]) -> LedgerShown:
    def total(kind: str) -> MicroUsd:
        return accounts.get(kind, MicroUsd(0))

    return LedgerShown(
        payers=total("payer"),
        receivable=total(RECEIVABLE),
        held=total(HELD),
        credits_outstanding=total("credit"),
        workers_owed=total("worker"),
        workers_paid=total("payout"),
        fees=total(FEES),
        losses=total(LOSSES),
    )
