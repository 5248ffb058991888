"""The operator's program that pays workers, in the simulation: its real steps, ended at any of them."""

from __future__ import annotations

import asyncio
import random
from typing import Final

import msgspec

from compute_router.protocol.api_keys import KeyScope, hash_api_key, key_id_of
from compute_router.protocol.errors import ComputeRouterError
from compute_router.protocol.payout_api import PayoutBatchRequest, PayoutPlan, PayoutStepRequest
from compute_router.protocol.units import MicroUsd, UnixMs
from compute_router.storage.interface import ApiKey
from compute_router.transport.http_types import Answer
from compute_router.transport.payer.coordinator_book import BookError
from compute_router.transport.payer.paying import PayoutRun, Report
from tests.chaos.journal import Journal
from tests.chaos.sim_seeker import Ask
from tests.fakes.payouts import Fuse, Killed, PlayChain, PlayPurse

ADMIN: Final = f"crk_{'a' * 12}_{'A' * 43}"
_MOST_POINTS: Final = 40
_ROUNDS: Final = 5

ADMIN_KEY: Final = ApiKey(
    key_id=str(key_id_of(ADMIN)),
    key_hash=hash_api_key(ADMIN),
    name="payouts",
    scope=KeyScope.ADMIN,
    user_id=None,
    jobs_per_minute=None,
    jobs_at_once=None,
    jobs_per_day=None,
    created_at=UnixMs(0),
)
"""What the coordinator of the simulation knows of the operator's key."""


class AskedBook:
    """The coordinator's book of payouts, asked by the simulation's way to the coordinator."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def plan(self, threshold: MicroUsd, limit: int) -> PayoutPlan:
        answer = await self._call("GET", f"/v1/payouts?threshold={threshold}&limit={limit}")
        return msgspec.json.decode(answer.body, type=PayoutPlan)

    async def record(self, threshold: MicroUsd, limit: int) -> None:
        await self._call("POST", "/v1/payouts", PayoutBatchRequest(threshold, limit))

    async def step(self, payout_id: str, taken: PayoutStepRequest) -> bool:
        answer = await self._call("POST", f"/v1/payouts/{payout_id}", taken)
        return answer.status != 409

    async def _call(self, method: str, target: str, body: msgspec.Struct | None = None) -> Answer:
        sent = b"" if body is None else msgspec.json.encode(body)
        try:
            answer = await self._ask(method, target, {"Authorization": f"Bearer {ADMIN}"}, sent)
        except ConnectionError:
            raise BookError("The coordinator cannot be asked.") from None
        if answer.status >= 400 and answer.status != 409:
            raise BookError(f"The coordinator answered {answer.status}.")
        return answer


class _SlowPurse(PlayPurse):
    async def pause(self) -> None:
        await asyncio.sleep(1)
        await super().pause()


class SimPayer:
    """Runs the program now and then, sometimes twice at once; many runs are killed at some point."""

    def __init__(self, ask: Ask, rng: random.Random, journal: Journal, chain: PlayChain) -> None:
        self._ask = ask
        self._rng = rng
        self._journal = journal
        self._chain = chain
        self.calm = False

    async def live(self) -> None:
        """Pay until the calm."""
        while not self.calm:
            await asyncio.sleep(self._rng.choice([5, 20, 60]))
            self._spoil_the_chain()
            await asyncio.gather(*(self.run() for _ in range(self._rng.choice([1, 1, 2]))))

    async def run(self) -> Report | None:
        """One run of the program; None if it was killed or could not go on."""
        doomed = not self.calm and self._rng.random() < 0.6
        fuse = Fuse(self._rng.randint(1, _MOST_POINTS) if doomed else 0)
        purse = _SlowPurse(self._chain, fuse)
        self._journal.deals["runs of payout"] += 1
        try:
            return await PayoutRun(AskedBook(self._ask), purse, MicroUsd(1), 10).pay(_ROUNDS, purse.pause)
        except Killed:
            self._journal.fault("kill payout")
        except ComputeRouterError as error:
            self._journal.note(f"the payout program gave up: {error}")
        return None

    def _spoil_the_chain(self) -> None:
        what = self._rng.choice(["", "drops", "loses_answers", "fails", "reverts", "broken_reads"])
        if what and not self.calm:
            self._journal.fault(f"payout chain {what}")
            setattr(self._chain, what, getattr(self._chain, what) + 1)
