"""Receipts from a real worker, through a real coordinator, checked by the command line offline."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from compute_router.protocol.key_file import load_or_create_key
from compute_router.protocol.receipts import public_key_hex, sha256_hex
from tests.fakes.ollama_server import OllamaServer, saying
from tests.fakes.processes import (
    CoordinatorProcess,
    coordinator_process,
    program,
    run_coordinator,
    worker_process,
)
from tests.transport.harness import TASK
from tests.transport.worker_client import SUMMARY, worker

pytestmark = pytest.mark.acceptance

PAYLOAD = b'{"task_type" : "classify",  "input":"I love caf\\u00e9s. \xe2\x98\x95"}'
COMMIT = b'{"job_type":"TASK","user_id":"alice","payload":' + PAYLOAD + b"}"
JSON = {"Content-Type": "application/json"}


async def completed(router: CoordinatorProcess, tier: str, body: bytes) -> str:
    """Commit a job and wait for its end; the id."""
    answer = await router.http.post(f"/v1/jobs/commit/{tier}", content=body, headers=JSON)
    job_id = str(answer.json()["job_id"])
    job = (await router.http.get(f"/v1/jobs/{job_id}?wait=30")).json()
    assert job["status"] == "completed", job
    return job_id


async def command(directory: Path, *words: str) -> tuple[int, str]:
    """Exit code and output of ``compute-router``."""
    async with program(["-m", "compute_router.sdk", *words], directory) as process:
        code = await process.ended()
        return code, process.stdout + process.stderr


async def test_a_saved_receipt_convinces_somebody_who_asks_nobody(tmp_path: Path) -> None:
    async with coordinator_process(tmp_path) as router:
        async with worker_process(router.url, tmp_path, "--type", "seeker"):
            job_id = await completed(router, "cheap", COMMIT)
        known = (await router.http.get("/.well-known/compute-router")).json()
        fetched, said = await command(tmp_path, "receipt", job_id, "--url", router.url, "--save", "r.json")
        assert fetched == 0, said
        (tmp_path / "job.json").write_bytes((await router.http.get(f"/v1/jobs/{job_id}")).content)
    (tmp_path / "commit.json").write_bytes(COMMIT)
    asked = ["--output", "job.json", "--request", "commit.json"]
    key = ["--coordinator-key", known["coordinator_pubkey"]]
    code, text = await command(tmp_path, "verify", "r.json", *asked, *key)
    assert code == 0, text
    signer = public_key_hex(load_or_create_key(tmp_path / "worker.key"))
    assert f"VERIFIED: made by worker {signer}" in text
    (tmp_path / "commit.json").write_bytes(COMMIT.replace(b"love", b"hate"))
    code, text = await command(tmp_path, "verify", "r.json", *asked, *key)
    assert code == 1
    assert "FAILED       request" in text


async def test_a_receipt_of_inference_names_the_model_and_its_digest(tmp_path: Path) -> None:
    with OllamaServer(script=saying("Because.")) as ollama:
        async with (
            coordinator_process(tmp_path) as router,
            worker_process(router.url, tmp_path, "--ollama", ollama.url),
        ):
            payload = b'{"prompt":"Why?"}'
            body = b'{"job_type":"LLM_INFER","user_id":"alice","payload":' + payload + b"}"
            job_id = await completed(router, "fast", body)
            job = (await router.http.get(f"/v1/jobs/{job_id}")).json()
            workers = (await router.http.get("/v1/workers")).json()
    receipt = job["receipt"]
    assert (receipt["request_hash"], receipt["attempt"]) == (sha256_hex(payload), 1)
    assert receipt["model"] == job["result"]["model"]
    assert receipt["model_digest"]
    assert receipt["model"] in json.dumps(workers)


async def test_the_key_is_made_once_for_its_owner_alone_and_never_shown(tmp_path: Path) -> None:
    pubkeys = []
    for _ in range(2):
        async with coordinator_process(tmp_path, "--log-level", "debug") as router:
            known = (await router.http.get("/.well-known/compute-router")).json()
            pubkeys.append(known["coordinator_pubkey"])
            assert await router.process.stop() == 0
        secret = (tmp_path / "solana.key").read_text().strip()
        assert secret not in router.process.stdout + router.process.stderr
        assert pubkeys[0] in router.process.stdout
    assert pubkeys[0] == pubkeys[1] == public_key_hex(load_or_create_key(tmp_path / "solana.key"))
    assert stat.S_IMODE((tmp_path / "solana.key").stat().st_mode) == 0o600


async def test_a_key_can_be_kept_elsewhere_and_a_workers_variable_is_not_taken_for_it(tmp_path: Path) -> None:
    environ = {"COMPUTE_ROUTER_COORDINATOR_KEY": "kept/coordinator.key", "COMPUTE_ROUTER_KEY": "worker.key"}
    async with program(run_coordinator(), tmp_path, environ) as process:
        await process.line("listening on ")
    assert (tmp_path / "kept" / "coordinator.key").exists()
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".key")]


@pytest.mark.parametrize(
    ("content", "mode", "expected"),
    [("11" * 32, 0o644, "chmod 600"), ("11" * 32, 0o660, "chmod 600"), ("not a key", 0o600, "damaged")],
)
async def test_a_key_that_is_open_to_others_or_damaged_is_refused_in_one_sentence(
    tmp_path: Path, content: str, mode: int, expected: str
) -> None:
    path = tmp_path / "solana.key"
    path.write_text(content)
    path.chmod(mode)
    async with program(run_coordinator(), tmp_path) as process:
        assert await process.ended() == 1
    assert expected in process.stderr.splitlines()[-1]
    assert "Traceback" not in process.stderr
    assert content not in process.stdout + process.stderr
    assert path.read_text() == content


async def test_receipts_can_be_required(tmp_path: Path) -> None:
    bare = {"type": "job_complete", "output_hash": sha256_hex(SUMMARY)}
    async with coordinator_process(tmp_path, "--require-receipts") as router, worker(router.port) as phone:
        await phone.register()
        job_id = (await router.http.post("/v1/jobs/commit/cheap", json=TASK)).json()["job_id"]
        await phone.receive("job_assign")
        frame = json.dumps(bare | {"job_id": job_id})[:-1].encode() + b',"output":' + SUMMARY + b"}"
        ack = await phone.ask(frame)
        assert (ack["status"], ack["reason"].partition(":")[0]) == ("rejected", "receipt_missing")
        again = await phone.receive("job_assign")
        assert again["attempt"] == 2
        ack = await phone.ask(phone.completion(job_id))
        assert ack["status"] == "accepted"
