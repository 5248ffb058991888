"""Settlements and commits leave a facilitator alone for the same answers: for those that are none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from compute_router.actors.clock import SystemClock
from compute_router.protocol.errors import PaymentsUnavailableError
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payments import Settled
from compute_router.transport.payments.remote_facilitator import Patience, RemoteFacilitator
from tests.fakes.facilitator_server import PlayChain, facilitator_server
from tests.fakes.paying import Shop
from tests.transport.payments.test_patience import a_settling_payment

PROMPT = Patience(settle=0.3, tries=1)


def says(status: int = 200, **fields: Any) -> tuple[int, bytes]:
    whole = {"success": False, "transaction": "", "network": NETWORKS[Chain.MONAD].caip2} | fields
    return status, json.dumps(whole).encode()


ANSWERS = [
    says(errorReason="transaction_failed", transaction="0x" + "1" * 64),
    says(errorReason="transaction_failed"),
    says(errorReason="settlement_pending", transaction="0x" + "1" * 64),
    says(errorReason="insufficient_funds"),
    says(errorReason="<script>"),
    says(400, errorReason="invalid_exact_evm_transaction_simulation_failed"),
    says(success=True, transaction="nonsense"),
    says(success=True, transaction="0x" + "1" * 64, network="eip155:1"),
]
SILENCES = [
    None,
    (200, b"<html>"),
    (200, b"{}"),
    (401, b'{"error": "unauthorized"}'),
    (503, b'{"error": "busy"}'),
    says(500, errorReason="insufficient_funds"),
    says(429, errorReason="transaction_failed"),
    says(500, success=True, transaction="0x" + "1" * 64),
    says(202, success=True, transaction="0x" + "1" * 64),
]


async def who_counts_it(fault: Any) -> tuple[bool, bool]:
    """Whether the edge and the gate leave a facilitator alone that answered three settlements so; None: it
    was down.
    """
    shop = Shop()
    for number in range(3):
        shop.commit(f"job-{number}")
        shop.complete(f"job-{number}")
    shop.settle_down()
    async with facilitator_server(PlayChain(Chain.MONAD)) as server:
        if fault is None:
            await server.stop()
        else:
            server.faults["/settle"] = lambda asked: fault
        remote = RemoteFacilitator(server.url, Chain.MONAD, SystemClock().steady_ms, PROMPT)
        for number in range(3):
            answer = await remote.settle(a_settling_payment(f"job-{number}"))
            assert not isinstance(answer, Settled)
            shop.facilitator_says(answer)
        try:
            remote.check_available()
            at_the_edge = False
        except PaymentsUnavailableError:
            at_the_edge = True
        await remote.close()
    return at_the_edge, shop.problem is not None


@pytest.mark.parametrize("fault", ANSWERS, ids=lambda fault: str(fault)[:60])
async def test_a_clear_answer_is_no_silence_for_either(fault: Any) -> None:
    assert await who_counts_it(fault) == (False, False)


@pytest.mark.parametrize("fault", SILENCES, ids=lambda fault: str(fault)[:60])
async def test_what_is_no_answer_is_silence_for_both(fault: Any) -> None:
    assert await who_counts_it(fault) == (True, True)
