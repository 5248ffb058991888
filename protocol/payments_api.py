"""How a coordinator's payments stand: what anybody is told in health, and what its operator is told."""

from __future__ import annotations

import msgspec

from compute_router.protocol.payment_state import PaymentState
from compute_router.protocol.units import MicroUsd


class PaymentsPublic(msgspec.Struct, frozen=True, omit_defaults=True):
    """``payments`` of ``GET /v1/health``. Where payments are off, ``enabled`` is all there is.

    ``facilitator_ok`` says whether payments can be taken at the moment.
    """

    enabled: bool
    network: str | None = None
    asset: str | None = None
    pay_to: str | None = None
    facilitator_ok: bool | None = None


class FacilitatorShown(msgspec.Struct, frozen=True):
    """``at`` is a URL or ``local``, ``problem`` a sentence or None.

    ``breaker`` is ``open`` for ``retry_after_s`` seconds, in which paid commits are refused, else ``closed``.
    """

    at: str
    problem: str | None
    breaker: str
    retry_after_s: int


class StateTotal(msgspec.Struct, frozen=True):
    """How many payments are in a state, and their amounts together in micro-USD."""

    payments: int
    amount: MicroUsd


class LedgerShown(msgspec.Struct, frozen=True):
    """Sums over all accounts of each kind, in micro-USD. Their sum is zero.

    ``workers_owed`` is what workers have still to get, ``workers_paid`` what they got, ``fees`` the
    operator's share. ``credits_outstanding`` is what payers may still spend of money that came for failed
    jobs, ``held`` what came for jobs that are not finished. Negative are ``payers``, what was paid in,
    ``receivable``, what is awaited for finished jobs, and ``losses``, what never came for them.
    """

    payers: MicroUsd
    receivable: MicroUsd
    held: MicroUsd
    credits_outstanding: MicroUsd
    workers_owed: MicroUsd
    workers_paid: MicroUsd
    fees: MicroUsd
    losses: MicroUsd


class PaymentsAnswer(msgspec.Struct, frozen=True):
    """Answer of ``GET /v1/payments``, for an admin key; ``docs/payments.md`` explains it.

    What concerns the present run is None while payments are off; what was kept before is shown all the same.
    ``unsettled`` is the sum of the payments that are not decided. ``oldest_settlement_s``: of the payments
    that wait for the end of their settlement, how long ago the last step of the first was; None: none waits.
    """

    enabled: bool
    network: str
    timestamp: str
    asset: str | None
    pay_to: str | None
    fee_bps: int | None
    facilitator: FacilitatorShown | None
    by_state: dict[PaymentState, StateTotal]
    unsettled: MicroUsd
    oldest_settlement_s: float | None
    ledger: LedgerShown
