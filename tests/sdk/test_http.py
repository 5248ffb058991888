from __future__ import annotations

import asyncio
import os

import httpx
import pytest

from compute_router.sdk import (
    AsyncComputeRouter,
    ComputeRouter,
    CoordinatorUnreachableError,
    InvalidArgumentError,
)
from compute_router.sdk.http import not_reached, request_options
from compute_router.sdk.requests import job_call
from tests.fakes.http_coordinator import JOB_ID, FakeCoordinator, completed

OUTPUT = b'{"text":"caf\\u00e9","model":"m"}'


def _about(error: httpx.RequestError) -> httpx.RequestError:
    error.request = httpx.Request("POST", "http://coordinator.example:4020/v1/x")
    return error


@pytest.mark.parametrize("error", [httpx.ConnectError("x"), httpx.ConnectTimeout("x"), httpx.ProxyError("x")])
def test_a_request_without_connection_certainly_did_not_arrive(error: httpx.RequestError) -> None:
    assert not not_reached(_about(error)).may_have_arrived


@pytest.mark.parametrize(
    "error",
    [httpx.ReadTimeout("x"), httpx.WriteError("x"), httpx.RemoteProtocolError("x"), httpx.DecodingError("x")],
)
def test_a_request_that_got_a_connection_may_have_arrived(error: httpx.RequestError) -> None:
    assert not_reached(_about(error)).may_have_arrived


def test_the_address_that_did_not_answer_is_named() -> None:
    assert "http://coordinator.example:4020" in not_reached(_about(httpx.ConnectError("refused"))).problem


def test_a_long_poll_may_take_longer_than_other_requests() -> None:
    held = request_options(job_call(JOB_ID, 60, 10.0))["timeout"]
    plain = request_options(job_call(JOB_ID, 0, 10.0))["timeout"]
    assert (held.read, plain.read) == (62.0, 10.0)
    assert held.connect == plain.connect == 5.0


def test_a_job_runs_over_a_real_connection() -> None:
    with FakeCoordinator([completed(OUTPUT)]).serving() as url, ComputeRouter(url) as router:
        result = router.run_llm("hello")
    assert (result.text, result.verified) == ("café", True)


def test_many_jobs_run_at_once_over_real_connections() -> None:
    async def run(url: str) -> list[str]:
        async with AsyncComputeRouter(url) as router:
            return [each.text for each in await asyncio.gather(*(router.run_llm("hi") for _ in range(50)))]

    with FakeCoordinator([completed(OUTPUT)]).serving() as url:
        assert asyncio.run(run(url)) == ["café"] * 50


def test_a_dead_proxy_of_the_environment_does_not_stand_in_the_way_to_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with FakeCoordinator([completed(OUTPUT)]).serving() as url, ComputeRouter(url) as router:
        assert router.run_llm("hello").verified


@pytest.mark.parametrize("client", [ComputeRouter, AsyncComputeRouter])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:9"),
        ("ALL_PROXY", "carrier-pigeon://127.0.0.1:9"),
        ("SSL_CERT_FILE", "/no/such/file"),
        ("SSL_CERT_FILE", os.devnull),
    ],
)
def test_a_proxy_or_certificates_of_the_environment_that_cannot_be_used_are_a_clear_error(
    client: type[ComputeRouter | AsyncComputeRouter], name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidArgumentError, match="that the environment names"):
        client("https://coordinator.example")


def test_a_port_that_nobody_listens_on_is_unreachable() -> None:
    with FakeCoordinator().serving() as url:
        pass
    with ComputeRouter(url) as router, pytest.raises(CoordinatorUnreachableError, match=url):
        router.health()
