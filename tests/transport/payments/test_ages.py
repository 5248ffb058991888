"""A payment is planned for the time that its age leaves it, and refused when that is too short."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from compute_router.protocol.networks import Chain
from compute_router.protocol.units import DurationMs
from compute_router.transport.payments.json_rpc import ChainUnreadableError
from tests.transport.payments.till import PRICE, Paid, paid, told


class Ages:
    """Says what it is told to say."""

    def __init__(self, said: int | Exception | None) -> None:
        self.said = said

    async def lives(self, payload: bytes) -> DurationMs | None:
        assert b"transaction" in payload
        if isinstance(self.said, Exception):
            raise self.said
        return None if self.said is None else DurationMs(self.said)


def planned(till: Paid) -> float:
    """Seconds until the payment that was taken ends."""
    ((expires_at,),) = till.router.query("SELECT expires_at_ms FROM payments")
    return float(expires_at) / 1000 - time.time()


@pytest.mark.parametrize(("left", "counted"), [(30_000, 30), (10_000, 10), (59_000, 45), (None, 45)])
async def test_a_payment_ends_when_its_age_says_so_or_as_planned_if_that_is_sooner(
    tmp_path: Path, left: int | None, counted: int
) -> None:
    async with paid(tmp_path, Chain.SOLANA, ages=Ages(left)) as till:
        await till.commit()
        assert counted - 3 <= planned(till) <= counted


@pytest.mark.parametrize("left", [0, 9_999])
async def test_one_that_is_nearly_over_is_refused_and_holds_no_funds(tmp_path: Path, left: int) -> None:
    ages = Ages(left)
    async with paid(tmp_path, Chain.SOLANA, ages=ages, funds=PRICE) as till:
        assert told(await till.post(await till.payment())) == (402, "payment_expired")
        ages.said = 45_000
        await till.commit()


async def test_while_the_age_cannot_be_read_it_is_as_planned(tmp_path: Path) -> None:
    async with paid(tmp_path, Chain.SOLANA, ages=Ages(ChainUnreadableError("no node"))) as till:
        await till.commit()
        assert 42 <= planned(till) <= 45
