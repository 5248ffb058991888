"""How often one address may call each endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from tornado.httputil import HTTPHeaders

from compute_router.protocol.errors import RateLimitedError
from compute_router.transport import limits as address_limits
from compute_router.transport.endpoint_limits import COSTS, Cost, EndpointLimits, rates
from compute_router.transport.http_types import Answer, Request
from compute_router.transport.key_rates import key_rates
from compute_router.transport.limits import AddressLimits
from compute_router.transport.router import Router
from tests.fakes.clock import FakeClock
from tests.transport.harness import TASK, Coordinator, coordinator

HERE = "203.0.113.7"
OK = Answer(200, b"{}")


class Endpoint:
    """A guarded handler and its clock."""

    def __init__(self, cost: Cost, **limits: int) -> None:
        self.clock = FakeClock()
        self.rate = rates(AddressLimits(**limits))[cost]
        self._handler = EndpointLimits(AddressLimits(**limits), self.clock.steady_ms).guard(cost, self._serve)

    async def _serve(self, request: Request, variable: str) -> Answer:
        return OK

    async def call(self, address: str = HERE) -> int:
        """0 if it was served, else the seconds to wait."""
        try:
            await self._handler(Request("POST", "/", HTTPHeaders(), address), "")
        except RateLimitedError as error:
            return error.retry_after_s
        return 0

    async def calls_until_refused(self, address: str = HERE) -> int:
        count = 0
        while not await self.call(address):
            count += 1
            assert count < 100_000
        return count


LIMITED = [cost for cost in Cost if cost is not Cost.READ]


@pytest.mark.parametrize("cost", LIMITED)
async def test_an_address_may_make_its_burst_and_then_waits(cost: Cost) -> None:
    endpoint = Endpoint(cost)
    assert await endpoint.calls_until_refused() == endpoint.rate.burst
    wait_s = await endpoint.call()
    assert 1 <= wait_s <= 60
    endpoint.clock.advance(wait_s * 1000)
    assert await endpoint.call() == 0


@pytest.mark.parametrize("cost", LIMITED)
async def test_over_a_longer_time_it_gets_its_rate(cost: Cost) -> None:
    endpoint = Endpoint(cost)
    await endpoint.calls_until_refused()
    served = 0
    for _ in range(120):
        endpoint.clock.advance(500)
        while not await endpoint.call():
            served += 1
    assert abs(served - endpoint.rate.per_minute) <= 1


async def test_other_addresses_are_not_held_up() -> None:
    endpoint = Endpoint(Cost.TRUST_CREATE)
    await endpoint.calls_until_refused()
    assert await endpoint.call("203.0.113.8") == 0
    assert await endpoint.call() > 0


async def test_an_ipv6_network_counts_as_one_address() -> None:
    endpoint = Endpoint(Cost.TRUST_CREATE)
    await endpoint.calls_until_refused("2001:db8::1")
    assert await endpoint.call("2001:db8::2:1") > 0
    assert await endpoint.call("2001:db8:0:1::1") == 0


async def test_the_machines_own_addresses_are_not_limited() -> None:
    endpoint = Endpoint(Cost.TRUST_CREATE)
    for address in ("127.0.0.1", "::1", ""):
        for _ in range(500):
            assert await endpoint.call(address) == 0


def test_reading_costs_nothing_beyond_the_limit_of_the_address() -> None:
    async def serve(request: Request, variable: str) -> Answer:
        return OK

    limits = EndpointLimits(AddressLimits(), FakeClock().steady_ms)
    assert limits.guard(Cost.READ, serve) is serve


def test_commits_and_quotes_grow_with_what_the_operator_allows_and_pairing_does_not() -> None:
    few, many = rates(AddressLimits(messages_per_second=10)), rates(AddressLimits(messages_per_second=1_000))
    for cost in (Cost.READ, Cost.QUOTE, Cost.COMMIT):
        assert many[cost].per_minute == 100 * few[cost].per_minute
    assert few[Cost.TRUST_CREATE] == many[Cost.TRUST_CREATE]
    assert all(
        rate.burst >= 1 for rate in rates(AddressLimits(messages_per_second=1, burst_seconds=1)).values()
    )


async def test_every_route_has_a_cost_and_every_cost_is_of_a_route(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[tuple[str, str]] = set()
    add = Router.add

    def remember(self: Router, method: str, path: str, handler: Any) -> None:
        seen.add((method, path))
        add(self, method, path, handler)

    monkeypatch.setattr(Router, "add", remember)
    async with coordinator(tmp_path):
        pass
    assert seen == set(COSTS)


# On the wire


@pytest.fixture
def _strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own addresses count as other machines'."""
    monkeypatch.setattr(address_limits, "is_limited", lambda address: True)


async def refused_in_the_end(router: Coordinator, method: str, path: str, body: Any = None) -> httpx.Response:
    """Call it until it is refused for calling too often."""
    for _ in range(5_000):
        answer = await router.http.request(method, path, json=body)
        if answer.status_code == 429:
            return answer
    raise AssertionError("it is not limited")


@pytest.mark.usefixtures("_strangers")
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/trust/create", {}),
        ("POST", "/v1/trust/claim", {}),
        ("GET", "/v1/trust/list", None),
        ("DELETE", f"/v1/trust/{'a' * 64}", None),
        ("GET", "/v1/keys", None),
        ("GET", "/v1/receipts/nobody", None),
        ("GET", "/v1/workers", None),
    ],
)
async def test_an_endpoint_refuses_who_calls_it_too_often_and_says_when_to_come_back(
    tmp_path: Path, method: str, path: str, body: Any
) -> None:
    async with coordinator(tmp_path, limits=AddressLimits(messages_per_second=1_000)) as router:
        answer = await refused_in_the_end(router, method, path, body)
        assert answer.json()["error"] == "rate_limited"
        assert int(answer.headers["retry-after"]) >= 1
        assert (await router.http.get("/v1/health")).status_code == 200, "other endpoints are served"


@pytest.mark.usefixtures("_strangers")
async def test_a_commit_that_is_refused_for_its_rate_stores_nothing(tmp_path: Path) -> None:
    async with coordinator(tmp_path, limits=AddressLimits(messages_per_second=10)) as router:
        await refused_in_the_end(router, "POST", "/v1/jobs/commit/cheap", TASK)
        stored = router.count("jobs")
        assert (await router.http.post("/v1/jobs/commit/fast", json=TASK)).status_code == 429
        assert router.count("jobs") == stored


async def test_health_shows_every_limit(tmp_path: Path) -> None:
    limits = AddressLimits(connections=7, messages_per_second=20, sockets_per_minute=5)
    async with coordinator(tmp_path, limits=limits, max_body_bytes=4_096) as router:
        shown = (await router.http.get("/v1/health")).json()["limits"]
    policy = router.system.policy
    assert shown == {
        "body_bytes": 4_096,
        "wait_seconds": 60,
        "ttl_seconds": policy.max_queue_window / 1000,
        "jobs": policy.max_jobs,
        "jobs_per_user": policy.max_jobs_per_user,
        "workers": policy.max_workers,
        "address": {
            "connections": 7,
            "sockets_per_minute": 5,
            "messages_per_second": 20,
            "calls_per_minute": {cost.value: rate.per_minute for cost, rate in rates(limits).items()},
        },
        "api_key_calls_per_minute": {cost.value: rate.per_minute for cost, rate in key_rates(limits).items()},
    }
    assert shown["address"]["calls_per_minute"]["commit"] == 600
