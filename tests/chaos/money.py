"""Money in the simulation: a bank that is chain and facilitator in one, and wallets.

The bank outlives every coordinator. While it is unlucky it loses answers, refuses, is silent, and lies. But
it moves the money of one authorization once at most, and never after it expired, as chains do.
"""

from __future__ import annotations

import asyncio
import base64
import random
from typing import Final

import apsw
import msgspec
from nacl.signing import SigningKey

from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.actors.system import Payments, System
from compute_router.protocol.errors import PaymentExpiredError, PaymentsUnavailableError
from compute_router.protocol.networks import Chain
from compute_router.protocol.payment_offer import REQUIRED_HEADER
from compute_router.protocol.payments import (
    NotSettled,
    Payment,
    Refused,
    Settled,
    StillOpen,
    Unknown,
    Verified,
)
from compute_router.protocol.units import MicroUsd, UnixMs
from compute_router.transport.http_types import Answer
from compute_router.transport.payments.authorizations import Authorization
from compute_router.transport.payments.checkout import Checkout
from compute_router.transport.payments.offers import Offered, Offers
from compute_router.transport.payments.quotes import Quotes
from tests.chaos.journal import Journal
from tests.fakes.clock import FakeClock

_LIVES: Final = 45_000
_RICH: Final = MicroUsd(1_000_000_000)
_SILENCE_SECONDS: Final = 3_600.0


class _Signed(msgspec.Struct, frozen=True):
    """What a play wallet signs."""

    payer: str
    nonce: str
    until: int


class PlayAuthorizations:
    """Reads what play wallets sign."""

    def read(self, payload: bytes, offered: Offered, amount: MicroUsd, now: UnixMs) -> Authorization:
        """As the readers of real chains do."""
        signed = msgspec.json.decode(payload, type=_Signed)
        if signed.until < now + 20_000:
            raise PaymentExpiredError("It has expired, or will in a moment.", offered.offer)
        payment_id = f"play/{signed.payer}/{signed.nonce}"
        return Authorization(payment_id, signed.payer, UnixMs(signed.until), payload)


class Wallet:
    """Signs a new authorization for each offer."""

    def __init__(self, payer: str, clock: FakeClock) -> None:
        self._payer = payer
        self._clock = clock
        self._nonces = 0

    def pay(self, answer: Answer) -> str:
        """The payment that a 402 asks for, as a header's value."""
        offer = msgspec.json.decode(base64.b64decode(dict(answer.headers)[REQUIRED_HEADER]))
        self._nonces += 1
        payment = {
            "x402Version": 2,
            "accepted": offer["accepts"][0],
            "payload": {
                "payer": self._payer,
                "nonce": str(self._nonces),
                "until": self._clock.unix_ms() + _LIVES,
            },
        }
        return base64.b64encode(msgspec.json.encode(payment)).decode("ascii")


class Bank:
    """What every life of the coordinator pays into."""

    def __init__(self, rng: random.Random, journal: Journal, clock: FakeClock) -> None:
        self.rng = rng
        self.journal = journal
        self.clock = clock
        self.unlucky = False
        self.moved: dict[str, str] = {}
        self.lied: set[str] = set()
        """Payments that were called settled and are not."""
        self._line: Line | None = None

    def open_line(self) -> Line:
        """The ports of a new life of the coordinator."""
        self._line = Line(self)
        return self._line

    def cut(self) -> None:
        """That life is over; nothing that it was about to ask comes here any more."""
        if self._line is not None:
            self._line.dead = True

    def carry_out(self, payment: Payment) -> Settled | Refused:
        """Move the money of an authorization, if it can be moved."""
        if payment.payment_id in self.moved:
            return Refused("it was used")
        if self.clock.unix_ms() >= payment.expires_at:
            return Refused("it has expired")
        self.moved[payment.payment_id] = f"tx-{len(self.moved)}"
        return Settled(self.moved[payment.payment_id])

    def outcome(self, payment: Payment) -> Settled | NotSettled | StillOpen:
        """What became of an authorization."""
        if payment.payment_id in self.moved:
            return Settled(self.moved[payment.payment_id])
        expired = self.clock.unix_ms() >= payment.expires_at
        return NotSettled("it has expired") if expired else StillOpen()

    def check(self, connection: apsw.Connection) -> None:
        """When all is calm: what the file says of each payment, and where its money is."""
        rows = connection.execute(
            "SELECT p.payment_id, p.state, p.transaction_ref, j.status"
            " FROM payments p JOIN jobs j ON j.id = p.job_id"
        )
        promise = self.journal.promise
        known = set()
        for payment_id, state, reference, status in rows:
            known.add(payment_id)
            moved = payment_id in self.moved or (payment_id in self.lied and state in ("settled", "credited"))
            delivered = status == "completed"
            wanted = ("settled" if delivered else "credited") if moved else "void"
            promise(state == wanted, f"{payment_id} of a {status} job is {state}, and should be {wanted}")
            if payment_id in self.moved:
                promise(
                    reference == self.moved[payment_id], f"{payment_id} is said to be moved by {reference}"
                )
        promise(set(self.moved) <= known, "money was moved that the file does not know")


class Line:
    """One coordinator's connection to the bank: its facilitator and its chain."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self.dead = False

    def check_available(self) -> None:
        """It can be asked; whether it answers is another matter."""

    async def fee_payer(self) -> str | None:
        return None

    async def verify(self, payload: bytes, requirements: bytes) -> Verified | Refused:
        if self._strikes(0.05):
            raise PaymentsUnavailableError("The bank is at lunch.")
        return Verified(msgspec.json.decode(payload)["payload"]["payer"])

    async def settle(self, payment: Payment) -> Settled | Refused | Unknown:
        if self.dead:
            raise ConnectionError
        if not self._strikes(0.5):
            return self._bank.carry_out(payment)
        what = self._bank.rng.randrange(7)
        self._bank.journal.fault(
            "settlement", ("lost", "late", "silent", "cut", "refused", "denied", "made up")[what]
        )
        if what == 0:
            return Unknown("lost before it came")
        if what == 1:
            self._bank.carry_out(payment)
            return Unknown("lost after it was done")
        if what == 2:
            await asyncio.sleep(_SILENCE_SECONDS)
        if what == 3:
            self._bank.carry_out(payment)
            raise ConnectionError
        if what == 4:
            return Refused("not in the mood")
        if what == 5:
            self._bank.carry_out(payment)
            return Refused("a lie")
        self._bank.lied.add(payment.payment_id)
        return Settled("a lie")

    async def healthy(self) -> str | None:
        return "It is ill." if self._strikes(0.3) else None

    async def outcome(self, payment: Payment) -> Settled | NotSettled | StillOpen:
        if self.dead or self._strikes(0.2):
            raise ConnectionError
        return self._bank.outcome(payment)

    async def balance(self, payer: str) -> MicroUsd:
        if self._strikes(0.1):
            raise ConnectionError
        return _RICH

    def _strikes(self, share: float) -> bool:
        return self._bank.unlucky and self._bank.rng.random() < share


def payments(line: Line) -> Payments:
    """What a coordinator of the simulation is started with."""
    return Payments(facilitator=line, chain=line, policy=PaymentPolicy(max_unsettled=_RICH))


def checkout(line: Line, system: System, key: SigningKey) -> Checkout:
    """The edge of that coordinator."""
    return Checkout(
        offers=Offers(Chain.SOLANA, "operator"),
        quotes=Quotes(key, system.network.caip2, system.clock),
        authorizations=PlayAuthorizations(),
        facilitator=line,
        reader=line,
        store=system.store,
        gate=system.gate,
        clock=system.clock,
        secret=bytes(key),
        fee_bps=500,
    )
