"""Headers that every answer carries, whatever it is an answer to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.transport.harness import TASK, coordinator
from tests.transport.raw_http import connect, request

EXPECTED = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
COMMIT = "/v1/jobs/commit/cheap"
HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec_WebSocket_Version": "13",
}

REQUESTS: dict[int, bytes] = {
    200: request("GET", "/v1/health"),
    201: request("POST", COMMIT, json.dumps(TASK).encode()),
    400: request("POST", COMMIT, b"{"),
    404: request("GET", "/v1/jobs/nobody"),
    405: request("PUT", "/v1/health"),
    413: request("POST", COMMIT, b"x" * 5_000),
    415: request("POST", COMMIT, b"{}", Content_Type="text/plain"),
    422: request("POST", COMMIT, json.dumps(TASK | {"privacy_class": "PRIVATE"}).encode()),
    426: request("GET", "/"),
    403: request("GET", "/", **HANDSHAKE, Origin="https://evil.example"),
    101: request("GET", "/", **HANDSHAKE),
}


def carries_them_once(headers: Mapping[str, str]) -> bool:
    return EXPECTED.items() <= headers.items()


@pytest.mark.parametrize("status", REQUESTS)
async def test_every_answer_carries_them(tmp_path: Path, status: int) -> None:
    async with coordinator(tmp_path, max_body_bytes=4_096) as router, connect(router.port) as connection:
        connection.send(REQUESTS[status])
        answer = await connection.answer()
        assert answer.status == status
        assert carries_them_once(answer.headers), answer.headers


async def test_an_answer_to_head_and_an_event_stream_carry_them(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        assert carries_them_once((await router.http.head("/v1/health")).headers)
        job_id = await router.commit()
        await router.http.delete(f"/v1/jobs/{job_id}")
        stream = await router.http.get(f"/v1/jobs/{job_id}/events")
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert carries_them_once(stream.headers)


async def test_a_page_that_cors_lets_in_gets_them_too(tmp_path: Path) -> None:
    async with coordinator(tmp_path, cors_origins=("https://app.example",)) as router:
        answer = await router.http.get("/v1/health", headers={"Origin": "https://app.example"})
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert carries_them_once(answer.headers)


async def test_no_answer_tells_the_version_of_the_server(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        for sent in REQUESTS.values():
            async with connect(router.port) as connection:
                connection.send(sent)
                server = (await connection.answer()).headers.get("server", "")
                assert "/" not in server
                assert "tornado" not in server.lower()
