"""A whole worker against a coordinator's socket played by hand: real sockets, real threads, real process."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

import msgspec
import pytest
from nacl.signing import SigningKey

from compute_router.protocol.jobs import JobType, PrivacyClass, ProviderType, Tier
from compute_router.protocol.messages import (
    Challenge,
    HeldJob,
    JobAck,
    JobAssign,
    JobComplete,
    JobReject,
    JobStarted,
    Register,
    RegisterAck,
    registration_message,
)
from compute_router.protocol.receipts import (
    SignedReceipt,
    public_key_hex,
    verify_receipt,
    verify_signature,
)
from compute_router.worker.settings import Settings
from compute_router.worker.system import Ending, WorkerSystem
from tests.fakes.coordinator_socket import PATIENCE_SECONDS, CoordinatorSocket, WorkerConnection
from tests.fakes.ollama_server import Gate, OllamaServer

KEY = SigningKey(bytes(range(32)))
PUBKEY = public_key_hex(KEY)
NETWORK = "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def coordinator() -> Iterator[CoordinatorSocket]:
    with CoordinatorSocket() as server:
        yield server


@contextmanager
def worker(
    coordinator: CoordinatorSocket, ollama: str = NOWHERE, kind: ProviderType = ProviderType.DESKTOP
) -> Iterator[SimpleQueue[Ending]]:
    settings = Settings(coordinator.url, kind, Path("unused"), ollama, None, None, 1, "debug")
    endings: SimpleQueue[Ending] = SimpleQueue()
    system = WorkerSystem(settings, KEY, endings)
    system.start()
    try:
        yield endings
    finally:
        system.stop()


def welcome(coordinator: CoordinatorSocket, nonce: str = "n1") -> tuple[WorkerConnection, Register]:
    """Challenge the next worker, check its proof and let it in."""
    connection = coordinator.accept()
    connection.send(Challenge(nonce, NETWORK))
    register = connection.receive(Register)
    assert register.nonce == nonce
    assert register.signature is not None
    verify_signature(PUBKEY, registration_message(NETWORK, nonce, PUBKEY), register.signature)
    connection.send(RegisterAck("ok", "w1"))
    return connection, register


def assign(job_id: str, job_type: JobType, payload: bytes, attempt: int = 1) -> JobAssign:
    return JobAssign(
        job_id=job_id,
        job_type=job_type,
        payload=msgspec.Raw(payload),
        policy=Tier.FAST,
        privacy_class=PrivacyClass.PUBLIC,
        user_id="ada",
        attempt=attempt,
        deadline_ms=30_000,
    )


def checked_output(complete: JobComplete) -> bytes:
    """The output, after the check of its receipt."""
    assert complete.receipt is not None
    assert complete.receipt_signature is not None
    verify_receipt(
        SignedReceipt(bytes(complete.receipt), complete.receipt_signature),
        job_id=complete.job_id,
        output_json=bytes(complete.output),
        provider_pubkey=PUBKEY,
    )
    return bytes(complete.output)


def test_a_task_is_done_and_its_receipt_verifies(coordinator: CoordinatorSocket) -> None:
    with worker(coordinator, kind=ProviderType.SEEKER):
        connection, register = welcome(coordinator)
        assert (register.provider_type, register.capabilities) == (ProviderType.SEEKER, ["TASK"])
        assert connection.offered_extensions is None
        connection.send(assign("job-1", JobType.TASK, b'{"task_type":"summarize","input":"Short."}'))
        complete = connection.receive(JobComplete)
        assert checked_output(complete) == b'{"summary":"Short.","word_count":1}'
    assert connection.wait_closed() == 1001


def test_a_result_survives_the_loss_of_the_socket_while_its_job_runs(coordinator: CoordinatorSocket) -> None:
    gate = Gate("Hel", "lo")
    with OllamaServer(script=gate) as ollama, worker(coordinator, ollama.url):
        first, register = welcome(coordinator)
        assert register.capabilities == ["LLM_INFER", "TASK"]
        first.send(assign("job-1", JobType.LLM_INFER, b'{"prompt":"hi"}'))
        assert first.receive(JobStarted) == JobStarted("job-1", 1)
        assert gate.reached.wait(PATIENCE_SECONDS)
        first.drop()

        second, register = welcome(coordinator, "n2")
        assert register.active_jobs == [HeldJob("job-1", 1)]
        second.send(assign("job-2", JobType.TASK, b'{"task_type":"classify","input":"x"}'))
        assert second.receive(JobReject) == JobReject("job-2", "busy", 1)
        gate.open()
        assert checked_output(second.receive(JobComplete)) == b'{"text":"Hello","model":"played:latest"}'
        second.drop()

        third, register = welcome(coordinator, "n3")
        assert register.active_jobs == [HeldJob("job-1", 1)]
        assert third.receive(JobComplete).job_id == "job-1"
        third.send(JobAck("job-1", "accepted", 1))
        third.close()

        _, register = welcome(coordinator, "n4")
        assert register.active_jobs == []


def test_a_desktop_without_ollama_offers_tasks_only(coordinator: CoordinatorSocket) -> None:
    with worker(coordinator):
        _, register = welcome(coordinator)
        assert (register.capabilities, register.models) == (["TASK"], [])


def test_ollama_that_goes_away_is_noticed_by_the_job_that_needed_it(coordinator: CoordinatorSocket) -> None:
    with OllamaServer() as ollama, worker(coordinator, ollama.url):
        connection, _ = welcome(coordinator)
        ollama.stop()
        connection.send(assign("job-1", JobType.LLM_INFER, b'{"prompt":"hi"}'))
        connection.receive(JobStarted)
        told = [connection.frames.get(timeout=PATIENCE_SECONDS) for _ in range(2)]
        assert {msgspec.json.decode(frame)["type"] for frame in told} == {"job_failed", "register"}
        assert any(b'"capabilities":["TASK"]' in str(frame).encode() for frame in told)


def test_a_refused_registration_asks_for_the_end_of_the_worker(coordinator: CoordinatorSocket) -> None:
    with worker(coordinator, kind=ProviderType.SEEKER) as endings:
        connection = coordinator.accept()
        connection.send(Challenge("n", NETWORK))
        connection.receive(Register)
        connection.send(RegisterAck("error", error="key is banned"))
        ending = endings.get(timeout=PATIENCE_SECONDS)
        assert ending == Ending(1, "The coordinator refused this worker: key is banned")


# The process


def start_process(coordinator_url: str, key: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "compute_router.worker", "--coordinator", coordinator_url]
    return subprocess.Popen(
        [*command, "--ollama", NOWHERE, "--key", str(key), *flags], stderr=subprocess.PIPE, text=True
    )


@pytest.mark.acceptance
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_closes_the_socket_and_ends_the_process_with_0(
    coordinator: CoordinatorSocket, tmp_path: Path, number: signal.Signals
) -> None:
    key = tmp_path / "worker.key"
    with start_process(coordinator.url, key) as process:
        connection = coordinator.accept()
        connection.send(Challenge("n", NETWORK))
        pubkey = connection.receive(Register).provider_pubkey
        connection.send(RegisterAck("ok", "w1"))
        process.send_signal(number)
        _, log = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0
    assert connection.wait_closed() == 1001
    assert pubkey in log
    assert coordinator.url in log
    assert "Ollama does not answer" in log
    assert "Traceback" not in log


@pytest.mark.acceptance
def test_a_refusal_by_the_coordinator_ends_the_process_with_its_words(
    coordinator: CoordinatorSocket, tmp_path: Path
) -> None:
    with start_process(coordinator.url, tmp_path / "worker.key") as process:
        connection = coordinator.accept()
        connection.send(Challenge("n", NETWORK))
        connection.receive(Register)
        connection.send(RegisterAck("error", error="key is banned"))
        _, log = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert "refused this worker: key is banned" in log


@pytest.mark.acceptance
def test_a_pairing_that_fails_ends_the_process_with_one_sentence(
    coordinator: CoordinatorSocket, tmp_path: Path
) -> None:
    with start_process(coordinator.url, tmp_path / "worker.key", "--pair", "CODE") as process:
        _, log = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert log.splitlines()[-1].startswith("compute-router worker: Pairing failed: ")


@pytest.mark.acceptance
def test_a_key_open_to_others_ends_the_process_with_the_command_that_mends_it(tmp_path: Path) -> None:
    key = tmp_path / "worker.key"
    key.write_text("11" * 32)
    key.chmod(0o644)
    with start_process(NOWHERE, key) as process:
        _, log = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 2
    assert f"chmod 600 {key}" in log
