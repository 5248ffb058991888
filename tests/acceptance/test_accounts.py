"""Accounts as an operator and a seeker have them: real processes, from the first admin key on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from compute_router.sdk import AsyncComputeRouter, AuthenticationError, PermissionDeniedError
from tests.fakes.processes import Process, coordinator_process, program, worker_process

pytestmark = pytest.mark.acceptance


async def command(directory: Path, *words: str, environ: Mapping[str, str] | None = None) -> Process:
    """Run ``compute-router`` to its end."""
    async with program(["-m", "compute_router.sdk", *words], directory, environ) as process:
        await process.ended()
        return process


async def test_from_the_first_admin_key_to_a_users_job_and_the_end_of_the_key(tmp_path: Path) -> None:
    async with coordinator_process(tmp_path, "--auth", "keys") as coordinator:
        assert "API keys are needed" in await coordinator.process.line("API keys are needed")
        assert "nobody can make API keys yet" in coordinator.process.stderr
        refused = await command(tmp_path, "keys", "create", "--db", "solana.db", "--scope", "admin")
        assert (refused.stdout, "Another coordinator uses" in refused.stderr) == ("", True)
        assert await coordinator.process.stop() == 0
    first = await command(tmp_path, "keys", "create", "--db", "solana.db", "--scope", "admin")
    admin = first.stdout
    (tmp_path / "admin.key").touch(mode=0o600)
    (tmp_path / "admin.key").write_text(admin + "\n")
    async with (
        coordinator_process(tmp_path, "--auth", "keys") as coordinator,
        worker_process(coordinator.url, tmp_path, "--type", "seeker"),
    ):
        url = ["--coordinator", coordinator.url]
        in_file = [*url, "--api-key-file", "admin.key"]
        made = await command(tmp_path, "keys", "create", "--user", "alice", *in_file)
        environ = {"COMPUTE_ROUTER_API_KEY": made.stdout, "COMPUTE_ROUTER_USER_ID": "alice"}
        ran = await command(
            tmp_path, "run", "task", "classify", "Wonderful!", "--url", coordinator.url, environ=environ
        )
        assert "positive" in ran.stdout
        async with AsyncComputeRouter(coordinator.url, user_id="bob", api_key=made.stdout) as bob:
            with pytest.raises(PermissionDeniedError):
                await bob.run_task("classify", "Wonderful!")
        async with AsyncComputeRouter(coordinator.url, user_id="alice", api_key=made.stdout) as alice:
            assert (await alice.run_task("classify", "Wonderful!")).verified
            key_id = made.stdout.split("_")[1]
            listed, revoked = await asyncio.gather(
                command(tmp_path, "keys", "list", *url, environ={"COMPUTE_ROUTER_API_KEY": admin}),
                command(tmp_path, "keys", "revoke", key_id, *in_file),
            )
            assert key_id in listed.stdout
            assert key_id in revoked.stdout
            with pytest.raises(AuthenticationError):
                await alice.run_task("classify", "Wonderful!")
        assert await coordinator.process.stop() == 0
    for process in (first, made, ran, listed, revoked, coordinator.process):
        for api_key in (admin, made.stdout):
            secret = api_key[-43:]
            assert secret not in process.stderr
            assert secret not in process.stdout or process in (first, made)
