"""A book of payouts on a real database, a play chain, and a fuse that ends a run at any point."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from compute_router.actors.clock import Clock
from compute_router.actors.messages.base import Message
from compute_router.actors.messages.job_store import InsertJob, RecordAssigned, RecordCompletion
from compute_router.actors.messages.stored_earnings import (
    GetEarnings,
    ListPayable,
    LoadOpenPayouts,
    PutPayoutAddress,
    RecordPayout,
    RecordPayouts,
)
from compute_router.actors.store_requests import handle
from compute_router.protocol.errors import UnavailableError
from compute_router.protocol.payments import NotSettled, PayoutAddress, Refused, Settled, StillOpen
from compute_router.protocol.payout_api import OpenPayout, PayableShown, PayoutPlan, PayoutStepRequest
from compute_router.protocol.payout_state import PayoutState
from compute_router.protocol.units import DurationMs, MicroUsd, UnixMs
from compute_router.storage.interface import Store
from compute_router.storage.sqlite_store import open_sqlite_store
from compute_router.transport.payer.ports import Prepared
from compute_router.transport.payouts import opened
from tests.actors.samples import NOON, a_job, completion
from tests.fakes.clock import FakeClock
from tests.storage.money_samples import a_payment


class Killed(BaseException):
    """The process ends here; nothing catches this, as nothing catches a kill."""


class Fuse:
    """Counts the points at which a run can end, and ends it at one of them; 0: never."""

    def __init__(self, at: int = 0) -> None:
        self._left = at
        self.blown = False

    def point(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.blown = True
            raise Killed


class Earned:
    """A coordinator's database in which workers earned something. Survives every run."""

    def __init__(self, directory: Path, network: str = "eip155:10143") -> None:
        self.network = network
        self.clock: Clock = FakeClock()
        self.store: Store = open_sqlite_store(directory / "coordinator.db")
        self._jobs = 0

    def do(self, request: Message) -> Any:
        """One request to the JobStore, in a transaction of its own."""
        with self.store.transaction():
            return handle(self.store, self.clock, request)

    def earn(self, pubkey: str, amount: int) -> None:
        """A paid job without a fee."""
        self._jobs += 1
        for request in paid_job(f"job-{self._jobs}", pubkey, amount):
            self.do(request)

    def name(self, pubkey: str, address: str) -> None:
        """A worker names where its earnings go."""
        self.clock.advance(1)  # type: ignore[attr-defined]
        self.do(PutPayoutAddress(PayoutAddress(pubkey, address, self.clock.unix_ms())))

    def paid_out(self, pubkey: str) -> tuple[int, int, int]:
        """Earned, paid out and under way, as the ledger says."""
        earnings = self.do(GetEarnings(pubkey, 50))
        return earnings.earned, earnings.paid_out, earnings.under_way


def paid_job(job_id: str, pubkey: str, amount: int) -> list[Message]:
    """What the JobStore hears of a job that a worker completed for this amount."""
    payment = a_payment(
        f"pay-{job_id}", amount=MicroUsd(amount), fee=MicroUsd(0), expires_at=UnixMs(NOON + 1)
    )
    return [
        InsertJob(a_job(job_id), payment=msgspec.structs.replace(payment, credit_token_hash=job_id)),
        RecordAssigned(job_id, 1, pubkey, DurationMs(20_000)),
        RecordCompletion(5, pubkey, 1, completion(job_id)),
    ]


class StoreBook:
    """The coordinator's answers without HTTP. A run may end before each step, and after it is durable."""

    def __init__(self, earned: Earned, fuse: Fuse | None = None) -> None:
        self._earned = earned
        self._fuse = fuse or Fuse()

    async def plan(self, threshold: MicroUsd, limit: int) -> PayoutPlan:
        await asyncio.sleep(0)  # another run may come between
        payable = self._earned.do(ListPayable(threshold, limit))
        return PayoutPlan(
            network=self._earned.network,
            payable=[
                PayableShown(provider_pubkey=p.pubkey, address=p.address, amount=p.amount) for p in payable
            ],
            open=[opened(payout) for payout in self._earned.do(LoadOpenPayouts())],
        )

    async def record(self, threshold: MicroUsd, limit: int) -> None:
        self._fuse.point()
        self._earned.do(RecordPayouts(threshold, limit))
        self._fuse.point()

    async def step(self, payout_id: str, taken: PayoutStepRequest) -> bool:
        await asyncio.sleep(0)
        self._fuse.point()
        moved = self._earned.do(RecordPayout(payout_id, **msgspec.structs.asdict(taken)))
        self._fuse.point()
        return moved is not None


class PlayChain:
    """Lands each signed transfer once, and only while it is not too old. Survives every run.

    ``fails`` transfers are over when they come into a block; of ``reverts`` only the transaction is.
    """

    def __init__(self) -> None:
        self.height = 0
        self.signed = 0
        self.landed: dict[str, tuple[str, int]] = {}
        self.failed: set[str] = set()
        self.reverted: set[str] = set()
        self.paid: Counter[str] = Counter()
        self.times: Counter[str] = Counter()
        self.waiting: dict[str, tuple[str, int, int]] = {}
        self.drops = 0
        self.loses_answers = 0
        self.fails = 0
        self.reverts = 0
        self.broken_reads = 0

    def take(self, ref: str, address: str, amount: int, last_height: int) -> None:
        """A transfer reaches the chain's nodes."""
        if self.drops > 0:
            self.drops -= 1
            return
        self.waiting[ref] = (address, amount, last_height)

    def block(self) -> None:
        """A block: what waits and is not too old lands, once."""
        self.height += 1
        for ref, (address, amount, last_height) in self.waiting.items():
            if self.height <= last_height and not self.is_over(ref):
                if self.fails > 0:
                    self.fails -= 1
                    self.failed.add(ref)
                    continue
                if self.reverts > 0:
                    self.reverts -= 1
                    self.reverted.add(ref)
                    continue
                self.landed[ref] = (address, amount)
                self.paid[address] += amount
                self.times[address] += 1
        self.waiting.clear()

    def is_over(self, ref: str) -> bool:
        """Whether a transaction was in a block. After that it does nothing more."""
        return ref in self.landed or ref in self.failed or ref in self.reverted


class PlayPurse:
    """Signs on a play chain where only the rule of the payer keeps a transfer from being made twice."""

    LIVES = 3

    def __init__(self, chain: PlayChain, fuse: Fuse | None = None, funds: int = 10**9) -> None:
        self.chain = chain
        self._fuse = fuse or Fuse()
        self._funds = funds
        self.refuses: set[str] = set()

    address = "purse"

    async def check(self) -> None:
        self._fuse.point()

    async def funds(self) -> MicroUsd:
        return MicroUsd(self._funds)

    async def prepare(self, payout: OpenPayout, opened: Sequence[OpenPayout]) -> Prepared | Refused:
        assert payout.state is PayoutState.RECORDED
        self._fuse.point()
        if payout.address in self.refuses:
            return Refused("the token would not transfer it")
        await asyncio.sleep(0)
        self.chain.signed += 1
        ref = f"ref-{self.chain.signed}"
        data = msgspec.json.encode((ref, payout.address, payout.amount, self.chain.height + self.LIVES))
        return Prepared(data.decode(), ref)

    async def send(self, transaction_data: str) -> None:
        self._fuse.point()
        ref, address, amount, last = msgspec.json.decode(transaction_data)
        self.chain.take(ref, address, amount, last)
        self._fuse.point()
        if self.chain.loses_answers > 0:
            self.chain.loses_answers -= 1
            raise UnavailableError("The node gave no answer.")

    async def renew(self, payout: OpenPayout, opened: Sequence[OpenPayout]) -> Prepared | None:
        assert payout.transaction_data is not None
        ref, address, amount, last = msgspec.json.decode(payout.transaction_data)
        if ref not in self.chain.reverted:
            return None
        self._fuse.point()
        await asyncio.sleep(0)
        self.chain.signed += 1
        ref = f"ref-{self.chain.signed}"
        return Prepared(msgspec.json.encode((ref, address, amount, last)).decode(), ref)

    async def outcome(self, payout: OpenPayout) -> Settled | NotSettled | StillOpen:
        assert payout.transaction_data is not None
        if self.chain.broken_reads > 0:
            self.chain.broken_reads -= 1
            raise UnavailableError("The node cannot be read.")
        ref, _, _, last = msgspec.json.decode(payout.transaction_data)
        if ref in self.chain.landed:
            return Settled(ref)
        if ref in self.chain.failed:
            return NotSettled("transaction_failed")
        return NotSettled("expired") if self.chain.height > last else StillOpen()

    async def pause(self) -> None:
        """Time passes: a block."""
        self._fuse.point()
        self.chain.block()
