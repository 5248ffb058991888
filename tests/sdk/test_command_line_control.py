"""The command line's hold on jobs and coordinators: cancel, health, interrupts, limits and copies."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import msgspec
import pytest

from compute_router.protocol.job_state import JobStatus
from compute_router.sdk.__main__ import main
from compute_router.sdk.cli_spinner import Spinner
from compute_router.sdk.exit_codes import ExitCode
from compute_router.sdk.jobs import Job
from compute_router.sdk.sync_client import ComputeRouter
from tests.fakes.http_coordinator import (
    CANCELLED,
    JOB_ID,
    PENDING,
    FakeCoordinator,
    LostAnswer,
    completed,
    job_answer,
    refused,
)

OUTPUT = b'{"text":"hello","model":"m"}'
FINISHED = refused(409, "job_finished", message="The job is completed already.")
HEALTHY = b'{"status":"ok","workers_online":3,"network":"solana:x","timestamp":"t"}'
DEGRADED = (
    b'{"status":"degraded","workers_online":0,"network":"solana:x","timestamp":"t",'
    b'"problems":["The disk is full.","x\\u001b[2J"]}'
)

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def coordinator() -> FakeCoordinator:
    return FakeCoordinator()


@pytest.fixture(autouse=True)
def _environment(coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with coordinator.serving() as url:
        monkeypatch.setenv("COMPUTE_ROUTER_URL", url)
        monkeypatch.setenv("COMPUTE_ROUTER_USER_ID", "alice")
        yield


@pytest.fixture
def _interrupt_while_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_self: Spinner, _status: JobStatus) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Spinner, "show", interrupted)


def test_cancel_ends_a_job(coordinator: FakeCoordinator, capsys: Capture) -> None:
    assert main(["cancel", JOB_ID]) == ExitCode.OK
    assert capsys.readouterr().out == f"{JOB_ID} cancelled\n"
    assert [each.path for each in coordinator.cancels] == [f"/v1/jobs/{JOB_ID}"]


def test_cancel_prints_the_job_for_programs(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["cancel", JOB_ID, "--json"]) == ExitCode.OK
    assert capsysbinary.readouterr().out == CANCELLED[1]


def test_cancel_of_a_finished_job_is_exit_code_1(coordinator: FakeCoordinator, capsys: Capture) -> None:
    coordinator.cancel = FINISHED
    coordinator.about_job = [completed(OUTPUT)]
    assert main(["cancel", JOB_ID]) == ExitCode.FAILED
    assert capsys.readouterr().err == "compute-router: The job is completed already.\n"


def test_cancel_of_an_unknown_job_is_exit_code_1(coordinator: FakeCoordinator, capsys: Capture) -> None:
    coordinator.cancel = refused(404, "not_found", message="There is no job with this id.")
    assert main(["cancel", JOB_ID, "--json"]) == ExitCode.FAILED
    assert msgspec.json.decode(capsys.readouterr().out)["error"] == "not_found"


def test_health_of_a_coordinator_that_is_well(coordinator: FakeCoordinator, capsys: Capture) -> None:
    coordinator.overrides["/v1/health"] = (200, HEALTHY)
    assert main(["health"]) == ExitCode.OK
    assert capsys.readouterr().out == "status     ok\nworkers    3\nnetwork    solana:x\n"


@pytest.mark.parametrize("status", [200, 503])
def test_health_of_a_coordinator_with_problems_tells_them(
    status: int, coordinator: FakeCoordinator, capsys: Capture
) -> None:
    coordinator.overrides["/v1/health"] = (status, DEGRADED)
    assert main(["health"]) == ExitCode.FAILED
    text = capsys.readouterr().out
    assert "status     degraded\n" in text
    assert "problem    The disk is full.\n" in text
    assert "\x1b" not in text


def test_health_is_json_for_programs(coordinator: FakeCoordinator, capsys: Capture) -> None:
    coordinator.overrides["/v1/health"] = (200, DEGRADED)
    assert main(["health", "--json"]) == ExitCode.FAILED
    assert msgspec.json.decode(capsys.readouterr().out) == msgspec.json.decode(DEGRADED)


def test_health_of_nobody_is_exit_code_3(capsys: Capture) -> None:
    with FakeCoordinator().serving() as gone:
        pass
    assert main(["health", "--url", gone]) == ExitCode.UNREACHABLE
    assert gone in capsys.readouterr().err


@pytest.mark.parametrize("kind", [["llm"], ["task", "classify"]])
def test_run_passes_limits_and_key_on(kind: list[str], coordinator: FakeCoordinator, capsys: Capture) -> None:
    options = ["--ttl", "90", "--deadline", "2.5", "--idempotency-key", "order-17", "--no-wait"]
    assert main(["run", *kind, "hello", *options]) == ExitCode.OK
    [job] = coordinator.committed
    document = job.json
    assert isinstance(document, dict)
    assert (document["ttl_s"], document["deadline_s"]) == (90, 2.5)
    assert job.idempotency_key == "order-17"


def test_the_same_command_with_the_same_key_gives_the_same_job(
    coordinator: FakeCoordinator, capsys: Capture
) -> None:
    coordinator.about_job = [completed(OUTPUT)]
    for _ in range(2):
        assert main(["run", "llm", "hello", "--idempotency-key", "order-17"]) == ExitCode.OK
    assert len(coordinator.taken) == 1


def test_a_key_that_was_used_for_another_job_is_exit_code_1(
    coordinator: FakeCoordinator, capsys: Capture
) -> None:
    assert main(["run", "llm", "hello", "--no-wait", "--idempotency-key", "k"]) == ExitCode.OK
    assert main(["run", "llm", "other", "--no-wait", "--idempotency-key", "k"]) == ExitCode.FAILED
    assert "used for another request" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["run", "llm", "x", "--ttl", "0"],
        ["run", "llm", "x", "--ttl", "nan"],
        ["run", "llm", "x", "--deadline", "-1"],
        ["run", "llm", "x", "--deadline", "1e9"],
        ["run", "llm", "x", "--idempotency-key", ""],
        ["run", "llm", "x", "--idempotency-key", "a b"],
        ["cancel"],
        ["cancel", "../health"],
        ["cancel", JOB_ID, "--timeout", "0"],
        ["health", "--timeout", "0"],
        ["health", "--timeout", "1e12"],
        ["health", "--timeout", "inf"],
        ["run", "llm", "x", "--timeout", "1e12"],
        ["backup"],
        ["backup", "copy.db"],
        ["check-db"],
        ["workers", "list"],
        ["workers", "forget", "abc", "--db", "solana.db"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2(
    words: list[str], coordinator: FakeCoordinator, capsys: Capture
) -> None:
    assert main(words) == ExitCode.USAGE
    assert capsys.readouterr().err != ""
    assert coordinator.asked == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["health", "--timeout", "soon"], "'soon' is no time in seconds, 0 to 2000000"),
        (["run", "llm", "x", "--max-price", "much"], "'much' is no amount in US dollars, such as 0.02"),
        (["run", "llm", "x", "--max-tokens", "1e3"], "'1e3' is no whole number"),
        (["run", "task", "classify", "x", "--ttl", "soon"], "'soon' is no number of seconds"),
        (["run", "task", "classify", "x", "--deadline", ""], "'' is no number of seconds"),
        (["keys", "create", "--jobs-per-day", "many"], "'many' is no whole number"),
        (["verify", "x", "--coordinator-key", "AB"], "'AB' is no public key: 64 hex digits in lower case"),
        (["health", "--timeout", "0"], "--timeout 0 leaves no time for an answer."),
    ],
)
def test_a_wrong_value_is_told_with_what_would_be_right(
    words: list[str], sentence: str, capsys: Capture
) -> None:
    assert main(words) == ExitCode.USAGE
    assert sentence in capsys.readouterr().err


def test_a_submission_of_unknown_outcome_names_its_key(coordinator: FakeCoordinator, capsys: Capture) -> None:
    coordinator.commit = LostAnswer(ConnectionResetError())
    words = ["run", "llm", "hello", "--idempotency-key", "order-17", "--timeout", "0", "--json"]
    assert main(words) == ExitCode.UNREACHABLE
    document = msgspec.json.decode(capsys.readouterr().out)
    assert (document["error"], document["idempotency_key"]) == ("submission_unknown", "order-17")


@pytest.mark.usefixtures("_interrupt_while_waiting")
def test_an_interrupted_job_goes_on_and_its_id_is_printed(
    coordinator: FakeCoordinator, capsys: Capture
) -> None:
    coordinator.about_job = [PENDING]
    assert main(["run", "llm", "hello"]) == ExitCode.INTERRUPTED
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"Job {JOB_ID} goes on" in captured.err
    assert f"compute-router cancel {JOB_ID}" in captured.err
    assert coordinator.cancels == []


@pytest.mark.usefixtures("_interrupt_while_waiting")
def test_an_interrupted_job_is_cancelled_when_that_was_asked_for(
    coordinator: FakeCoordinator, capsys: Capture
) -> None:
    coordinator.about_job = [PENDING]
    assert main(["run", "llm", "hello", "--cancel-on-interrupt", "--json"]) == ExitCode.INTERRUPTED
    document = msgspec.json.decode(capsys.readouterr().out)
    assert (document["error"], document["job_id"]) == ("interrupted", JOB_ID)
    assert document["message"].endswith("was cancelled.")
    assert len(coordinator.cancels) == 1


@pytest.mark.usefixtures("_interrupt_while_waiting")
def test_an_interrupted_job_that_cannot_be_cancelled_is_no_secret(
    coordinator: FakeCoordinator, capsys: Capture
) -> None:
    coordinator.about_job = [completed(OUTPUT)]
    coordinator.cancel = FINISHED
    assert main(["run", "llm", "hello", "--cancel-on-interrupt"]) == ExitCode.INTERRUPTED
    assert "was not cancelled: The job is completed already." in capsys.readouterr().err


def test_an_interrupted_submission_tells_how_to_make_no_second_job(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def interrupted(_self: ComputeRouter, _prompt: str, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ComputeRouter, "run_llm", interrupted)
    assert main(["run", "llm", "hello", "--idempotency-key", "order-17"]) == ExitCode.INTERRUPTED
    assert "--idempotency-key order-17" in capsys.readouterr().err


def test_an_interrupted_submission_without_waiting_tells_how_to_make_no_second_job(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def interrupted(_self: ComputeRouter, _job: Job, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ComputeRouter, "submit", interrupted)
    words = ["run", "llm", "hello", "--no-wait", "--idempotency-key"]
    assert main([*words, "order-17"]) == ExitCode.INTERRUPTED
    assert "--idempotency-key order-17" in capsys.readouterr().err
    assert main([*words, "order;ls", "--json"]) == ExitCode.INTERRUPTED
    document = msgspec.json.decode(capsys.readouterr().out)
    assert (document["error"], document["idempotency_key"]) == ("interrupted", "order;ls")
    assert "--idempotency-key 'order;ls' " in document["message"], "as a shell takes it"


def test_status_of_a_failed_job_tells_how_its_last_attempt_ended(
    coordinator: FakeCoordinator, capsys: Capture
) -> None:
    body = (
        b'{"error":"attempts_exhausted","message":"Every attempt at the job failed.",'
        b'"last_reason":"worker_error","detail":"out of \\u001b memory"}'
    )
    coordinator.about_job = [job_answer("failed", body)]
    assert main(["status", JOB_ID]) == ExitCode.FAILED
    text = capsys.readouterr().out
    assert "reason     Every attempt at the job failed.\n" in text
    assert "last       worker_error\n" in text
    assert "detail     out of \ufffd memory\n" in text


def test_status_of_a_cancelled_job_says_so(coordinator: FakeCoordinator, capsys: Capture) -> None:
    coordinator.about_job = [CANCELLED]
    assert main(["status", JOB_ID]) == ExitCode.FAILED
    assert "reason     The job was cancelled.\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "becomes"),
    [
        (["backup", "copy.db", "--db", "solana.db"], ["backup", "--db", "solana.db", "copy.db"]),
        (["check-db", "copy.db"], ["check", "--db", "copy.db"]),
        (["workers", "list", "--db", "solana.db"], ["workers", "--db", "solana.db", "list"]),
        (["workers", "unbar", "abc", "--db", "solana.db"], ["workers", "--db", "solana.db", "unbar", "abc"]),
    ],
)
def test_copies_are_made_and_checked_by_the_storage_program(
    words: list[str], becomes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class ReplacedError(Exception):
        pass

    replaced: list[list[str]] = []

    def execv(_path: str, arguments: list[str]) -> None:
        replaced.append(arguments)
        raise ReplacedError

    monkeypatch.setattr(os, "execv", execv)
    with pytest.raises(ReplacedError):
        main(words)
    assert replaced == [[sys.executable, "-m", "compute_router.storage", *becomes]]
