"""How much a client may spend, and who is asked before it does."""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec

from compute_router.protocol.jobs import JobType
from compute_router.protocol.units import MicroUsd, format_usd
from compute_router.sdk.errors import InvalidArgumentError, PaymentRefusedError, SpendingCapError


class SpendingCaps(msgspec.Struct, frozen=True):
    """The most that one job may cost, and that one client may sign for, in micro-USD (1 000 000 are $1).

    Raises:
        InvalidArgumentError: a cap is no whole number from 0 upwards.
    """

    per_job: int = 50_000
    per_session: int = 1_000_000

    def __post_init__(self) -> None:
        """Refuse what could mean anything: a text, a fraction of a dollar."""
        for cap in (self.per_job, self.per_session):
            if type(cap) is not int or cap < 0:
                raise InvalidArgumentError("A spending cap is a whole number of micro-USD: 50_000 is $0.05.")


class PaymentPlan(msgspec.Struct, frozen=True):
    """A payment that is about to be made. ``amount`` and ``spent``, what this client signed for so far, are
    in micro-USD. ``by_credit``: it is taken from an earlier payment, and nothing is signed.
    """

    job_type: JobType
    amount: MicroUsd
    network: str
    pay_to: str
    by_credit: bool
    spent: MicroUsd


BeforePayment = Callable[[PaymentPlan], bool]
"""Asked before each payment, off the event loop; the payment is made only if it returns True."""


class Spending:
    """What one client has signed for. Threads may share it.

    Whatever was signed counts, also when its job failed: the authorization is out of the client's hands.
    """

    def __init__(self, caps: SpendingCaps, before_payment: BeforePayment | None) -> None:
        self._caps = caps
        self._before_payment = before_payment
        self._lock = threading.Lock()
        self._spent = MicroUsd(0)

    @property
    def spent(self) -> MicroUsd:
        """What was signed for so far."""
        return self._spent

    def check_job(self, price: MicroUsd) -> None:
        """Whether a job may cost this.

        Raises:
            SpendingCapError: it may not.
        """
        if price > self._caps.per_job:
            raise _over("one job may cost", price, MicroUsd(self._caps.per_job))

    def check_session(self, price: MicroUsd) -> None:
        """Whether so much can still be signed for.

        Raises:
            SpendingCapError: it cannot.
        """
        with self._lock:
            self._check_session(price)

    def ask(self, plan: PaymentPlan) -> None:
        """Ask whoever is to be asked.

        Raises:
            PaymentRefusedError: he said no.
        """
        if self._before_payment is not None and self._before_payment(plan) is not True:
            raise PaymentRefusedError(
                f"before_payment did not agree to pay {format_usd(plan.amount)}; nothing was paid.",
                "declined",
            )

    def take(self, price: MicroUsd) -> None:
        """Count a payment that is about to be signed.

        Raises:
            SpendingCapError: it would be too much.
        """
        with self._lock:
            self._check_session(price)
            self._spent = MicroUsd(self._spent + price)

    def give_back(self, price: MicroUsd) -> None:
        """A payment was not signed after all, or never left this machine."""
        with self._lock:
            self._spent = MicroUsd(self._spent - price)

    def _check_session(self, price: MicroUsd) -> None:
        if self._spent + price > self._caps.per_session:
            raise _over(
                f"this client has signed for {format_usd(self._spent)} and may sign for",
                price,
                MicroUsd(self._caps.per_session),
            )


def _over(what: str, price: MicroUsd, cap: MicroUsd) -> SpendingCapError:
    return SpendingCapError(
        f"The job costs {format_usd(price)}, and {what} {format_usd(cap)} at most. Nothing was paid.",
        price,
        cap,
    )
