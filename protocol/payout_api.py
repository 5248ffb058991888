"""Bodies of the HTTP API about earnings and payouts. Amounts are integer micro-USD, times RFC 3339."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from compute_router.protocol.messages import ReasonText
from compute_router.protocol.payout_state import PayoutEvent, PayoutState
from compute_router.protocol.units import MicroUsd

MOST_PAYOUTS: Final = 200
"""So many payouts are recorded by one request, and so many of a worker's are shown."""

TransactionText = Annotated[str, Meta(min_length=1, max_length=16_384)]
ReferenceText = Annotated[str, Meta(min_length=1, max_length=128)]


class PayoutShown(msgspec.Struct, frozen=True, kw_only=True):
    """One transfer to a worker. ``transaction_ref`` is null until it was signed."""

    payout_id: str
    amount: MicroUsd
    address: str
    state: PayoutState
    transaction_ref: str | None
    reason: str | None
    created_at: str


class EarningsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of ``GET /v1/workers/{pubkey}/earnings``. ``earned`` is ``paid_out`` and ``pending`` together.

    ``under_way`` is the part of ``pending`` in payouts that may move money at the moment. Of many
    ``payouts`` only the newest are named.
    """

    provider_pubkey: str
    payout_address: str | None
    earned: MicroUsd
    paid_out: MicroUsd
    pending: MicroUsd
    under_way: MicroUsd
    payouts: list[PayoutShown]


class OpenPayout(PayoutShown, frozen=True, kw_only=True):
    """A payout that may still move money, as whoever pays it needs it."""

    provider_pubkey: str
    transaction_data: str | None


class PayableShown(msgspec.Struct, frozen=True, kw_only=True):
    """A worker that would be paid now."""

    provider_pubkey: str
    address: str
    amount: MicroUsd


class PayoutPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of ``GET /v1/payouts``: who would be paid now, and what is open already."""

    network: str
    payable: list[PayableShown]
    open: list[OpenPayout]


class PayoutBatchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /v1/payouts``: record one payout for each worker that is owed at least ``threshold``."""

    threshold: Annotated[MicroUsd, Meta(ge=1, le=10**15)]
    limit: Annotated[int, Meta(ge=1, le=MOST_PAYOUTS)] = MOST_PAYOUTS


class PayoutBatchAnswer(msgspec.Struct, frozen=True):
    """The payouts that were recorded by the request. None of them has moved money."""

    payouts: list[OpenPayout]


class PayoutStepRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Body of ``POST /v1/payouts/{payout_id}``: what happened to a payout.

    ``send`` means that a transaction is about to be sent, and needs it and its reference: when it is answered
    they are durable, and the transaction may be sent. ``send_anew`` means the same of a transaction that
    takes the place of another, which ``replaces`` names: it must still be the one that is recorded.
    ``settle`` and ``refuse`` are what the chain says for good.
    """

    event: PayoutEvent
    transaction_data: TransactionText | None = None
    transaction_ref: ReferenceText | None = None
    reason: ReasonText | None = None
    replaces: ReferenceText | None = None
