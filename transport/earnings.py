"""``GET /v1/workers/{pubkey}/earnings``: what a worker earned, and what was paid out of it."""

from __future__ import annotations

import re
from typing import Final

from compute_router.actors.messages.stored_earnings import GetEarnings, WorkerEarnings
from compute_router.actors.runtime import ask
from compute_router.actors.system import System
from compute_router.protocol.errors import NotFoundError
from compute_router.protocol.payout_api import EarningsAnswer
from compute_router.protocol.units import MicroUsd
from compute_router.transport.http_types import Answer, Request, json_answer
from compute_router.transport.payouts import shown

_PUBKEY: Final = re.compile(r"[0-9a-f]{64}")
PAYOUTS_SHOWN: Final = 50


class EarningsResource:
    """Open to anybody, as the chain is. A key that earned nothing has zeros, whether it is known or not."""

    def __init__(self, system: System) -> None:
        self._system = system

    async def get(self, request: Request, pubkey: str) -> Answer:
        if not _PUBKEY.fullmatch(pubkey):
            raise NotFoundError("A worker's key is 64 lowercase hex digits.")
        found: WorkerEarnings = await ask(self._system.store, GetEarnings(pubkey, PAYOUTS_SHOWN))
        return json_answer(
            EarningsAnswer(
                provider_pubkey=pubkey,
                payout_address=None if found.address is None else found.address.address,
                earned=found.earned,
                paid_out=found.paid_out,
                pending=MicroUsd(found.earned - found.paid_out),
                under_way=found.under_way,
                payouts=[shown(payout) for payout in found.payouts],
            )
        )
