"""A whole worker against a coordinator's socket played by hand: real sockets, real threads, real process."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

import msgspec
import pytest
from nacl.signing import SigningKey

from compute_router.protocol.jobs import JobType, PrivacyClass, ProviderType, Tier
from compute_router.protocol.key_file import load_or_create_key
from compute_router.protocol.messages import (
    Challenge,
    Drain,
    HeldJob,
    JobAck,
    JobAssign,
    JobCancel,
    JobChunk,
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
from compute_router.protocol.units import DurationMs
from compute_router.worker.settings import Settings
from compute_router.worker.system import Ending, Notice, WorkerSystem
from compute_router.worker.timing import Timing
from tests.fakes.coordinator_socket import PATIENCE_SECONDS, CoordinatorSocket, WorkerConnection
from tests.fakes.ollama_server import Gate, OllamaServer, UntilLeft

KEY = SigningKey(bytes(range(32)))
PUBKEY = public_key_hex(KEY)
NETWORK = "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def coordinator() -> Iterator[CoordinatorSocket]:
    with CoordinatorSocket() as server:
        yield server


class RunningWorker(NamedTuple):
    system: WorkerSystem
    notices: SimpleQueue[Notice]

    def ending(self) -> Notice:
        return self.notices.get(timeout=PATIENCE_SECONDS)


@contextmanager
def worker(
    coordinator_url: str,
    ollama: str = NOWHERE,
    kind: ProviderType = ProviderType.DESKTOP,
    timing: Timing | None = None,
) -> Iterator[RunningWorker]:
    drain_limit = DurationMs(30_000)
    settings = Settings(coordinator_url, kind, Path("unused"), ollama, None, None, 1, drain_limit, "debug")
    notices: SimpleQueue[Notice] = SimpleQueue()
    system = WorkerSystem(settings, KEY, notices, timing)
    system.start()
    try:
        yield RunningWorker(system, notices)
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
    with worker(coordinator.url, kind=ProviderType.SEEKER):
        connection, register = welcome(coordinator)
        assert (register.provider_type, register.capabilities) == (ProviderType.SEEKER, ["TASK"])
        assert connection.offered_extensions is None
        connection.send(assign("job-1", JobType.TASK, b'{"task_type":"summarize","input":"Short."}'))
        complete = connection.receive(JobComplete)
        assert checked_output(complete) == b'{"summary":"Short.","word_count":1}'
    assert connection.wait_closed() == 1001


def test_a_result_survives_the_loss_of_the_socket_while_its_job_runs(coordinator: CoordinatorSocket) -> None:
    gate = Gate("Hel", "lo")
    with OllamaServer(script=gate) as ollama, worker(coordinator.url, ollama.url):
        first, register = welcome(coordinator)
        assert register.capabilities == ["LLM_INFER", "TASK"]
        first.send(assign("job-1", JobType.LLM_INFER, b'{"prompt":"hi"}'))
        assert first.receive(JobStarted) == JobStarted("job-1", 1)
        assert first.receive(JobChunk) == JobChunk("job-1", 1, 0, "Hel")
        first.drop()

        second, register = welcome(coordinator, "n2")
        assert register.active_jobs == [HeldJob("job-1", 1)]
        second.send(assign("job-2", JobType.TASK, b'{"task_type":"classify","input":"x"}'))
        assert second.receive(JobReject) == JobReject("job-2", "busy", 1)
        gate.open()
        assert second.receive(JobChunk) == JobChunk("job-1", 1, 1, "lo")
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
    with worker(coordinator.url):
        _, register = welcome(coordinator)
        assert (register.capabilities, register.models) == (["TASK"], [])


def test_ollama_that_goes_away_is_noticed_by_the_job_that_needed_it(coordinator: CoordinatorSocket) -> None:
    with OllamaServer() as ollama, worker(coordinator.url, ollama.url):
        connection, _ = welcome(coordinator)
        ollama.stop()
        connection.send(assign("job-1", JobType.LLM_INFER, b'{"prompt":"hi"}'))
        connection.receive(JobStarted)
        told = [connection.frames.get(timeout=PATIENCE_SECONDS) for _ in range(2)]
        assert {msgspec.json.decode(frame)["type"] for frame in told} == {"job_failed", "register"}
        assert any(b'"capabilities":["TASK"]' in str(frame).encode() for frame in told)


def test_a_refused_registration_asks_for_the_end_of_the_worker(coordinator: CoordinatorSocket) -> None:
    with worker(coordinator.url, kind=ProviderType.SEEKER) as running:
        connection = coordinator.accept()
        connection.send(Challenge("n", NETWORK))
        connection.receive(Register)
        connection.send(RegisterAck("error", error="key is banned"))
        assert running.ending() == Ending(1, "The coordinator refused this worker: key is banned")


CANCELLED = "job-cancelled"


def test_a_cancel_closes_the_request_to_ollama_and_frees_the_slot(coordinator: CoordinatorSocket) -> None:
    talk = UntilLeft("Hel")
    with OllamaServer(script=talk) as ollama, worker(coordinator.url, ollama.url):
        connection, _ = welcome(coordinator)
        connection.send(assign(CANCELLED, JobType.LLM_INFER, b'{"prompt":"hi"}'))
        assert connection.receive(JobStarted).job_id == CANCELLED
        assert connection.receive(JobChunk) == JobChunk(CANCELLED, 1, 0, "Hel")
        connection.send(JobCancel(CANCELLED, 1))
        connection.send(assign("job-2", JobType.TASK, b'{"task_type":"classify","input":"x"}'))
        assert talk.left.wait(PATIENCE_SECONDS)
        assert connection.receive(JobComplete).job_id == "job-2"


def test_a_task_in_the_middle_makes_way_for_the_next_when_it_is_cancelled(
    coordinator: CoordinatorSocket,
) -> None:
    # Half a minute of work, if nobody stopped it.
    endless = msgspec.json.encode({"task_type": "classify", "input": "a. " * 1_000_000})
    with worker(coordinator.url, kind=ProviderType.SEEKER):
        connection, _ = welcome(coordinator)
        connection.send(assign(CANCELLED, JobType.TASK, endless))
        connection.send(JobCancel(CANCELLED, 1))
        connection.send(assign("job-2", JobType.TASK, b'{"task_type":"classify","input":"x"}'))
        assert connection.receive(JobComplete).job_id == "job-2"


def test_a_coordinator_that_falls_silent_is_left_and_reached_again(coordinator: CoordinatorSocket) -> None:
    gate = Gate("Hel", "lo")
    timing = Timing(heartbeat_every=DurationMs(50))
    with OllamaServer(script=gate) as ollama, worker(coordinator.url, ollama.url, timing=timing):
        silent, _ = welcome(coordinator)
        silent.send(assign("job-1", JobType.LLM_INFER, b'{"prompt":"hi"}'))
        assert gate.reached.wait(PATIENCE_SECONDS)
        silent.stall()

        _, register = welcome(coordinator, "n2")
        assert register.active_jobs == [HeldJob("job-1", 1)]
        gate.open()


def test_a_coordinator_that_takes_the_connection_and_says_nothing_is_given_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute.settimeout(PATIENCE_SECONDS)
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with worker(url, kind=ProviderType.SEEKER, timing=Timing(connect_wait=DurationMs(50))):
            for _ in range(2):
                connection, _ = mute.accept()
                with connection:
                    connection.settimeout(PATIENCE_SECONDS)
                    while connection.recv(4096):
                        pass
    assert "cannot be reached" in caplog.text


def test_a_drained_worker_closes_with_1000_after_its_last_acknowledgement(
    coordinator: CoordinatorSocket,
) -> None:
    gate = Gate("Hel", "lo")
    with OllamaServer(script=gate) as ollama, worker(coordinator.url, ollama.url) as running:
        connection, _ = welcome(coordinator)
        connection.send(assign("job-1", JobType.LLM_INFER, b'{"prompt":"hi"}'))
        connection.receive(JobStarted)
        connection.receive(JobChunk)
        running.system.drain()
        connection.receive(Drain)
        connection.send(assign("job-2", JobType.TASK, b'{"task_type":"classify","input":"x"}'))
        assert connection.receive(JobReject) == JobReject("job-2", "draining", 1)
        gate.open()
        connection.receive(JobChunk)
        connection.receive(JobComplete)
        assert running.notices.empty()
        connection.send(JobAck("job-1", "accepted", 1))
        assert running.ending() == Ending(0, "All jobs are done and delivered.")
        assert connection.wait_closed() == 1000


# The process


def let_in(coordinator: CoordinatorSocket) -> WorkerConnection:
    """Accept the next worker as it comes, with all that it offers after its first look at Ollama."""
    connection = coordinator.accept()
    connection.send(Challenge("n", NETWORK))
    connection.receive(Register)
    connection.send(RegisterAck("ok", "w1"))
    return connection


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
    assert connection.wait_closed() == 1000
    assert pubkey in log
    assert coordinator.url in log
    assert "Ollama does not answer" in log
    assert "Traceback" not in log


@pytest.mark.acceptance
def test_the_first_signal_lets_the_running_job_finish(coordinator: CoordinatorSocket, tmp_path: Path) -> None:
    gate = Gate("Hel", "lo")
    with (
        OllamaServer(script=gate) as ollama,
        start_process(coordinator.url, tmp_path / "key", "--ollama", ollama.url) as process,
    ):
        connection = let_in(coordinator)
        connection.send(assign("job-1", JobType.LLM_INFER, b'{"prompt":"hi"}'))
        connection.receive(JobStarted)
        connection.receive(JobChunk)
        process.send_signal(signal.SIGTERM)
        connection.receive(Drain)
        gate.open()
        connection.receive(JobChunk)
        connection.receive(JobComplete)
        connection.send(JobAck("job-1", "accepted", 1))
        _, log = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0
    assert connection.wait_closed() == 1000
    assert "Traceback" not in log


@pytest.mark.acceptance
def test_a_second_signal_ends_the_process_whatever_still_runs(
    coordinator: CoordinatorSocket, tmp_path: Path
) -> None:
    talk = UntilLeft("Hel")
    with (
        OllamaServer(script=talk) as ollama,
        start_process(coordinator.url, tmp_path / "key", "--ollama", ollama.url) as process,
    ):
        connection = let_in(coordinator)
        connection.send(assign("job-1", JobType.LLM_INFER, b'{"prompt":"hi"}'))
        connection.receive(JobStarted)
        connection.receive(JobChunk)
        process.send_signal(signal.SIGTERM)
        connection.receive(Drain)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=PATIENCE_SECONDS)
        assert talk.left.wait(PATIENCE_SECONDS)
    assert process.returncode == 0
    assert connection.wait_closed() == 1001
    assert "second signal" in log
    assert "Traceback" not in log


@pytest.mark.acceptance
def test_a_job_that_takes_too_long_is_given_back_when_the_time_to_drain_is_over(
    coordinator: CoordinatorSocket, tmp_path: Path
) -> None:
    talk = UntilLeft("Hel")
    with (
        OllamaServer(script=talk) as ollama,
        start_process(
            coordinator.url, tmp_path / "key", "--ollama", ollama.url, "--drain-seconds", "0"
        ) as process,
    ):
        connection = let_in(coordinator)
        connection.send(assign("job-1", JobType.LLM_INFER, b'{"prompt":"hi"}'))
        connection.receive(JobStarted)
        connection.receive(JobChunk)
        process.send_signal(signal.SIGTERM)
        connection.receive(Drain)
        assert connection.receive(JobReject) == JobReject("job-1", "draining", 1)
        _, log = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0
    assert connection.wait_closed() == 1000
    assert "1 job(s) not done" in log


@pytest.mark.acceptance
def test_a_signal_during_pairing_ends_the_process_with_0_and_a_whole_key(tmp_path: Path) -> None:
    key = tmp_path / "worker.key"
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute.settimeout(PATIENCE_SECONDS)
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with start_process(url, key, "--pair", "CODE") as process:
            connection, _ = mute.accept()
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=PATIENCE_SECONDS)
            connection.close()
    assert process.returncode == 0
    assert "Traceback" not in log
    load_or_create_key(key)
    assert list(tmp_path.iterdir()) == [key]


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


@pytest.mark.acceptance
def test_a_second_process_with_the_same_key_ends_with_2_and_one_sentence(
    coordinator: CoordinatorSocket, tmp_path: Path
) -> None:
    key = tmp_path / "worker.key"
    with start_process(coordinator.url, key) as first:
        let_in(coordinator)
        with start_process(coordinator.url, key, "--pair", "CODE") as second:
            _, log = second.communicate(timeout=PATIENCE_SECONDS)
        assert second.returncode == 2
        assert log == (
            f"compute-router worker: Another worker on this machine uses {key}; "
            "give this one a key of its own with --key PATH.\n"
        )
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=PATIENCE_SECONDS)
    assert first.returncode == 0


@pytest.mark.acceptance
def test_a_killed_process_gives_its_key_up(coordinator: CoordinatorSocket, tmp_path: Path) -> None:
    key = tmp_path / "worker.key"
    with start_process(coordinator.url, key) as first:
        let_in(coordinator)
        first.kill()
        first.communicate(timeout=PATIENCE_SECONDS)
    with start_process(coordinator.url, key) as second:
        let_in(coordinator)
        second.send_signal(signal.SIGTERM)
        second.communicate(timeout=PATIENCE_SECONDS)
    assert second.returncode == 0
