"""``/v1/payouts``: the steps by which an operator pays workers what they earned. With an admin key only.

The coordinator holds no money and signs nothing. It keeps the book: who is owed what, which transfer was
signed for it, and what became of it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from compute_router.actors.messages.stored_earnings import (
    ListPayable,
    LoadOpenPayouts,
    RecordPayout,
    RecordPayouts,
    TellWorker,
)
from compute_router.actors.runtime import ask
from compute_router.actors.system import System
from compute_router.protocol.errors import PayoutConflictError, RequestError
from compute_router.protocol.messages import PaymentFailed, PaymentPosted
from compute_router.protocol.payments import Payable, Payout
from compute_router.protocol.payout_api import (
    MOST_PAYOUTS,
    OpenPayout,
    PayableShown,
    PayoutBatchAnswer,
    PayoutBatchRequest,
    PayoutPlan,
    PayoutShown,
    PayoutStepRequest,
)
from compute_router.protocol.payout_state import STORES_TRANSACTION, PayoutEvent, PayoutState
from compute_router.protocol.units import MicroUsd, format_usd, iso_from_unix_ms
from compute_router.transport.authentication import Authentication
from compute_router.transport.http_types import Answer, Request, json_answer

_BATCHES: Final = msgspec.json.Decoder(PayoutBatchRequest)
_STEPS: Final = msgspec.json.Decoder(PayoutStepRequest)
_MOST_DIGITS: Final = 15


class PayoutsResource:
    """Each step is durable before it is answered, and is taken once: of two payers one gets a 409."""

    def __init__(self, system: System, authentication: Authentication) -> None:
        self._system = system
        self._authentication = authentication

    async def get(self, request: Request, variable: str) -> Answer:
        self._authentication.admin(request)
        threshold = MicroUsd(_number(request, "threshold", 1, 10**_MOST_DIGITS))
        limit = _number(request, "limit", MOST_PAYOUTS, MOST_PAYOUTS)
        payable: tuple[Payable, ...] = await ask(self._system.store, ListPayable(threshold, limit))
        may_move: tuple[Payout, ...] = await ask(self._system.store, LoadOpenPayouts())
        return json_answer(
            PayoutPlan(
                network=self._system.network.caip2,
                payable=[
                    PayableShown(provider_pubkey=one.pubkey, address=one.address, amount=one.amount)
                    for one in payable
                ],
                open=[opened(payout) for payout in may_move],
            )
        )

    async def post(self, request: Request, variable: str) -> Answer:
        self._authentication.admin(request)
        wanted = request.json(_BATCHES.decode)
        asked = RecordPayouts(wanted.threshold, wanted.limit)
        payouts: tuple[Payout, ...] = await ask(self._system.store, asked)
        return json_answer(PayoutBatchAnswer([opened(payout) for payout in payouts]), 201)

    async def step(self, request: Request, payout_id: str) -> Answer:
        self._authentication.admin(request)
        wanted = request.json(_STEPS.decode)
        _check(wanted)
        payout: Payout | None = await ask(
            self._system.store,
            RecordPayout(
                payout_id,
                wanted.event,
                wanted.transaction_data,
                wanted.transaction_ref,
                wanted.reason,
                wanted.replaces,
            ),
        )
        if payout is None:
            raise PayoutConflictError("There is no such payout, or it is not where this step begins.")
        self._tell(payout)
        return json_answer(opened(payout))

    def _tell(self, payout: Payout) -> None:
        """Tell the worker how its payout ended. Earnings show it to a worker that is not there."""
        frame: PaymentPosted | PaymentFailed
        amount = format_usd(payout.amount)
        if payout.state is PayoutState.SETTLED:
            frame = PaymentPosted([], payout.payout_id, amount, payout.address, payout.transaction_ref)
        elif payout.state is PayoutState.REFUSED:
            reason = payout.reason or "refused"
            frame = PaymentFailed([], payout.payout_id, amount, payout.address, reason)
        else:
            return
        self._system.registry.tell(TellWorker(payout.pubkey, frame))


def shown(payout: Payout) -> PayoutShown:
    """A payout as anybody may see it."""
    return PayoutShown(
        payout_id=payout.payout_id,
        amount=payout.amount,
        address=payout.address,
        state=payout.state,
        transaction_ref=payout.transaction_ref,
        reason=payout.reason,
        created_at=iso_from_unix_ms(payout.created_at),
    )


def opened(payout: Payout) -> OpenPayout:
    """A payout as whoever pays it sees it."""
    facts = msgspec.structs.asdict(shown(payout))
    return OpenPayout(**facts, provider_pubkey=payout.pubkey, transaction_data=payout.transaction_data)


def _check(step: PayoutStepRequest) -> None:
    """A transaction comes with the steps that store one, and with no others."""
    stores = step.event in STORES_TRANSACTION
    if stores and None in (step.transaction_data, step.transaction_ref):
        raise RequestError(f"The event {step.event.value} needs transaction_data and transaction_ref.")
    if not stores and step.transaction_data is not None:
        raise RequestError("Only the events send and send_anew store a transaction.")
    if (step.event is PayoutEvent.SEND_ANEW) != (step.replaces is not None):
        raise RequestError("The event send_anew, and no other, names in replaces what it takes the place of.")


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = request.query(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS + 1 and 1 <= int(text) <= most):
        raise RequestError(f"{name} must be a whole number from 1 to {most}.")
    return int(text)
