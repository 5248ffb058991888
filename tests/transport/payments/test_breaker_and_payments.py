"""What a facilitator cannot check about one payment is no reason to refuse those of others."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from compute_router.protocol.networks import Chain
from tests.fakes.facilitator_server import CUT, SILENT
from tests.transport.payments.till import Paid, both_chains, paid, told

REFUSED_FOR_NOW = (503, "payments_unavailable")


def fails_for(till: Paid, bad: dict[str, str], fault: Any) -> list[str]:
    """Let the facilitator fail whenever it is asked about one payment; counts these questions."""
    asked: list[str] = []
    payload = json.loads(base64.b64decode(next(iter(bad.values()))))["payload"]

    def verify(question: dict[str, Any]) -> tuple[int, bytes]:
        if question["paymentPayload"]["payload"] == payload:
            asked.append("bad")
            status, body = fault
            return int(status), bytes(body)
        return 200, json.dumps(till.facilitator.truth("/verify", question)).encode()

    till.facilitator.faults["/verify"] = verify
    return asked


@both_chains
@pytest.mark.parametrize("fault", [(503, b"{}"), (500, b"{}"), (200, b"[]"), (400, b"{}")], ids=str)
async def test_a_payment_that_cannot_be_checked_is_refused_alone_and_is_asked_about_once(
    tmp_path: Path, chain: Chain, fault: tuple[int, bytes]
) -> None:
    async with paid(tmp_path, chain) as till:
        bad = await till.payment()
        asked = fails_for(till, bad, fault)
        for tries in range(1, 8):
            assert told(await till.post(bad)) == REFUSED_FOR_NOW
            assert len(asked) == tries
            await till.commit()


@both_chains
async def test_when_others_get_no_answer_either_all_wait(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till:
        headers = await till.payment()
        till.facilitator.faults |= {"/verify": (503, b"{}"), "/supported": (503, b"{}")}
        for _ in range(3):
            assert told(await till.post(headers)) == REFUSED_FOR_NOW
        asked = len(till.facilitator.asked)
        assert told(await till.post(headers)) == REFUSED_FOR_NOW
        assert len(till.facilitator.asked) == asked


@both_chains
async def test_a_facilitator_that_is_asked_too_much_is_left_in_peace(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till:
        headers = await till.payment()
        till.facilitator.faults["/verify"] = (429, b"")
        for _ in range(3):
            assert told(await till.post(headers)) == REFUSED_FOR_NOW
        asked = len(till.facilitator.asked)
        assert told(await till.post(headers)) == REFUSED_FOR_NOW
        assert len(till.facilitator.asked) == asked


@both_chains
async def test_a_check_that_takes_too_long_is_not_asked_for_again(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till:
        headers = await till.payment()
        till.facilitator.faults["/verify"] = SILENT
        assert told(await till.post(headers)) == REFUSED_FOR_NOW
        assert till.facilitator.count("/verify") == 1


@both_chains
async def test_whether_others_get_an_answer_is_asked_once_for_many(tmp_path: Path, chain: Chain) -> None:
    async with paid(tmp_path, chain) as till:
        payments = [await till.payment() for _ in range(8)]
        asked = till.facilitator.count("/supported")
        till.facilitator.faults["/verify"] = CUT
        answers = await asyncio.gather(*map(till.post, payments))
        assert {told(answer) for answer in answers} == {REFUSED_FOR_NOW}
        assert till.facilitator.count("/supported") == asked + 1
        till.facilitator.faults.clear()
        await till.commit()
