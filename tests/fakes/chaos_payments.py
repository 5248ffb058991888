"""What makes the coordinator of the fault injection one that is paid: short times, and points to die at."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final
from unittest import mock

import msgspec

from compute_router.actors.clock import SteadyMs
from compute_router.actors.payment_policy import PaymentPolicy
from compute_router.protocol.networks import Chain
from compute_router.protocol.payments import PAYMENT_NETWORKS
from compute_router.protocol.units import DurationMs

HURRIED: Final = partial(
    PaymentPolicy,
    early=DurationMs(1_500),
    settle_timeout=DurationMs(800),
    read_timeout=DurationMs(800),
    retry_backoff=DurationMs(50),
    max_backoff=DurationMs(400),
    max_nap=DurationMs(500),
)
SOLANA_LIVES: Final = DurationMs(4_000)
"""The chain of the fault injection is as much faster than a real one."""

_SURELY_OVER: Final = DurationMs(300)


class Pointed:
    """Stands before a port; the process dies at the n-th passing of a point."""

    def __init__(self, port: Any, names: dict[str, str], pass_point: Callable[[str], None]) -> None:
        self._port = port
        self._names = names
        self._pass = pass_point

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        what = self._names.get(name)
        if what is None:
            return found

        async def pointed(*arguments: Any) -> Any:
            self._pass(f"{what} asked")
            answer = await found(*arguments)
            self._pass(f"{what} answered")
            return answer

        return pointed


@contextlib.contextmanager
def hurried_payments(point: str | None, countdown: int) -> Iterator[None]:
    """While this lasts, a coordinator with payments is quick, and kills itself at a point of its talks."""
    # Imported late: coordinators without payments load none of this.
    from compute_router.transport.payments import chain_readers, opening
    from compute_router.transport.payments.remote_facilitator import Patience, RemoteFacilitator
    from compute_router.transport.payments.solana_chain_reader import SolanaChainReader

    left = countdown
    open_reader = chain_readers.open_chain_reader

    def pass_point(name: str) -> None:
        nonlocal left
        if name == point:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def facilitator(
        url: str, chain: Chain, now: Callable[[], SteadyMs], patience: Patience, **options: Any
    ) -> Any:
        patience = msgspec.structs.replace(patience, verify=1.0, supported=1.0, tries=2, pause=0.05)
        names = {"verify": "verification", "settle": "settlement"}
        return Pointed(RemoteFacilitator(url, chain, now, patience, **options), names, pass_point)

    def reader(*arguments: Any, **options: Any) -> Any:
        opened = open_reader(*arguments, **options)
        if isinstance(opened, SolanaChainReader):
            opened._surely_over = _SURELY_OVER
        return Pointed(opened, {"outcome": "outcome"}, pass_point)

    solana = msgspec.structs.replace(PAYMENT_NETWORKS[Chain.SOLANA], authorization_lives=SOLANA_LIVES)
    with (
        mock.patch.object(opening, "PaymentPolicy", HURRIED),
        mock.patch.object(opening, "RemoteFacilitator", facilitator),
        mock.patch.object(opening, "open_chain_reader", reader),
        mock.patch.dict(PAYMENT_NETWORKS, {Chain.SOLANA: solana}),
    ):
        yield
