"""``GET /v1/workers``: who is connected, a page at a time, and nothing that leads to a job."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.transport.harness import Coordinator, coordinator
from tests.transport.worker_client import worker


async def listed(router: Coordinator, **query: str) -> dict[str, Any]:
    answer = await router.http.get("/v1/workers", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_worker_is_shown_with_what_it_can_do_and_does(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        assert await listed(router) == {"workers": [], "next_cursor": None}
        await client.register(
            proven=True, provider_type="SEEKER", slots=2, models=[{"name": "llama", "digest": "d"}]
        )
        job_id = await router.commit()
        await client.receive("job_assign")
        answer = await listed(router)
        (shown,) = answer["workers"]
        assert shown.pop("since").endswith("Z")
        assert shown == {
            "provider_pubkey": client.pubkey,
            "provider_type": "SEEKER",
            "capabilities": ["LLM_INFER", "TASK"],
            "models": ["llama"],
            "slots": 2,
            "busy": 1,
            "proven": True,
        }
        assert job_id not in str(answer)
        assert "alice" not in str(answer)


async def test_who_only_names_a_key_is_shown_as_unproven(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register()
        (shown,) = (await listed(router))["workers"]
        assert shown["proven"] is False


async def test_registering_again_changes_what_is_shown_but_not_since_when(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        (before,) = (await listed(router))["workers"]
        await client.register(proven=True, slots=5)
        (after,) = (await listed(router))["workers"]
        assert (after["slots"], after["since"]) == (5, before["since"])


async def test_pages_show_everybody_once_though_some_leave_meanwhile(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, AsyncExitStack() as connected:
        clients = [await connected.enter_async_context(worker(router.port)) for _ in range(7)]
        for client in reversed(clients):
            await client.register(proven=True)
        page = await listed(router, limit="3")
        seen = [shown["provider_pubkey"] for shown in page["workers"]]
        clients[0].socket.abort()
        await clients[0].closed()
        while await router.workers_online() > 6:
            pass
        while page["next_cursor"] is not None:
            page = await listed(router, limit="3", cursor=page["next_cursor"])
            seen += [shown["provider_pubkey"] for shown in page["workers"]]
        assert seen == [client.pubkey for client in clients]


async def test_many_models_are_cut(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(models=[{"name": f"m{number}"} for number in range(256)])
        (shown,) = (await listed(router))["workers"]
        assert shown["models"] == [f"m{number}" for number in range(32)]


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "201"},
        {"limit": "-1"},
        {"limit": "many"},
        {"limit": "٣"},
        {"limit": ""},
        {"cursor": "-1"},
        {"cursor": "x"},
        {"cursor": "9" * 19},
        {"cursor": ""},
    ],
)
async def test_a_page_that_cannot_be_is_refused(tmp_path: Path, query: dict[str, str]) -> None:
    async with coordinator(tmp_path) as router:
        answer = await router.http.get("/v1/workers", params=query)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
