"""Coordinator, worker and SDK as a user has them: real processes, real sockets, real receipts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from compute_router.sdk import AsyncComputeRouter, ComputeRouter, NoPinnedWorkerError, NoTrustedWorkerError
from tests.fakes.ollama_server import OllamaServer, saying
from tests.fakes.processes import coordinator_process, program, worker_process

pytestmark = pytest.mark.acceptance

TEXT = (
    "Compute Router matches jobs to workers. Workers sign a receipt for every job. "
    "The weather was fine. Receipts prove which worker made a result."
)


async def test_a_seeker_worker_does_every_task_and_signs_for_it(tmp_path: Path) -> None:
    async with (
        coordinator_process(tmp_path) as coordinator,
        worker_process(coordinator.url, tmp_path, "--type", "seeker") as worker,
        AsyncComputeRouter(coordinator.url, chain="solana", user_id="alice") as router,
    ):
        quote = await router.quote("TASK")
        assert (quote.price, quote.endpoint) == (1_000, "/v1/jobs/commit/cheap")
        summary = await router.run_task("summarize", TEXT)
        feeling = await router.run_task("classify", "I love this. It is wonderful!")
        found = await router.run_task("extract_json", 'He said {"a": [1, {"b": 2}]} and left.')
        assert await worker.stop() == 0
    assert summary.word_count == len(TEXT.split())
    assert all(sentence in TEXT for sentence in summary.summary.split(". "))
    assert feeling.sentiment == "positive"
    assert found.extracted == [{"a": [1, {"b": 2}]}]
    assert {result.worker_pubkey for result in (summary, feeling, found)} != {None}
    assert all(result.verified for result in (summary, feeling, found))


async def test_a_desktop_worker_answers_prompts_with_its_model(tmp_path: Path) -> None:
    with OllamaServer(script=saying("Because ", "of light.")) as ollama:
        async with (
            coordinator_process(tmp_path, "--chain", "monad") as coordinator,
            worker_process(coordinator.url, tmp_path, "--ollama", ollama.url),
        ):
            with ComputeRouter(coordinator.url, chain="monad", user_id="alice") as router:
                result = await asyncio.to_thread(router.run_llm, "Why is the sky blue?")
    assert (result.text, result.verified, result.source) == ("Because of light.", True, "network")


async def test_a_private_job_is_done_by_the_paired_worker_only(tmp_path: Path) -> None:
    async with (
        coordinator_process(tmp_path) as coordinator,
        worker_process(coordinator.url, tmp_path, "--type", "seeker", name="stranger"),
        AsyncComputeRouter(
            coordinator.url, user_id="alice", trust_file=tmp_path / "config" / "trust.json"
        ) as router,
    ):
        with pytest.raises(NoPinnedWorkerError):
            await router.run_task("classify", "Good.", privacy="PRIVATE")
        with pytest.raises(NoTrustedWorkerError):
            await router.run_task("classify", "Good.", privacy="PRIVATE", sealed=False)
        code = await router.create_pairing()
        pair = ["--pair", code.pairing_code]
        async with worker_process(
            coordinator.url, tmp_path, "--type", "seeker", *pair, name="own"
        ) as process:
            await router.await_pairing(code, timeout_s=20)
            key = (await process.line("This worker's key is ")).split("key is ")[1].split(" ")[0]
            results = [await router.run_task("classify", "Good.", privacy="PRIVATE") for _ in range(5)]
        assert {result.worker_pubkey for result in results} == {key}
        assert all(result.verified and result.sealed for result in results)
        with pytest.raises(NoTrustedWorkerError):
            await router.run_task("classify", "Good.", privacy="PRIVATE")


async def test_many_seekers_at_once_all_get_verified_results(tmp_path: Path) -> None:
    async with (
        coordinator_process(tmp_path) as coordinator,
        worker_process(coordinator.url, tmp_path, "--type", "seeker", "--slots", "4", name="one"),
        worker_process(coordinator.url, tmp_path, "--type", "seeker", "--slots", "4", name="two"),
        AsyncComputeRouter(coordinator.url, user_id="alice") as router,
    ):
        runs = (router.run_task("summarize", f"Text number {number}.") for number in range(100))
        results = await asyncio.gather(*runs)
    assert [result.summary for result in results] == [f"Text number {number}." for number in range(100)]
    assert all(result.verified for result in results)


async def test_the_command_line_runs_a_task_and_verifies_its_receipt(tmp_path: Path) -> None:
    command = ["-m", "compute_router.sdk"]
    async with (
        coordinator_process(tmp_path) as coordinator,
        worker_process(coordinator.url, tmp_path, "--type", "seeker"),
    ):
        environ = {"COMPUTE_ROUTER_URL": coordinator.url}
        task = ["run", "task", "classify", "This is wonderful."]
        async with program([*command, *task], tmp_path, environ) as process:
            assert await process.ended() == 0, process.stderr
    assert "positive" in process.stdout
