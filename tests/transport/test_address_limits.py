"""How much one address may open and send. Here the addresses of this machine stand for other machines'."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from compute_router.actors.clock import SteadyMs
from compute_router.transport import limits
from compute_router.transport.limits import AddressGuard, AddressLimits, RateLimit, is_limited
from tests.fakes.clock import FakeClock
from tests.transport.harness import coordinator
from tests.transport.raw_http import RawConnection, connect, request
from tests.transport.worker_client import worker

HERE, THERE = "203.0.113.7", "2001:db8::7"
HEALTH = request("GET", "/v1/health")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1", "", "/run/router.sock"])
def test_the_machine_itself_is_not_limited(address: str) -> None:
    assert not is_limited(address)
    guard = AddressGuard(AddressLimits(connections=1, messages_per_second=1), FakeClock().steady_ms)
    assert all(guard.opened(address) and guard.may_send(address) for _ in range(100))


@pytest.mark.parametrize("address", [HERE, THERE, "10.0.0.1", "192.168.1.1", "::ffff:203.0.113.7"])
def test_every_other_machine_is(address: str) -> None:
    assert is_limited(address)


def test_an_address_may_have_so_many_connections_and_another_its_own() -> None:
    guard = AddressGuard(AddressLimits(connections=2), FakeClock().steady_ms)
    assert [guard.opened(HERE) for _ in range(3)] == [True, True, False]
    assert guard.opened(THERE)
    guard.closed(HERE)
    assert [guard.opened(HERE) for _ in range(2)] == [True, False]


def test_a_burst_is_allowed_and_after_it_the_steady_rate() -> None:
    clock = FakeClock()
    guard = AddressGuard(AddressLimits(messages_per_second=10, burst_seconds=2), clock.steady_ms)
    assert sum(guard.may_send(HERE) for _ in range(100)) == 20
    assert guard.may_send(THERE)
    clock.advance(99)
    assert not guard.may_send(HERE)
    clock.advance(1)
    assert [guard.may_send(HERE) for _ in range(2)] == [True, False]
    clock.advance(3_600_000)
    assert sum(guard.may_send(HERE) for _ in range(100)) == 20


def test_a_wall_clock_that_steps_is_not_noticed() -> None:
    clock = FakeClock()
    guard = AddressGuard(AddressLimits(messages_per_second=1, burst_seconds=1), clock.steady_ms)
    assert guard.may_send(HERE)
    clock.step_wall(-86_400_000)
    assert not guard.may_send(HERE)
    clock.advance(1_000)
    assert guard.may_send(HERE)


@given(st.lists(st.integers(0, 500), max_size=60))
def test_over_any_time_no_more_than_the_burst_and_the_rate_passes(pauses: list[int]) -> None:
    clock = FakeClock()
    guard = AddressGuard(AddressLimits(messages_per_second=10, burst_seconds=1), clock.steady_ms)
    passed = 0
    for pause in pauses:
        clock.advance(pause)
        passed += guard.may_send(HERE)
        assert passed <= 10 + clock.steady_ms() / 100


def test_addresses_that_have_been_quiet_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_BUCKETS_KEPT", 100)
    clock = FakeClock()
    guard = AddressGuard(AddressLimits(messages_per_second=1, burst_seconds=1), clock.steady_ms)
    for number in range(1_000):
        assert guard.may_send(f"203.0.{number // 250}.{number % 250}")
        clock.advance(100)
    assert len(guard._messages) <= 100


def test_of_too_many_addresses_the_busy_ones_stay_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_BUCKETS_KEPT", 100)
    rate = RateLimit(burst=1, per_ms=0.001)
    assert rate.allows("busy", SteadyMs(0))
    for number in range(1_000):
        assert rate.allows(str(number), SteadyMs(0))
        assert not rate.allows("busy", SteadyMs(0))
    assert len(rate) == 100


def test_an_address_may_open_so_many_sockets_in_a_minute() -> None:
    clock = FakeClock()
    guard = AddressGuard(AddressLimits(sockets_per_minute=6), clock.steady_ms)
    assert sum(guard.may_open_socket(HERE) for _ in range(100)) == 6
    assert guard.may_open_socket(THERE)
    clock.advance(10_000)
    assert [guard.may_open_socket(HERE) for _ in range(2)] == [True, False]
    assert all(guard.may_open_socket("127.0.0.1") for _ in range(100))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::7", "2001:db8::ffff:8", True),
        ("2001:db8::7", "2001:db8:0:1::7", False),
        ("203.0.113.7", "::ffff:203.0.113.7", True),
        ("203.0.113.7", "203.0.113.8", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_who_holds_many_ipv6_addresses_counts_once(one: str, other: str, same: bool) -> None:
    assert is_limited(one)
    assert is_limited(other)
    guard = AddressGuard(AddressLimits(connections=1), FakeClock().steady_ms)
    assert guard.opened(one)
    assert guard.opened(other) is not same
    guard.closed(one)
    assert guard.opened(other) is same


def test_the_machine_itself_in_the_dress_of_ipv6_is_not_limited() -> None:
    assert not is_limited("::ffff:127.0.0.1")


# On the wire


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own addresses count as other machines'."""
    monkeypatch.setattr(limits, "is_limited", lambda address: True)


@asynccontextmanager
async def connect_from(address: str, port: int) -> AsyncIterator[RawConnection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    try:
        yield RawConnection(reader, writer)
    finally:
        writer.transport.abort()


@pytest.mark.usefixtures("strangers")
async def test_a_connection_too_many_is_told_so_and_closed(tmp_path: Path) -> None:
    async with (
        coordinator(tmp_path, limits=AddressLimits(connections=2)) as router,
        connect(router.port) as first,
        connect(router.port) as second,
    ):
        for connection in (first, second):
            connection.send(HEALTH)
            assert (await connection.answer()).status == 200
        async with connect(router.port) as third:
            third.send(HEALTH)
            answer = await third.answer()
            assert (answer.status, answer.json()["error"]) == (429, "rate_limited")
            assert answer.headers["retry-after"] == "1"
            assert await third.rest() == b""
        async with connect_from("127.0.0.2", router.port) as elsewhere:
            elsewhere.send(HEALTH)
            assert (await elsewhere.answer()).status == 200
        first.send(HEALTH)
        assert (await first.answer()).status == 200


@pytest.mark.usefixtures("strangers")
async def test_a_connection_that_ends_makes_room_and_one_that_was_refused_does_not(tmp_path: Path) -> None:
    async with coordinator(tmp_path, limits=AddressLimits(connections=1)) as router:
        for _ in range(3):
            async with connect(router.port) as only:
                only.send(HEALTH)
                assert (await only.answer()).status == 200
                for _ in range(3):
                    async with connect(router.port) as refused:
                        refused.send(HEALTH)
                        assert (await refused.answer()).status == 429
                only.send(request("GET", "/v1/health", Connection="close"))
                assert (await only.answer()).status == 200
                assert await only.rest() == b""


@pytest.mark.usefixtures("strangers")
async def test_too_many_requests_are_refused_until_time_has_passed(tmp_path: Path) -> None:
    few = AddressLimits(messages_per_second=50, burst_seconds=1)
    async with coordinator(tmp_path, limits=few) as router:
        statuses = []
        while 429 not in statuses:
            statuses.append((await router.http.get("/v1/health")).status_code)
            assert len(statuses) < 5_000
        assert len(statuses) > 50
        async with connect_from("127.0.0.2", router.port) as elsewhere:
            elsewhere.send(HEALTH)
            assert (await elsewhere.answer()).status == 200
        while (await router.http.get("/v1/health")).status_code != 200:
            pass


@pytest.mark.usefixtures("strangers")
async def test_a_worker_that_sends_too_many_frames_is_closed(tmp_path: Path) -> None:
    few = AddressLimits(messages_per_second=20, burst_seconds=1)
    async with coordinator(tmp_path, limits=few) as router, worker(router.port) as client:
        for _ in range(200):
            client.send({"type": "nonsense"})
        assert await client.closed() == 1008
        async with connect_from("127.0.0.2", router.port) as elsewhere:
            elsewhere.send(HEALTH)
            assert (await elsewhere.answer()).json()["workers_online"] == 0


@pytest.mark.usefixtures("strangers")
async def test_too_many_new_sockets_of_one_address_are_refused_before_the_handshake(tmp_path: Path) -> None:
    few = AddressLimits(sockets_per_minute=2)
    async with (
        coordinator(tmp_path, limits=few) as router,
        worker(router.port) as first,
        worker(router.port) as second,
    ):
        await first.register()
        await second.register()
        async with connect(router.port) as third:
            third.send(
                request(
                    "GET",
                    "/",
                    Connection="Upgrade",
                    Upgrade="websocket",
                    Sec_WebSocket_Version="13",
                    Sec_WebSocket_Key="AAAAAAAAAAAAAAAAAAAAAA==",
                )
            )
            answer = await third.answer()
            assert (answer.status, answer.json()["error"]) == (429, "rate_limited")
            assert await third.rest() == b""
        assert await router.workers_online() == 2


@pytest.mark.usefixtures("strangers")
async def test_a_workers_connection_counts_among_those_of_its_address(tmp_path: Path) -> None:
    async with (
        coordinator(tmp_path, limits=AddressLimits(connections=1)) as router,
        worker(router.port) as client,
    ):
        await client.register()
        async with connect(router.port) as other:
            other.send(HEALTH)
            assert (await other.answer()).status == 429
        client.socket.abort()
        await client.closed()
        async with connect_from("127.0.0.2", router.port) as elsewhere:
            while True:
                elsewhere.send(HEALTH)
                if (await elsewhere.answer()).json()["workers_online"] == 0:
                    break
        async with connect(router.port) as other:
            other.send(HEALTH)
            assert (await other.answer()).status == 200
