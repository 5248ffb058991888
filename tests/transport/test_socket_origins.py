"""Which web pages may open the workers' WebSocket."""

from __future__ import annotations

from pathlib import Path

import pytest

from compute_router.transport.socket_origins import SocketOrigins
from tests.transport.harness import coordinator
from tests.transport.raw_http import connect, request
from tests.transport.raw_websocket import RawWebSocket

PAGE = "https://app.example"
HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec_WebSocket_Version": "13",
}


@pytest.mark.parametrize("host", [None, "127.0.0.1:4020", "coordinator.example"])
def test_programs_send_no_origin_and_are_let_in(host: str | None) -> None:
    assert SocketOrigins().allow(None, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:4020", "127.0.0.1:4020"),
        ("http://192.0.2.7", "192.0.2.7"),
        ("http://[2001:db8::1]:4020", "[2001:db8::1]:4020"),
        ("http://localhost:4020", "localhost:4020"),
        ("HTTP://LocalHost:4020", "localhost:4020"),
    ],
)
def test_phones_that_name_the_address_they_connect_to_are_let_in(origin: str, host: str) -> None:
    assert SocketOrigins().allow(origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (PAGE, "127.0.0.1:4020"),
        ("http://127.0.0.1:8000", "127.0.0.1:4020"),
        ("http://127.0.0.1:4020", None),
        ("http://127.0.0.1:4020", "127.0.0.1"),
        ("http://127.0.0.1:4020.evil.example", "127.0.0.1:4020"),
        ("http://evil.example@127.0.0.1:4020", "127.0.0.1:4020"),
        ("file://127.0.0.1:4020", "127.0.0.1:4020"),
        ("null", "127.0.0.1:4020"),
        ("null", "null"),
        ("", ""),
        ("http://", ""),
        ("http://[::1", "[::1"),
        ("127.0.0.1:4020", "127.0.0.1:4020"),
    ],
)
def test_every_other_origin_is_refused(origin: str, host: str | None) -> None:
    assert not SocketOrigins().allow(origin, host)


def test_a_page_whose_name_was_pointed_at_this_machine_is_refused() -> None:
    assert not SocketOrigins().allow("http://evil.example:4020", "evil.example:4020")


def test_named_origins_are_let_in_and_no_others() -> None:
    origins = SocketOrigins((PAGE,))
    assert origins.allow(PAGE, "coordinator.example")
    assert origins.allow(PAGE.upper(), "coordinator.example")
    assert not origins.allow(PAGE + ".evil.example", "coordinator.example")
    assert not origins.allow("http://app.example", "coordinator.example")
    assert not origins.allow(f"{PAGE}, https://evil.example", "coordinator.example")


def test_a_star_lets_every_page_in() -> None:
    assert SocketOrigins(("*",)).allow("https://evil.example", None)


async def test_a_named_page_gets_a_socket_and_another_is_told_why_not(tmp_path: Path) -> None:
    async with coordinator(tmp_path, ws_origins=(PAGE,)) as router:
        socket = await RawWebSocket.open(router.port, {"Origin": PAGE, "Sec-Fetch-Site": "cross-site"})
        socket.abort()
        async with connect(router.port) as connection:
            connection.send(request("GET", "/", **HANDSHAKE, Origin="https://evil.example"))
            answer = await connection.answer()
        assert (answer.status, answer.json()["error"]) == (403, "forbidden_origin")
        assert "--ws-origins" in answer.json()["message"]


async def test_a_rebound_page_gets_no_socket(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, connect(router.port) as connection:
        fields = HANDSHAKE | {"Host": "evil.example:4020", "Sec_Fetch_Site": "same-origin"}
        connection.send(request("GET", "/", **fields, Origin="http://evil.example:4020"))
        answer = await connection.answer()
        assert (answer.status, answer.json()["error"]) == (403, "forbidden_origin")
        assert await router.workers_online() == 0
