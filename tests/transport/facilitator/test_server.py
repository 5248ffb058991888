"""The facilitator among strangers: neither connections nor questions of theirs keep others out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import pytest

from compute_router.protocol.errors import ConfigurationError
from compute_router.protocol.networks import NETWORKS, Chain
from compute_router.protocol.payments import PAYMENT_NETWORKS
from compute_router.transport.facilitator import bounded_server, lane
from compute_router.transport.facilitator.admission import Admission
from compute_router.transport.facilitator.bodies import Question
from compute_router.transport.facilitator.library_side import LibrarySide
from compute_router.transport.facilitator.server import FacilitatorServer
from compute_router.transport.facilitator.settling import Checked, Ended, Settling

PATIENCE_SECONDS = 10.0
ADDRESS = "0x" + "12" * 20
JSON = {"Content-Type": "application/json"}
HALF_A_REQUEST = (
    b"POST /settle HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: 50000\r\n\r\n{"
)


class Side:
    """A chain on which all is well."""

    address = ADDRESS

    def problem(self) -> str | None:
        return None

    def supported(self) -> dict[str, Any]:
        return {"kinds": []}


class Waiting:
    """Settlements that wait until they are let go; verifications that do not."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.let_go = threading.Event()

    def verify(self, question: Question) -> Checked:
        return Checked(True, ADDRESS)

    def settle(self, question: Question) -> Ended:
        self.begun.release()
        assert self.let_go.wait(PATIENCE_SECONDS)
        return Ended(True, "0x" + "34" * 32, question.network, ADDRESS)

    async def has_begun(self, many: int = 1) -> None:
        for _ in range(many):
            assert await asyncio.to_thread(self.begun.acquire, timeout=PATIENCE_SECONDS)


class Scene:
    """A server with room for four connections."""

    def __init__(self, settling: Waiting, port: int) -> None:
        self.settling = settling
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    async def health(self) -> int:
        async with httpx.AsyncClient(timeout=PATIENCE_SECONDS, trust_env=False) as client:
            return (await client.get(self.url + "/health")).status_code

    async def post(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(timeout=PATIENCE_SECONDS, trust_env=False) as client:
            return await client.post(self.url + path, content=body(), headers=JSON)

    @asynccontextmanager
    async def half_a_request(self) -> AsyncIterator[asyncio.StreamReader]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(HALF_A_REQUEST)
        await writer.drain()
        try:
            yield reader
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@asynccontextmanager
async def listening() -> AsyncIterator[Scene]:
    settling = Waiting()
    facilitator = FacilitatorServer(
        Chain.MONAD,
        cast(LibrarySide, Side()),
        cast(Settling, settling),
        Admission(Chain.MONAD),
        connections=4,
    )
    port = facilitator.listen("127.0.0.1", 0)
    try:
        yield Scene(settling, port)
    finally:
        settling.let_go.set()
        await facilitator.stop()


def body() -> bytes:
    wanted = {
        "scheme": "exact",
        "network": NETWORKS[Chain.MONAD].caip2,
        "asset": PAYMENT_NETWORKS[Chain.MONAD].asset,
        "amount": "1000",
        "payTo": ADDRESS,
        "maxTimeoutSeconds": 60,
    }
    authorization = {"from": ADDRESS, "to": ADDRESS, "value": "1000", "validAfter": "0", "validBefore": "9"}
    inner = {"authorization": {**authorization, "nonce": "0x" + "00" * 32}, "signature": "0x00"}
    payload = {"x402Version": 2, "payload": inner, "accepted": wanted}
    return json.dumps({"paymentPayload": payload, "paymentRequirements": wanted}).encode()


async def test_of_too_many_connections_the_one_that_has_sent_half_a_request_for_longest_is_closed() -> None:
    async with listening() as scene, contextlib.AsyncExitStack() as stack:
        held = [await stack.enter_async_context(scene.half_a_request()) for _ in range(4)]
        assert await scene.health() == 200
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await held[0].read() == b""
        assert not held[3].at_eof()


async def test_hundreds_of_unfinished_requests_keep_nobody_out() -> None:
    async with listening() as scene, contextlib.AsyncExitStack() as stack:
        for number in range(300):
            await stack.enter_async_context(scene.half_a_request())
            if number % 50 == 0:
                assert await scene.health() == 200
        assert await scene.health() == 200


async def test_a_connection_that_waits_for_its_answer_is_never_closed_for_another() -> None:
    async with listening() as scene, contextlib.AsyncExitStack() as stack:
        settled = asyncio.create_task(scene.post("/settle"))
        await scene.settling.has_begun()
        for _ in range(10):
            await stack.enter_async_context(scene.half_a_request())
        assert await scene.health() == 200
        scene.settling.let_go.set()
        assert (await settled).json()["success"]


async def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_server, "_BODY_SECONDS", 0.05)
    async with listening() as scene, scene.half_a_request() as held, asyncio.timeout(PATIENCE_SECONDS):
        await held.read()
        assert held.at_eof()


async def test_a_head_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_server, "_IDLE_SECONDS", 0.05)
    async with listening() as scene, asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", scene.port)
        writer.write(b"GET /health HT")
        await reader.read()
        assert reader.at_eof()
        writer.close()


async def test_as_many_settlements_as_it_takes_keep_no_verification_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lane, "_MOST_WAITING", 2)
    async with listening() as scene:
        settled = [asyncio.create_task(scene.post("/settle")) for _ in range(2)]
        await scene.settling.has_begun(2)
        refused = await scene.post("/settle")
        assert (refused.status_code, refused.json()["error"]) == (503, "busy")
        assert (await scene.post("/verify")).json() == {"isValid": True, "payer": ADDRESS}
        scene.settling.let_go.set()
        assert all(answer.json()["success"] for answer in await asyncio.gather(*settled))


@pytest.mark.parametrize("host", ["no such host", "a" * 70 + ".example"])
def test_a_name_that_cannot_be_listened_on_is_told_in_a_sentence(host: str) -> None:
    facilitator = FacilitatorServer(
        Chain.MONAD, cast(LibrarySide, Side()), cast(Settling, Waiting()), Admission(Chain.MONAD)
    )
    with pytest.raises(ConfigurationError, match="Cannot listen on"):
        facilitator.listen(host, 0)
