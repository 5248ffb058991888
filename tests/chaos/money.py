"""Money in the simulation: a bank that is chain and facilitator in one.

The bank outlives every coordinator. While it is unlucky it loses answers, refuses, is silent, and lies. But
it moves the money of one authorization once at most, and never after it expired, as chains do.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from typing import Any, Final

import msgspec
from nacl.signing import SigningKey
from solders.pubkey import Pubkey

from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.actors.system import Payments, System
from compute_router.protocol.errors import PaymentExpiredError, PaymentsUnavailableError
from compute_router.protocol.networks import Chain
from compute_router.protocol.payments import (
    NotSettled,
    Payment,
    Refused,
    Settled,
    StillOpen,
    Unknown,
    Verified,
)
from compute_router.protocol.signed_quotes import PaidAt
from compute_router.protocol.units import MicroUsd, UnixMs
from compute_router.transport.payments.authorizations import Authorization
from compute_router.transport.payments.checkout import Checkout
from compute_router.transport.payments.offers import Offered, Offers
from compute_router.transport.payments.quotes import Quotes
from tests.chaos.journal import Journal
from tests.chaos.money_books import ChainBook, Transfer
from tests.fakes.clock import FakeClock
from tests.fakes.payouts import PlayChain

_LIVES: Final = (21_000, 22_000, 25_000, 45_000)
"""Most authorizations are settled early, after a few seconds, so that many jobs fail with the money gone."""
_RICH: Final = MicroUsd(1_000_000_000)
_SILENCE_SECONDS: Final = 3_600.0
_LATE_SECONDS: Final = 21.0
_MISFORTUNES: Final = (
    "lost",
    "unheard",
    "silent",
    "late",
    "cut",
    "refused",
    "denied",
    "made up",
    "twice",
)

PORT_POINTS: Final = (
    "verification asked",
    "verification answered",
    "settlement asked",
    "settlement answered",
    "outcome asked",
    "outcome answered",
)
"""Points between the coordinator and the bank at which it can die."""


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


def play_address(number: int) -> str:
    """Where a worker of the simulation wants its earnings."""
    return str(Pubkey.from_bytes(hashlib.sha256(b"wages %d" % number).digest()))


class PlaySigner:
    """Signs a new authorization for each offer."""

    def __init__(self, payer: str, bank: Bank) -> None:
        self.payer = payer
        self._bank = bank
        self._nonces = 0

    def sign(self, requirement: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """The inner payload, and the id that the payment has by the facts of its chain."""
        self._nonces += 1
        nonce, lives = str(self._nonces), self._bank.rng.choice(_LIVES)
        payment_id = f"play/{self.payer}/{nonce}"
        self._bank.good_until[payment_id] = self._bank.clock.steady_ms() + lives
        return {
            "payer": self.payer,
            "nonce": nonce,
            "until": self._bank.clock.unix_ms() + lives,
        }, payment_id


class Bank:
    """What every life of the coordinator pays into, and workers are paid from."""

    def __init__(self, rng: random.Random, journal: Journal, clock: FakeClock) -> None:
        self.rng = rng
        self.journal = journal
        self.clock = clock
        self.unlucky = False
        self.good_until: dict[str, int] = {}
        """When authorizations expire by the chain's own clock, which nobody sets."""
        self.moved: dict[str, Transfer] = {}
        self.gone: Counter[str] = Counter()
        self.came = 0
        self.lied: dict[str, str] = {}
        """Payments that were called settled and are not, by the reference that was made up."""
        self.wages = PlayChain()
        self.killed: str | None = None
        """The point at which the coordinator is to be dead from now on."""
        self._armed: tuple[str, int] | None = None
        self._line: Line | None = None

    def open_line(self) -> Line:
        """The ports of a new life of the coordinator."""
        self._line = Line(self)
        return self._line

    def cut(self) -> None:
        """That life is over; nothing that it was about to ask comes here any more."""
        self.killed = None
        if self._line is not None:
            self._line.dead = True

    def arm(self, point: str, countdown: int) -> None:
        """Kill the coordinator when it has come to a point of its talk with the bank so many times."""
        self._armed = (point, countdown)

    def calm(self) -> None:
        """No more faults."""
        self.unlucky = False
        self._armed = None
        self.wages.drops = self.wages.loses_answers = self.wages.fails = self.wages.broken_reads = 0

    async def point(self, name: str) -> None:
        """The coordinator has come to a point. If it is killed there, nothing goes on from here."""
        if self._armed is None or self._armed[0] != name:
            return
        left = self._armed[1] - 1
        self._armed = (name, left) if left >= 0 else None
        if left < 0:
            self.journal.fault(f"kill {name}")
            self.killed = name
            await asyncio.sleep(_SILENCE_SECONDS)
            raise ConnectionError

    def carry_out(self, payment: Payment) -> Settled | Refused:
        """Move the money of an authorization, if it can be moved."""
        if payment.payment_id in self.moved:
            return Refused("it was used")
        if self._has_expired(payment):
            return Refused("it has expired")
        reference = f"tx-{len(self.moved)}"
        self.moved[payment.payment_id] = Transfer(payment.payment_id, payment.amount, reference)
        self.gone[payment.payer] += payment.amount
        self.came += payment.amount
        return Settled(reference)

    def lie(self, payment: Payment) -> Settled:
        """Say that money moved which did not."""
        return Settled(self.lied.setdefault(payment.payment_id, f"lie-{len(self.lied)}"))

    def outcome(self, payment: Payment) -> Settled | NotSettled | StillOpen:
        """What became of an authorization."""
        if payment.payment_id in self.moved:
            return Settled(self.moved[payment.payment_id].reference)
        return NotSettled("it has expired") if self._has_expired(payment) else StillOpen()

    def _has_expired(self, payment: Payment) -> bool:
        return self.clock.steady_ms() >= self.good_until[payment.payment_id]

    def vouches(self, payer: str, amount: int, reference: str | None) -> bool:
        """Whether a transaction moved so much; or whether the bank itself lied about that."""
        signed = f"play/{payer}/"
        moved = any(
            (one.reference, one.amount) == (reference, amount) and one.name.startswith(signed)
            for one in self.moved.values()
        )
        return moved or reference in self.lied.values()

    def book(self) -> ChainBook:
        """What the chain says of all of it."""
        wages = [Transfer(address, amount, ref) for ref, (address, amount) in self.wages.landed.items()]
        return ChainBook(list(self.moved.values()), wages, self.gone, self.came, self.wages.paid)


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
        await self._bank.point("verification asked")
        if self._strikes(0.05):
            self._bank.journal.fault("verification unavailable")
            raise PaymentsUnavailableError("The bank is at lunch.")
        await self._bank.point("verification answered")
        return Verified(msgspec.json.decode(payload)["payload"]["payer"])

    async def settle(self, payment: Payment) -> Settled | Refused | Unknown:
        if self.dead:
            raise ConnectionError
        await self._bank.point("settlement asked")
        answer = await self._settled(payment)
        await self._bank.point("settlement answered")
        return answer

    async def _settled(self, payment: Payment) -> Settled | Refused | Unknown:
        if not self._strikes(0.5):
            return self._bank.carry_out(payment)
        what = self._bank.rng.choice(_MISFORTUNES)
        self._bank.journal.fault(f"settlement {what}")
        if what == "lost":
            return Unknown("lost before it came")
        if what == "silent":
            await asyncio.sleep(_SILENCE_SECONDS)
        if what == "late":
            # After the coordinator has given up waiting, and before anything expired.
            await asyncio.sleep(_LATE_SECONDS)
        if what == "refused":
            return Refused("not in the mood")
        if what == "made up":
            return self._bank.lie(payment)
        outcome = self._bank.carry_out(payment)
        if what == "unheard":
            return Unknown("lost after it was done")
        if what == "cut":
            raise ConnectionError
        if what == "denied":
            return Refused("a lie")
        if what == "twice":
            again = self._bank.carry_out(payment)
            return again if self._bank.rng.random() < 0.5 else outcome
        return outcome

    async def healthy(self) -> str | None:
        return "It is ill." if self._strikes(0.3) else None

    async def outcome(self, payment: Payment) -> Settled | NotSettled | StillOpen:
        if self.dead or self._strikes(0.2):
            raise ConnectionError
        await self._bank.point("outcome asked")
        outcome = self._bank.outcome(payment)
        await self._bank.point("outcome answered")
        return outcome

    async def balance(self, payer: str) -> MicroUsd:
        if self._strikes(0.1):
            raise ConnectionError
        return _RICH

    def _strikes(self, share: float) -> bool:
        return self._bank.unlucky and self._bank.rng.random() < share


def payments(line: Line) -> Payments:
    """What a coordinator of the simulation is started with."""
    return Payments(facilitator=line, chain=line, policy=PaymentPolicy(max_unsettled=_RICH, max_losses=_RICH))


def checkout(line: Line, system: System, key: SigningKey) -> Checkout:
    """The edge of that coordinator."""
    offers = Offers(Chain.SOLANA, "operator")
    where = PaidAt(offers.network, offers.facts.asset, offers.pay_to)
    return Checkout(
        offers=offers,
        quotes=Quotes(key, where, system.clock),
        authorizations=PlayAuthorizations(),
        facilitator=line,
        facilitator_at="local",
        health=system.health,
        reader=line,
        store=system.store,
        gate=system.gate,
        clock=system.clock,
        secret=bytes(key),
        fee_bps=500,
    )
