"""Clients that talk to a fake coordinator on its fake clock."""

from __future__ import annotations

from typing import Any, TypeVar

from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.sdk import AsyncComputeRouter, ComputeRouter, Fallback
from compute_router.sdk.rhythm import LONGEST_WAIT_S
from tests.fakes.http_coordinator import FALLBACK_HOST, FakeCoordinator

R = TypeVar("R", ComputeRouter, AsyncComputeRouter)

URL = "http://coordinator.example"
FALLBACK = Fallback(f"https://{FALLBACK_HOST}/v1", "secret-key", "hosted-model")


def longest() -> float:
    """Jitter that always gives the longest pause, so that tests can count on it."""
    return 1.0


def blocking(
    coordinator: FakeCoordinator,
    *,
    user_id: str | None = "alice",
    require_verified: bool = False,
    fallback: Fallback | None = None,
    longest_wait_s: int = LONGEST_WAIT_S,
    **options: Any,
) -> ComputeRouter:
    return ComputeRouter(
        URL,
        user_id=user_id,
        require_verified=require_verified,
        fallback=fallback,
        longest_wait_s=longest_wait_s,
        transport=coordinator.transport(),
        clock=coordinator.clock,
        jitter=longest,
        sleep=coordinator.clock.sleep,
        **options,
    )


def asynchronous(
    coordinator: FakeCoordinator,
    *,
    user_id: str | None = "alice",
    fallback: Fallback | None = None,
    **options: Any,
) -> AsyncComputeRouter:
    return AsyncComputeRouter(
        URL,
        user_id=user_id,
        fallback=fallback,
        transport=coordinator.transport(),
        clock=coordinator.clock,
        jitter=longest,
        sleep=coordinator.clock.sleep_async,
        **options,
    )


class Pinned:
    """Keys that alice pinned on Solana."""

    def __init__(self, pubkeys: tuple[str, ...]) -> None:
        self._pubkeys = pubkeys

    def pinned(self, network: str, user_id: str) -> tuple[str, ...]:
        return self._pubkeys if (network, user_id) == (NETWORKS[Chain.SOLANA].caip2, "alice") else ()


def pinning(router: R, *pubkeys: str) -> R:
    """A client whose user pinned these workers."""
    router._core._pins = Pinned(pubkeys)
    return router
