"""Browsers of other origins: shut out unless the operator named them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tornado.httputil import HTTPHeaders

from compute_router.transport.cors import Cors
from compute_router.transport.http_types import Request
from tests.transport.harness import TASK, coordinator

PAGE = "https://app.example"
PREFLIGHT = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}


def asked_by(origin: str | None) -> Request:
    headers = HTTPHeaders() if origin is None else HTTPHeaders({"Origin": origin})
    return Request("GET", "/v1/health", headers)


def test_off_it_says_nothing() -> None:
    assert Cors().headers(asked_by(PAGE)) == ()


def test_a_named_origin_may_read_and_caches_must_tell_origins_apart() -> None:
    cors = Cors((PAGE, "http://localhost:3000"))
    allowed = (("Access-Control-Allow-Origin", PAGE), ("Vary", "Origin"))
    assert cors.headers(asked_by(PAGE)) == allowed
    assert cors.headers(asked_by("https://evil.example")) == (("Vary", "Origin"),)


def test_a_star_is_for_every_origin() -> None:
    assert Cors(("*",)).headers(asked_by(PAGE)) == (("Access-Control-Allow-Origin", "*"),)


def test_requests_of_no_page_need_no_headers() -> None:
    assert Cors(("*",)).headers(asked_by(None)) == ()


async def test_without_origins_a_preflight_is_a_method_that_is_not_there(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        answer = await router.http.options("/v1/jobs/commit/fast", headers=PREFLIGHT)
        assert (answer.status_code, answer.json()["error"]) == (405, "method_not_allowed")
        got = await router.http.get("/v1/health", headers={"Origin": PAGE})
    assert not [name for name in (*answer.headers, *got.headers) if name.startswith("access-control")]


@pytest.mark.parametrize("origins", [(PAGE,), ("*",)])
async def test_a_named_origin_gets_its_preflight_and_reads_answers_and_errors(
    tmp_path: Path, origins: tuple[str, ...]
) -> None:
    async with coordinator(tmp_path, cors_origins=origins) as router:
        preflight = await router.http.options("/v1/jobs/commit/fast", headers=PREFLIGHT)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-methods"] == "POST"
        assert "content-type" in preflight.headers["access-control-allow-headers"].lower()
        good = await router.http.get("/v1/health", headers={"Origin": PAGE})
        typed = {"Origin": PAGE, "Content-Type": "application/json"}
        bad = await router.http.post("/v1/jobs/commit/fast", content=b"{", headers=typed)
        large = await router.http.post(
            "/v1/jobs/commit/fast", content=b" " * 2_000_000, headers={"Origin": PAGE}
        )
    assert (good.status_code, bad.status_code, large.status_code) == (200, 400, 413)
    for answer in (preflight, good, bad, large):
        assert answer.headers["access-control-allow-origin"] == origins[0]


async def test_a_preflight_for_nothing_is_not_found(tmp_path: Path) -> None:
    async with coordinator(tmp_path, cors_origins=("*",)) as router:
        answer = await router.http.options("/nowhere", headers=PREFLIGHT)
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


async def test_a_page_cannot_slip_a_commit_in_without_asking_first(tmp_path: Path) -> None:
    """These three types, and none at all, need no preflight; so none of them may be taken for JSON."""
    body = json.dumps(TASK).encode()
    simple = [None, "text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"]
    async with coordinator(tmp_path) as router:
        for origin in (PAGE, "null", "http://127.0.0.1:8000"):
            for media_type in simple:
                headers = {"Origin": origin} | ({"Content-Type": media_type} if media_type else {})
                answer = await router.http.post("/v1/jobs/commit/fast", content=body, headers=headers)
                assert (answer.status_code, answer.json()["error"]) == (415, "unsupported_media_type")
        assert router.count("jobs") == 0
        programs = await router.http.post("/v1/jobs/commit/fast", content=body)
        assert programs.status_code == 201
