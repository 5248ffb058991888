"""Clients that send so slowly that their connections would be held for ever."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compute_router.transport import app, http_exchange
from tests.transport.harness import TASK, coordinator
from tests.transport.raw_http import connect, request
from tests.transport.worker_client import worker

BODY = json.dumps(TASK).encode()
COMMIT = request("POST", "/v1/jobs/commit/cheap", BODY, Content_Type="application/json")


async def test_a_body_that_does_not_come_ends_its_connection_and_stores_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_exchange, "_BODY_SECONDS", 0.05)
    async with coordinator(tmp_path) as router, connect(router.port) as connection:
        connection.send(COMMIT[:-1])
        assert await connection.rest() == b""
        assert router.count("jobs") == 0
        assert (await router.http.post("/v1/jobs/commit/cheap", json=TASK)).status_code == 201


@pytest.mark.parametrize("begun", [b"", b"G", COMMIT[:40]], ids=["nothing", "a letter", "half a head"])
async def test_a_head_that_does_not_come_ends_its_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(app, "_IDLE_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(app, "_IDLE_CHECK_SECONDS", 0.01)
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register()
        async with connect(router.port) as connection:
            connection.send(begun)
            assert await connection.rest() == b""
        await client.hears_nothing()
