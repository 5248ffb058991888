"""HTTP below the API: sizes, chunks, pipelines, upgrades, and clients that leave or speak nonsense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compute_router.transport.health import HealthResource
from compute_router.transport.http_types import Answer, Request
from tests.transport.harness import TASK, coordinator
from tests.transport.raw_http import connect, request
from tests.transport.worker_client import worker

COMMIT = "/v1/jobs/commit/cheap"
HEALTH = request("GET", "/v1/health")
BODY = json.dumps(TASK).encode()
HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec_WebSocket_Version": "13",
}


def chunked(*chunks: bytes) -> bytes:
    """A commit whose body comes in chunks."""
    head = request("POST", COMMIT, Transfer_Encoding="chunked")
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


def padded(size: int) -> bytes:
    """A valid commit of exactly this many bytes."""
    frame = json.dumps(TASK | {"payload": {"task_type": "summarize", "input": ""}}).encode()
    return frame.replace(b'""', b'"' + b"x" * (size - len(frame)) + b'"')


@pytest.mark.parametrize("size", [1025, 2_000_000, 20_000_000])
async def test_a_body_over_the_limit_is_too_large_and_the_connection_lives_on(
    tmp_path: Path, size: int
) -> None:
    async with coordinator(tmp_path, max_body_bytes=1024) as router, connect(router.port) as connection:
        connection.send(request("POST", COMMIT, padded(size)))
        await connection.drain()
        answer = await connection.answer()
        assert (answer.status, answer.json()["error"]) == (413, "payload_too_large")
        connection.send(HEALTH)
        assert (await connection.answer()).status == 200
        assert router.count("jobs") == 0


async def test_a_body_of_exactly_the_limit_is_taken(tmp_path: Path) -> None:
    async with coordinator(tmp_path, max_body_bytes=1024) as router, connect(router.port) as connection:
        connection.send(request("POST", COMMIT, padded(1024)))
        assert (await connection.answer()).status == 201


async def test_a_chunked_body_is_taken_up_to_the_limit(tmp_path: Path) -> None:
    async with coordinator(tmp_path, max_body_bytes=1024) as router, connect(router.port) as connection:
        connection.send(chunked(BODY[:7], BODY[7:8], BODY[8:]))
        assert (await connection.answer()).status == 201
        large = padded(1025)
        connection.send(chunked(large[:1000], large[1000:]))
        assert (await connection.answer()).status == 413
        connection.send(chunked(*([b"x" * 65_536] * 32)))
        assert (await connection.answer()).status == 413
        connection.send(HEALTH)
        assert (await connection.answer()).status == 200
        assert router.count("jobs") == 1


@pytest.mark.parametrize("length", [str(1 << 31), "9" * 17, "9" * 18, "9" * 19, "9" * 5000])
async def test_a_monstrous_content_length_is_answered_before_the_body(tmp_path: Path, length: str) -> None:
    async with coordinator(tmp_path) as router, connect(router.port) as connection:
        connection.send(request("POST", COMMIT, Content_Length=length))
        answer = await connection.answer()
        assert (answer.status, answer.json()["error"]) == (413, "payload_too_large")
        assert await connection.rest() == b"", "what follows cannot be told from the body"
        assert (await router.http.get("/v1/health")).status_code == 200


async def test_a_client_that_asks_first_is_told_to_go_on(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, connect(router.port) as connection:
        connection.send(request("POST", COMMIT, Content_Length=str(len(BODY)), Expect="100-continue"))
        assert (await connection.answer()).status == 100
        connection.send(BODY)
        assert (await connection.answer()).status == 201


async def test_pipelined_requests_are_answered_in_order_also_after_errors(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, connect(router.port) as connection:
        requests = [
            request("POST", COMMIT, BODY),
            request("POST", COMMIT, b"{"),
            request("GET", "/nowhere"),
            request("PUT", "/v1/health", b"ignored"),
            request("POST", COMMIT, b"{}", Content_Type="text/plain"),
            request("POST", COMMIT, BODY),
            HEALTH,
        ]
        connection.send(b"".join(requests))
        assert [(await connection.answer()).status for _ in requests] == [201, 400, 404, 405, 415, 201, 200]
        assert router.count("jobs") == 2


async def test_what_was_pipelined_on_a_connection_that_is_gone_is_not_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = 0
    really_get = HealthResource.get

    async def get(self: HealthResource, request: Request, variable: str) -> Answer:
        nonlocal served
        served += 1
        return await really_get(self, request, variable)

    monkeypatch.setattr(HealthResource, "get", get)
    async with coordinator(tmp_path) as router, connect(router.port) as connection:
        job_id = await router.commit()
        connection.send(request("GET", f"/v1/jobs/{job_id}?wait=0.2") + 500 * HEALTH)
        await connection.drain()
        connection.abort()
        # Two waits that begin later end later, so the first one is over by then.
        for _ in range(2):
            await router.http.get(f"/v1/jobs/{job_id}?wait=0.2")
        assert served <= 1


@pytest.mark.parametrize("options", ["close, TE", "keep-alive, close", "Close"])
async def test_close_may_stand_among_other_options(tmp_path: Path, options: str) -> None:
    async with coordinator(tmp_path) as router, connect(router.port) as connection:
        connection.send(request("GET", "/v1/health", Connection=options))
        answer = await connection.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await connection.rest() == b""


async def test_a_broken_handshake_is_told_from_a_forbidden_one(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, connect(router.port) as connection:
        connection.send(request("GET", "/", **HANDSHAKE | {"Sec_WebSocket_Key": ""}))
        answer = await connection.answer()
        assert (answer.status, answer.json()["error"]) == (400, "invalid_request")


async def test_an_event_stream_for_an_old_client_ends_with_its_connection(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register()
        job_id = await router.commit()
        await client.serve(job_id)
        async with connect(router.port) as connection:
            connection.send(
                f"GET /v1/jobs/{job_id}/events HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".encode()
            )
            assert b'"status":"completed"' in await connection.rest()


async def test_old_clients_and_clients_that_say_goodbye_get_their_answer_and_the_end(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        for sent in (b"GET /v1/health HTTP/1.0\r\n\r\n", request("GET", "/v1/health", Connection="close")):
            async with connect(router.port) as connection:
                connection.send(sent)
                assert (await connection.answer()).status == 200
                assert await connection.rest() == b""


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\r\n\r\n",
        b"HELLO\r\n\r\n",
        b"GET /v1/health\r\n\r\n",
        b"GET /v1/health HTTP/9.9\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nX: " + b"x" * 40_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40 + b"\r\n\r\n",
        b"POST /v1/jobs/commit/cheap HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/jobs/commit/cheap HTTP/1.1\r\nContent-Length: abc\r\n\r\n",
        b"POST /v1/jobs/commit/cheap HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /v1/jobs/commit/cheap HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST /v1/jobs/commit/cheap HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ],
    ids=lambda sent: repr(sent[:60]),
)
async def test_what_is_no_http_ends_its_own_connection_only(tmp_path: Path, nonsense: bytes) -> None:
    async with (
        coordinator(tmp_path) as router,
        worker(router.port) as bystander,
        connect(router.port) as connection,
    ):
        await bystander.register()
        connection.send(nonsense)
        said = await connection.rest()
        assert said == b"" or said.startswith(b"HTTP/1.1 400 ")
        await bystander.hears_nothing()
        assert router.count("jobs") == 0


async def test_clients_that_leave_in_the_middle_disturb_nobody(tmp_path: Path) -> None:
    commit = request("POST", COMMIT, BODY)
    async with coordinator(tmp_path) as router:
        for size in (1, 30, len(commit) - 1):
            async with connect(router.port) as connection:
                connection.send(commit[:size])
                await connection.drain()
        assert (await router.http.get("/v1/health")).status_code == 200
        assert router.count("jobs") == 0


@pytest.mark.parametrize("left_out", HANDSHAKE)
async def test_half_a_handshake_is_told_to_upgrade(tmp_path: Path, left_out: str) -> None:
    headers = {name: value for name, value in HANDSHAKE.items() if name != left_out}
    async with coordinator(tmp_path) as router, connect(router.port) as connection:
        connection.send(request("GET", "/", **headers))
        answer = await connection.answer()
    assert (answer.status, answer.json()["error"]) == (426, "upgrade_required")
    assert (answer.headers["upgrade"], answer.headers["sec-websocket-version"]) == ("websocket", "13")


async def test_a_handshake_of_another_version_or_with_a_body_is_told_to_upgrade(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router:
        for headers in (HANDSHAKE | {"Sec_WebSocket_Version": "12"}, HANDSHAKE | {"Content_Length": "2"}):
            async with connect(router.port) as connection:
                connection.send(request("GET", "/", **headers) + b"{}")
                assert (await connection.answer()).status == 426


async def test_an_upgrade_is_ignored_at_every_other_address(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, connect(router.port) as connection:
        connection.send(request("GET", "/v1/health", **HANDSHAKE))
        assert (await connection.answer()).json()["status"] == "ok"
        connection.send(request("GET", "/nowhere", **HANDSHAKE))
        assert (await connection.answer()).json()["error"] == "not_found"
        connection.send(request("POST", COMMIT, BODY, **HANDSHAKE))
        assert (await connection.answer()).status == 201


async def test_a_web_page_of_another_origin_gets_no_socket(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, connect(router.port) as connection:
        connection.send(request("GET", "/", **HANDSHAKE, Origin="https://evil.example"))
        answer = await connection.answer()
    assert (answer.status, answer.json()["error"]) == (403, "forbidden_origin")
