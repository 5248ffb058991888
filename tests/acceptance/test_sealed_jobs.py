"""Sealed jobs between real programs: what the coordinator's files and all logs hold of them is nothing."""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from compute_router.sdk import AsyncComputeRouter, NoPinnedWorkerError
from tests.fakes.ollama_server import OllamaServer, saying
from tests.fakes.processes import CoordinatorProcess, Process, coordinator_process, program, worker_process

pytestmark = pytest.mark.acceptance

PROMPT = "Is the tangerine dream over?"
ANSWER = "The persimmon knows."
TEXT = "I love the tangerine. It is wonderful!"
DEBUG = ("--log-level", "debug")


@asynccontextmanager
async def paired(
    directory: Path, ollama: OllamaServer
) -> AsyncIterator[tuple[CoordinatorProcess, Process, AsyncComputeRouter]]:
    """A coordinator, a worker that alice paired and pinned, and alice's client; all log what they can."""
    async with (
        coordinator_process(directory, *DEBUG) as coordinator,
        AsyncComputeRouter(
            coordinator.url, user_id="alice", trust_file=directory / "config" / "trust.json"
        ) as router,
    ):
        code = await router.create_pairing()
        flags = ["--ollama", ollama.url, "--pair", code.pairing_code, *DEBUG]
        async with worker_process(coordinator.url, directory, *flags) as worker:
            await router.await_pairing(code, timeout_s=20)
            yield coordinator, worker, router


def files_hold(directory: Path, *texts: str) -> bool:
    """Whether any file holds one of the texts, as such or in base64 at any offset."""
    wanted = [text.encode() for text in texts]
    wanted += [base64.b64encode(b"x" * shift + text)[4:-4] for text in wanted[:] for shift in range(3)]
    contents = [path.read_bytes() for path in directory.iterdir() if path.is_file()]
    return any(text in content for content in contents for text in wanted)


async def test_a_sealed_job_runs_and_its_coordinator_knows_neither_prompt_nor_answer(tmp_path: Path) -> None:
    with OllamaServer(script=saying("The ", "persimmon ", "knows.")) as ollama:
        async with paired(tmp_path, ollama) as (coordinator, worker, router):
            answer = await router.run_llm(PROMPT, max_tokens=20, privacy="PRIVATE")
            feeling = await router.run_task("classify", TEXT, privacy="PRIVATE")
            assert await worker.stop() == 0
            assert await coordinator.process.stop() == 0
    assert (answer.text, answer.sealed, answer.verified) == (ANSWER, True, True)
    assert (feeling.sentiment, feeling.sealed, feeling.verified) == ("positive", True, True)
    assert (tmp_path / "solana.db").stat().st_size > 0
    assert not files_hold(tmp_path, PROMPT, ANSWER, TEXT, "tangerine", "persimmon", "positive")


async def test_a_plain_private_job_is_readable_in_the_database_so_the_search_finds_what_is_there(
    tmp_path: Path,
) -> None:
    with OllamaServer(script=saying(ANSWER)) as ollama:
        async with paired(tmp_path, ollama) as (coordinator, _worker, router):
            result = await router.run_llm(PROMPT, privacy="PRIVATE", sealed=False)
            assert await coordinator.process.stop() == 0
    assert not result.sealed
    assert files_hold(tmp_path, PROMPT)
    assert files_hold(tmp_path, ANSWER)


async def test_no_log_holds_anything_of_a_job_sealed_or_plain(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with OllamaServer(script=saying("The ", "persimmon ", "knows.")) as ollama:
        async with paired(tmp_path, ollama) as (coordinator, worker, router):
            for sealed in (True, False):
                assert (await router.run_llm(PROMPT, privacy="PRIVATE", sealed=sealed)).text == ANSWER
                await router.run_task("classify", TEXT, privacy="PRIVATE", sealed=sealed)
            await router.run_task("summarize", TEXT)
            await refused_job(coordinator)
            assert await worker.stop() == 0
            assert await coordinator.process.stop() == 0
    logs = {
        "coordinator": coordinator.process.stdout + coordinator.process.stderr,
        "worker": worker.stdout + worker.stderr,
        "seeker": caplog.text,
    }
    assert all(logs.values()), "somebody logged nothing at all"
    for name, log in logs.items():
        assert "tangerine" not in log, name
        assert "persimmon" not in log, name


async def refused_job(coordinator: CoordinatorProcess) -> None:
    """A commit whose payload is wrong in a way that the complaint quotes to whoever sent it."""
    payload = {"task_type": "tangerine", "input": TEXT}
    body = {"job_type": "TASK", "user_id": "alice", "payload": payload}
    assert (await coordinator.http.post("/v1/jobs/commit/cheap", json=body)).status_code == 400


async def test_a_worker_that_is_paired_and_not_pinned_gets_no_sealed_job(tmp_path: Path) -> None:
    with OllamaServer(script=saying(ANSWER)) as ollama:
        async with (
            paired(tmp_path, ollama) as (coordinator, _worker, _router),
            AsyncComputeRouter(
                coordinator.url, user_id="alice", trust_file=tmp_path / "elsewhere" / "trust.json"
            ) as newcomer,
        ):
            with pytest.raises(NoPinnedWorkerError, match="trust pin"):
                await newcomer.run_llm(PROMPT, privacy="PRIVATE")


async def test_the_command_line_runs_sealed_jobs_and_reads_one_later(tmp_path: Path) -> None:
    command = ["-m", "compute_router.sdk"]
    with OllamaServer(script=saying(ANSWER)) as ollama:
        async with paired(tmp_path, ollama) as (coordinator, _worker, _router):
            environ = {
                "COMPUTE_ROUTER_URL": coordinator.url,
                "COMPUTE_ROUTER_USER_ID": "alice",
                "COMPUTE_ROUTER_TRUST_FILE": str(tmp_path / "config" / "trust.json"),
            }
            run = [*command, "run", "llm", PROMPT, "--private"]
            async with program(run, tmp_path, environ) as process:
                assert await process.ended() == 0, process.stderr
            assert process.stdout == ANSWER
            async with program([*run, "--no-wait"], tmp_path, environ) as process:
                assert await process.ended() == 0, process.stderr
            job_id = process.stdout
            await coordinator.http.get(f"/v1/jobs/{job_id}", params={"wait": "20"})
            async with program([*command, "status", job_id], tmp_path, environ) as process:
                assert await process.ended() == 0, process.stderr
            assert ANSWER in process.stdout
            assert await coordinator.process.stop() == 0
    assert not files_hold(tmp_path, PROMPT, ANSWER)
    assert list((tmp_path / "config" / "reply-keys").iterdir()) == []
