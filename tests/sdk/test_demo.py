from __future__ import annotations

import json
import re
import signal
import stat
import sys
from pathlib import Path

import httpx
import pytest
from nacl.signing import SigningKey

from compute_router.protocol.errors import NoTrustedWorkerError
from compute_router.protocol.jobs import ProviderType
from compute_router.protocol.networks import Chain
from compute_router.protocol.receipts import public_key_hex
from compute_router.protocol.sealing import seal_result
from compute_router.sdk import demo
from compute_router.sdk.__main__ import main
from compute_router.sdk.demo_interrupts import Interrupts
from compute_router.sdk.demo_network import (
    DemoNetwork,
    DemoWorker,
    coordinator_command,
    make_worker,
    start_workers,
    wait_until_online,
    worker_command,
)
from compute_router.sdk.demo_ollama import why_no_inference
from compute_router.sdk.demo_processes import DemoFailedError, Process, Processes
from compute_router.sdk.demo_scenarios import run_scenarios
from compute_router.sdk.exit_codes import ExitCode
from tests.fakes.http_coordinator import (
    JOB_ID,
    WORKER_KEY,
    WORKER_PUBKEY,
    Answer,
    Asked,
    FakeCoordinator,
    Reply,
    completed,
    job_answer,
    refused,
)
from tests.fakes.sealed_coordinator import SealedCoordinator, done, reply_to
from tests.sdk.clients import blocking, pinning

READY = re.compile(r"listening on (http://\S+)")
SERVER = "import signal\nprint('listening on http://127.0.0.1:1')\nsignal.pause()"
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVER
SUMMARY = completed(b'{"summary":"Short.","word_count":12}')
CLASSIFICATION = b'{"sentiment":"positive","confidence":0.75}'
INFERENCE = completed(b'{"text":"Rayleigh.","model":"tiny"}')
STRANGER = "ff" * 32


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def health(workers: int) -> Answer:
    return 200, b'{"status":"ok","workers_online":%d,"network":"n","timestamp":"t"}' % workers


def network_of(coordinator: FakeCoordinator, own_pubkey: str = WORKER_PUBKEY) -> DemoNetwork:
    public = DemoWorker("desktop", ProviderType.DESKTOP, Path("a"), WORKER_PUBKEY)
    own = DemoWorker("own desktop", ProviderType.DESKTOP, Path("b"), own_pubkey)
    workers = (own,) if own_pubkey == WORKER_PUBKEY else (public, own)
    return DemoNetwork(pinning(blocking(coordinator), WORKER_PUBKEY), workers, own)


def served(asked: Asked) -> Reply:
    """The answer about a job that the one worker completed; PRIVATE ones came sealed."""
    body = json.loads(asked.body)
    if body["privacy_class"] == "PRIVATE":
        return done(asked, seal_result(CLASSIFICATION, reply_to(asked)), WORKER_KEY)
    return INFERENCE if body["job_type"] == "LLM_INFER" else SUMMARY


def serving_all() -> SealedCoordinator:
    return SealedCoordinator(worker=served, listed=[WORKER_PUBKEY])


# Processes


def test_a_process_is_ready_when_it_says_so(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        process = processes.start("server", python("print('starting')\n" + SERVER))
        assert process.wait_for_line(READY, 20)[1] == "http://127.0.0.1:1"
        processes.check()
    assert not process.running
    assert process.tail == ["starting", "listening on http://127.0.0.1:1"]
    assert (tmp_path / "server.log").read_text().splitlines() == process.tail


def test_a_process_that_ends_before_it_is_ready_fails_the_demo_at_once(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        process = processes.start("server", python("raise SystemExit('port in use')"))
        with pytest.raises(DemoFailedError, match="ended before it was ready"):
            process.wait_for_line(READY, 60)
        assert process.tail == ["port in use"]


def test_a_process_that_never_gets_ready_fails_the_demo_in_time(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        process = processes.start("server", python("import signal; signal.pause()"))
        with pytest.raises(DemoFailedError):
            process.wait_for_line(READY, 0.01)


def test_all_processes_are_stopped_the_last_one_first(tmp_path: Path) -> None:
    order: list[str] = []
    with Processes(tmp_path) as processes:
        started = [processes.start(name, python(SERVER)) for name in ("first", "second")]
        for process in started:
            process.wait_for_line(READY, 20)
            _note_end(process, order)
    assert order == ["second", "first"]
    assert not any(process.running for process in started)


def _note_end(process: Process, order: list[str]) -> None:
    stop = process.ask_to_stop

    def noted() -> None:
        order.append(process.name)
        stop()

    process.ask_to_stop = noted  # type: ignore[method-assign]


def test_a_process_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    process = Process("stubborn", python(STUBBORN), tmp_path)
    process.wait_for_line(READY, 20)
    process.ask_to_stop()
    process.await_end(0.01)
    assert not process.running


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_strikes_once_so_that_stopping_is_not_disturbed(number: signal.Signals) -> None:
    with Interrupts():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        signal.raise_signal(number)


def test_an_interrupt_while_a_process_starts_strikes_after_it_is_known() -> None:
    steps: list[str] = []

    def start(interrupts: Interrupts) -> None:
        with interrupts.held():
            signal.raise_signal(signal.SIGTERM)
            steps.append("finished")
        steps.append("went on")

    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
        start(interrupts)
    assert steps == ["finished"]


def test_signals_are_as_before_after_the_demo() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_interrupted_demo_leaves_no_process_behind(tmp_path: Path) -> None:
    started: list[Process] = []

    def demo(interrupts: Interrupts) -> None:
        with Processes(tmp_path, interrupts) as processes:
            started.append(processes.start("server", python(SERVER)))
            started[0].wait_for_line(READY, 20)
            signal.raise_signal(signal.SIGTERM)

    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
        demo(interrupts)
    assert not started[0].running


def test_children_do_not_take_up_the_users_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPUTE_ROUTER_URL", "http://production.example")
    code = "import os\nprint('listening on http://' + os.environ.get('COMPUTE_ROUTER_URL', 'nothing'))"
    with Processes(tmp_path) as processes:
        assert processes.start("child", python(code)).wait_for_line(READY, 20)[1] == "http://nothing"


# The network


def test_a_worker_gets_a_key_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    worker = make_worker(tmp_path, "own desktop", ProviderType.DESKTOP)
    text = worker.key_path.read_text()
    assert stat.S_IMODE(worker.key_path.stat().st_mode) == 0o600
    assert re.fullmatch(r"[0-9a-f]{64}\n", text)
    assert worker.pubkey == public_key_hex(SigningKey(bytes.fromhex(text)))


def test_the_processes_are_started_with_the_flags_they_document(tmp_path: Path) -> None:
    worker = DemoWorker("phone", ProviderType.SEEKER, tmp_path / "k", WORKER_PUBKEY)
    assert coordinator_command(Chain.MONAD, tmp_path)[1:] == [
        *("-m", "run_coordinator", "--chain", "monad", "--port", "0", "--db", str(tmp_path / "monad.db"))
    ]
    assert worker_command(worker, "http://c", "http://o", "ABC")[1:] == [
        *("-m", "compute_router.worker", "--coordinator", "http://c", "--type", "seeker"),
        *("--key", str(tmp_path / "k"), "--ollama", "http://o", "--pair", "ABC"),
    ]
    assert "--pair" not in worker_command(worker, "http://c", "http://o", None)


def test_the_demo_waits_until_the_coordinator_sees_every_worker(tmp_path: Path) -> None:
    coordinator = FakeCoordinator(overrides={"/v1/health": health(1)})
    clock = coordinator.clock

    def third_arrives(seconds: float) -> None:
        clock.sleep(seconds)
        coordinator.overrides["/v1/health"] = health(3)

    wait_until_online(Processes(tmp_path), blocking(coordinator), 3, clock=clock, sleep=third_arrives)
    assert len(clock.pauses) == 1


def test_the_demo_does_not_take_up_the_users_wallet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_workers(*_: object) -> None:
        raise DemoFailedError("There are no workers.")

    monkeypatch.setenv("COMPUTE_ROUTER_WALLET", "/no/such/file")
    monkeypatch.setattr(demo, "start_coordinator", lambda *_: "http://127.0.0.1:9")
    monkeypatch.setattr(demo, "start_workers", no_workers)
    assert main(["demo"]) == ExitCode.FAILED
    assert "There are no workers." in capsys.readouterr().err


def test_workers_that_do_not_come_fail_the_demo_in_time(tmp_path: Path) -> None:
    coordinator = FakeCoordinator(overrides={"/v1/health": health(2)})
    clock = coordinator.clock
    with pytest.raises(DemoFailedError, match="Only 2 of 3"):
        wait_until_online(Processes(tmp_path), blocking(coordinator), 3, clock=clock, sleep=clock.sleep)
    assert clock.now == pytest.approx(1020, abs=0.2)


def test_a_worker_that_dies_fails_the_demo_at_once(tmp_path: Path) -> None:
    coordinator = FakeCoordinator(overrides={"/v1/health": health(2)})
    with Processes(tmp_path) as processes:
        process = processes.start("phone", python("print('listening on http://x')"))
        process.wait_for_line(READY, 20)
        process.await_end(20)
        with pytest.raises(DemoFailedError, match="phone ended by itself"):
            wait_until_online(processes, blocking(coordinator), 3)


def test_a_worker_that_was_not_paired_fails_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coordinator = FakeCoordinator(
        overrides={
            "/v1/health": health(3),
            "/v1/trust/create": (201, b'{"pairing_code":"ABC","expires_at":"t"}'),
            "/v1/trust/list": (200, b'{"providers":[]}'),
        }
    )
    started: dict[str, list[str]] = {}
    processes = Processes(tmp_path)
    monkeypatch.setattr(processes, "start", started.__setitem__)
    with pytest.raises(DemoFailedError, match="not paired"):
        start_workers(processes, blocking(coordinator), "http://o")
    assert [name for name, command in started.items() if "ABC" in command] == ["own desktop"]
    assert len(started) == 3


# The jobs


def test_every_job_is_told_with_its_worker_and_its_proof(capsys: pytest.CaptureFixture[str]) -> None:
    coordinator = serving_all()
    run_scenarios(network_of(coordinator), None)
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if line.startswith("   result")] == [
        "   result   Rayleigh.",
        "   result   Short.",
        "   result   positive (confidence 0.75)",
    ]
    short = f"{WORKER_PUBKEY[:8]}…{WORKER_PUBKEY[-4:]}"
    assert text.count(f"own desktop (DESKTOP, paired with the user), key {short}") == 3
    assert text.count("receipt  verified") == 3
    assert [job.path.rsplit("/")[-1] for job in coordinator.committed] == ["fast", "cheap", "cheap"]
    assert [b'"PRIVATE"' in job.body for job in coordinator.committed] == [False, False, True]


def test_without_inference_the_first_job_is_reported_as_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    coordinator = serving_all()
    run_scenarios(network_of(coordinator), "no Ollama server answers.")
    text = capsys.readouterr().out
    assert "NOT RUN: no Ollama server answers." in text
    assert len(coordinator.committed) == 2


def test_a_private_job_on_somebody_elses_worker_fails_the_demo() -> None:
    with pytest.raises(DemoFailedError, match="PRIVATE"):
        run_scenarios(network_of(serving_all(), STRANGER), "none")


def test_a_job_served_by_an_unknown_worker_fails_the_demo() -> None:
    network = network_of(FakeCoordinator([SUMMARY]), STRANGER)
    strangers_only = DemoNetwork(network.router, (network.own,), network.own)
    with pytest.raises(DemoFailedError, match="did not start"):
        run_scenarios(strangers_only, "none")


def test_an_unverified_job_fails_the_demo() -> None:
    bare = job_answer("completed", b'{"summary":"Short.","word_count":12}')
    with pytest.raises(DemoFailedError, match="not verified"):
        run_scenarios(network_of(FakeCoordinator([bare])), "none")


def test_a_private_job_that_is_refused_fails_the_demo() -> None:
    coordinator = FakeCoordinator([SUMMARY], commit=refused(422, "no_trusted_worker", job_id=JOB_ID))
    with pytest.raises(NoTrustedWorkerError):
        run_scenarios(network_of(coordinator), "none")


# Ollama


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((200, b'{"models":[{"name":"llama3.2:1b"}]}'), None),
        ((200, b'{"models":[]}'), "has no model"),
        ((200, b"<html>"), "does not answer like Ollama"),
        ((500, b""), "HTTP status 500"),
    ],
)
def test_inference_runs_only_where_ollama_has_a_model(answer: Answer, reason: str | None) -> None:
    transport = FakeCoordinator(overrides={"/api/tags": answer}).transport()
    found = why_no_inference("http://ollama.example", transport)
    assert found == reason or (reason is not None and found is not None and reason in found)


def test_an_absent_ollama_is_told_with_its_address() -> None:
    transport = FakeCoordinator(overrides={"/api/tags": httpx.ConnectError("refused")}).transport()
    assert why_no_inference("http://ollama.example", transport) == (
        "no Ollama server answers at http://ollama.example (ConnectError)."
    )
