"""``GET /v1/health``: is the coordinator there and well, and how many workers are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compute_router.actors.messages.worker_registry import CountWorkers
from compute_router.actors.runtime import ask
from compute_router.actors.system import System
from compute_router.protocol.http_api import HealthAnswer, LimitsShown
from compute_router.protocol.units import iso_from_unix_ms
from compute_router.transport.http_types import Answer, Request, json_answer
from compute_router.transport.payments_shown import public_payments

if TYPE_CHECKING:
    from compute_router.transport.payments.checkout import Checkout


class HealthResource:
    """Answers without touching the database."""

    def __init__(self, system: System, limits: LimitsShown, checkout: Checkout | None = None) -> None:
        self._system = system
        self._limits = limits
        self._checkout = checkout

    async def get(self, request: Request, variable: str) -> Answer:
        problems = self._system.health.problems
        return json_answer(
            HealthAnswer(
                status="degraded" if problems else "ok",
                workers_online=await ask(self._system.registry, CountWorkers()),
                network=self._system.network.caip2,
                timestamp=iso_from_unix_ms(self._system.clock.unix_ms()),
                problems=problems,
                notes=self._system.health.notes,
                limits=self._limits,
                payments=public_payments(self._system, self._checkout),
            )
        )
