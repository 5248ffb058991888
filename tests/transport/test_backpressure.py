"""Workers that send faster than the coordinator can handle are not read from meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.transport.harness import coordinator
from tests.transport.worker_client import worker


async def test_frames_that_had_to_wait_are_all_handled_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compute_router.transport.worker_socket._MOST_WAITING", 0)
    async with coordinator(tmp_path) as router, worker(router.port) as client:
        await client.register(proven=True)
        for _ in range(200):
            client.send({"type": "heartbeat", "provider_pubkey": client.pubkey})
        for _ in range(200):
            await client.receive("heartbeat_ack")
        job_id = await router.commit()
        await client.serve(job_id)
        assert (await router.http.get(f"/v1/jobs/{job_id}")).json()["status"] == "completed"
