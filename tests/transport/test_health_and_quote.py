"""``GET /v1/health`` and ``GET /v1/quote``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.transport.harness import NETWORK, coordinator
from tests.transport.worker_client import worker

ISO_MS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


async def test_health_tells_network_time_and_registered_workers(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as first, worker(router.port):
        await first.register()
        answer = await router.http.get("/v1/health")
    health = answer.json()
    assert answer.status_code == 200
    assert list(health) == ["status", "workers_online", "network", "timestamp", "limits", "payments"]
    assert health["payments"] == {"enabled": False}
    assert (health["status"], health["network"]) == ("ok", NETWORK.caip2)
    assert health["workers_online"] == 1, "a socket that did not register is no worker"
    assert ISO_MS.fullmatch(health["timestamp"])


@pytest.mark.parametrize(
    ("query", "tier", "price"),
    [
        ("job_type=LLM_INFER", "FAST", "$0.010"),
        ("job_type=LLM_INFER&policy=AUTO", "FAST", "$0.010"),
        ("job_type=LLM_INFER&policy=FAST", "FAST", "$0.010"),
        ("job_type=LLM_INFER&policy=CHEAP", "CHEAP", "$0.005"),
        ("job_type=TASK", "CHEAP", "$0.001"),
        ("policy=AUTO&job_type=TASK", "CHEAP", "$0.001"),
        ("job_type=TASK&policy=FAST", "FAST", "$0.003"),
        ("job_type=TASK&policy=CHEAP", "CHEAP", "$0.001"),
        ("job_type=TASK&somebody=else", "CHEAP", "$0.001"),
    ],
)
async def test_a_quote_resolves_the_policy_and_prices_the_job(
    tmp_path: Path, query: str, tier: str, price: str
) -> None:
    async with coordinator(tmp_path) as router:
        answer = await router.http.get(f"/v1/quote?{query}")
    assert answer.status_code == 200
    assert answer.json() == {
        "price": price,
        "endpoint": f"/v1/jobs/commit/{tier.lower()}",
        "policy_resolved": tier,
        "network": NETWORK.caip2,
        "expires_at": None,
    }


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?",
        "?policy=FAST",
        "?job_type=",
        "?job_type",
        "?job_type=llm_infer",
        "?job_type=TASK&policy=",
        "?job_type=TASK&policy=GOLD",
        "?job_type=TASK&job_type=TASK",
        "?job_type=TASK&policy=FAST&policy=CHEAP",
        "?job_type=TASK%00",
        "?job_type=%ff",
        "?job_type=TASK&" + "&".join("x=1" for _ in range(40)),
    ],
)
async def test_a_quote_for_a_bad_value_is_refused(tmp_path: Path, query: str) -> None:
    async with coordinator(tmp_path) as router:
        answer = await router.http.get(f"/v1/quote{query}")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_head_answers_the_headers_of_get_without_its_body(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        got = await router.http.get("/v1/quote?job_type=TASK")
        head = await router.http.head("/v1/quote?job_type=TASK")
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == got.headers["content-length"]
