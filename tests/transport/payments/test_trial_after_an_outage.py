"""After an outage one call tries whether the facilitator is back. Whatever becomes of it, it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from compute_router.protocol.errors import PaymentsUnavailableError
from compute_router.protocol.networks import Chain
from compute_router.protocol.payments import Verified
from compute_router.transport.payments.remote_facilitator import Patience, RemoteFacilitator
from tests.fakes.clock import FakeClock
from tests.fakes.facilitator_server import FacilitatorServer, PlayChain, facilitator_server

GOOD, UNCHECKABLE = b'{"of":"somebody"}', b'{"of":"nobody"}'
PATIENCE = Patience(verify=5, supported=5, tries=2, pause=0.001)
IS_GOOD = (200, b'{"isValid":true,"payer":"0x1111111111111111111111111111111111111111"}')


def verify(question: dict[str, Any]) -> tuple[int, bytes]:
    """It checks all payments but one."""
    return IS_GOOD if question["paymentPayload"]["of"] == "somebody" else (503, b"{}")


class Back:
    """A facilitator that was down, is back, and nobody has asked it since."""

    def __init__(self, server: FacilitatorServer) -> None:
        self.server = server
        self.clock = FakeClock()
        self.remote = RemoteFacilitator(server.url, Chain.MONAD, self.clock.steady_ms, PATIENCE)

    async def was_down(self) -> None:
        await self.server.stop()
        assert await self.remote.healthy() is not None
        await self.server.start()
        self.server.faults["/verify"] = verify
        self.pass_pause()

    def pass_pause(self) -> None:
        """Until somebody may be asked about."""
        while True:
            try:
                return self.remote.check_available()
            except PaymentsUnavailableError:
                self.clock.advance(500)

    async def is_taken(self, payment: bytes) -> bool:
        try:
            return isinstance(await self.remote.verify(payment, b"{}"), Verified)
        except PaymentsUnavailableError:
            return False


@asynccontextmanager
async def back() -> AsyncIterator[Back]:
    async with facilitator_server(PlayChain(Chain.MONAD)) as server:
        scene = Back(server)
        try:
            await scene.was_down()
            yield scene
        finally:
            await scene.remote.close()


async def test_a_payment_that_cannot_be_checked_does_not_keep_those_of_others_waiting() -> None:
    async with back() as scene:
        assert not await scene.is_taken(UNCHECKABLE)
        assert await scene.is_taken(GOOD)


async def test_a_trial_that_shows_that_nobody_is_answered_begins_a_longer_pause() -> None:
    async with back() as scene:
        scene.server.faults["/supported"] = (503, b"{}")
        assert not await scene.is_taken(UNCHECKABLE)
        assert not await scene.is_taken(GOOD)
        assert scene.server.count("/verify") == 1
        scene.server.faults.pop("/supported")
        scene.pass_pause()
        assert await scene.is_taken(GOOD)


async def test_a_trial_that_is_broken_off_leaves_its_turn_to_the_next_one() -> None:
    async with back() as scene:
        trial = asyncio.ensure_future(scene.remote.verify(GOOD, b"{}"))

        def hang_up(question: dict[str, Any]) -> tuple[int, bytes]:
            trial.cancel()
            return IS_GOOD

        scene.server.faults["/verify"] = hang_up
        with pytest.raises(asyncio.CancelledError):
            await trial
        scene.server.faults["/verify"] = verify
        assert await scene.is_taken(GOOD)
