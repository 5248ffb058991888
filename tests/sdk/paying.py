"""A coordinator that asks for money, and clients with wallets that pay it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from compute_router.protocol.networks import Chain
from compute_router.sdk import ClassificationResult, ComputeRouter
from tests.fakes.http_coordinator import FakeCoordinator, LostAnswer, completed
from tests.fakes.till import FakeTill, paid_answer

OUTPUT = b'{"sentiment":"positive","confidence":0.9}'
BROKEN = LostAnswer(httpx.ReadError("reset"))
both_chains = pytest.mark.parametrize("chain", list(Chain), ids=lambda chain: chain.value)


def shop(chain: Chain = Chain.MONAD, **till: Any) -> tuple[FakeCoordinator, FakeTill]:
    """A coordinator that is paid and does its jobs."""
    taker = FakeTill(chain, **till)
    done = paid_answer(completed(OUTPUT), chain=chain)
    return FakeCoordinator(about_job=[done], chain=chain, till=taker), taker


def classify(router: ComputeRouter, **options: Any) -> ClassificationResult:
    result: ClassificationResult = router.run_task("classify", "A wonderful phone.", **options)
    return result


def sent(coordinator: FakeCoordinator) -> list[str]:
    """How each commit was paid for, in order."""
    names = {"payment-signature": "payment", "payment-credit": "credit"}
    return [
        next((name for header, name in names.items() if header in each.headers), "nothing")
        for each in coordinator.committed
    ]
