from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from compute_router.sdk.__main__ import main
from compute_router.sdk.exit_codes import ExitCode
from tests.fakes.http_coordinator import (
    JOB_ID,
    PENDING,
    WORKER_PUBKEY,
    FakeCoordinator,
    completed,
    failed,
    job_answer,
    refused,
    signed_receipt,
)

LLM_OUTPUT = b'{"text":"Rayleigh scattering.","model":"tiny"}'
SUMMARY = b'{"summary":"Short.","word_count":12}'
ODD_OUTPUT = b'{"text":"caf\\u00e9","model":"m","score":1.0e5}'

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


def test_quote_prints_the_price(coordinator: FakeCoordinator, capsys: Capture) -> None:
    assert main(["quote", "TASK"]) == ExitCode.OK
    assert capsys.readouterr().out.startswith("$0.001  TASK CHEAP on solana:")


def test_quote_prints_json_for_programs(capsys: Capture) -> None:
    assert main(["quote", "LLM_INFER", "--policy", "CHEAP", "--json"]) == ExitCode.OK
    document = msgspec.json.decode(capsys.readouterr().out)
    assert (document["price"], document["tier"]) == ("$0.005", "CHEAP")


def test_run_prints_the_result_alone_on_standard_output(
    coordinator: FakeCoordinator, capsys: Capture
) -> None:
    coordinator.about_job = [completed(LLM_OUTPUT)]
    assert main(["run", "llm", "Why is the sky blue?"]) == ExitCode.OK
    captured = capsys.readouterr()
    assert captured.out == "Rayleigh scattering.\n"
    assert "verified: signed by worker" in captured.err
    assert f"job {JOB_ID}, free, " in captured.err


def test_run_prints_json_for_programs(coordinator: FakeCoordinator, capsys: Capture) -> None:
    coordinator.about_job = [completed(SUMMARY)]
    assert main(["run", "task", "summarize", "long text", "--json"]) == ExitCode.OK
    document = msgspec.json.decode(capsys.readouterr().out)
    assert document["summary"] == "Short."
    assert document["verified"] is True
    assert document["worker_pubkey"] == WORKER_PUBKEY
    assert document["price"] == "$0.001"


def test_run_passes_its_options_on(coordinator: FakeCoordinator, capsys: Capture) -> None:
    coordinator.about_job = [completed(LLM_OUTPUT)]
    words = [
        "run",
        "llm",
        "hello",
        "--private",
        "--no-seal",
        "--user",
        "bob",
        "--model",
        "tiny",
        "--max-tokens",
        "7",
        "--policy",
        "CHEAP",
        "--timeout",
        "5",
    ]
    assert main(words) == ExitCode.OK
    [job] = coordinator.committed
    assert job.path == "/v1/jobs/commit/cheap"
    assert job.json == {
        "job_type": "LLM_INFER",
        "user_id": "bob",
        "payload": {"prompt": "hello", "max_tokens": 7},
        "privacy_class": "PRIVATE",
        "model": "tiny",
    }
    assert coordinator.looks[0].query == "wait=5"


def test_run_reads_standard_input(
    coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    coordinator.about_job = [completed(SUMMARY)]
    monkeypatch.setattr(sys, "stdin", io.StringIO("from a pipe"))
    assert main(["run", "task", "summarize", "-"]) == ExitCode.OK
    assert b"from a pipe" in coordinator.committed[0].body


def test_run_reads_a_file(coordinator: FakeCoordinator, tmp_path: Path, capsys: Capture) -> None:
    coordinator.about_job = [completed(SUMMARY)]
    (tmp_path / "text").write_text("from a file")
    assert main(["run", "task", "summarize", f"@{tmp_path / 'text'}"]) == ExitCode.OK
    assert b"from a file" in coordinator.committed[0].body


def test_a_missing_input_file_is_a_usage_error(coordinator: FakeCoordinator, capsys: Capture) -> None:
    assert main(["run", "task", "summarize", "@/no/such/file"]) == ExitCode.USAGE
    assert "cannot be read" in capsys.readouterr().err
    assert coordinator.asked == []


def test_run_without_waiting_prints_the_job_id(coordinator: FakeCoordinator, capsys: Capture) -> None:
    assert main(["run", "llm", "hello", "--no-wait"]) == ExitCode.OK
    assert capsys.readouterr().out == JOB_ID + "\n"
    assert coordinator.looks == []


def test_a_failed_job_is_one_sentence_and_exit_code_1(coordinator: FakeCoordinator, capsys: Capture) -> None:
    coordinator.about_job = [failed("no_eligible_worker")]
    assert main(["run", "llm", "hello"]) == ExitCode.FAILED
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "compute-router: The job failed: no_eligible_worker.\n"


def test_a_failed_job_is_json_for_programs(coordinator: FakeCoordinator, capsys: Capture) -> None:
    coordinator.about_job = [failed("no_eligible_worker")]
    assert main(["run", "llm", "hello", "--json"]) == ExitCode.FAILED
    assert msgspec.json.decode(capsys.readouterr().out) == {
        "error": "job_failed",
        "message": "The job failed: no_eligible_worker.",
        "job_id": JOB_ID,
        "reason": "no_eligible_worker",
    }


def test_an_unverified_result_is_shown_and_is_exit_code_1(
    coordinator: FakeCoordinator, capsys: Capture
) -> None:
    coordinator.about_job = [job_answer("completed", LLM_OUTPUT, signed_receipt(SUMMARY))]
    assert main(["run", "llm", "hello"]) == ExitCode.FAILED
    captured = capsys.readouterr()
    assert captured.out == "Rayleigh scattering.\n"
    assert "NOT VERIFIED: The output does not have the hash" in captured.err


def test_a_job_that_takes_too_long_is_exit_code_4(coordinator: FakeCoordinator, capsys: Capture) -> None:
    coordinator.about_job = [PENDING]
    assert main(["run", "llm", "hello", "--timeout", "0"]) == ExitCode.TIMEOUT
    assert JOB_ID in capsys.readouterr().err


def test_an_unreachable_coordinator_is_exit_code_3(capsys: Capture) -> None:
    with FakeCoordinator().serving() as gone:
        pass
    assert main(["quote", "TASK", "--url", gone]) == ExitCode.UNREACHABLE
    assert gone in capsys.readouterr().err


def test_a_private_job_without_trusted_worker_is_exit_code_1(
    coordinator: FakeCoordinator, capsys: Capture
) -> None:
    coordinator.commit = refused(422, "no_trusted_worker", job_id=JOB_ID)
    assert main(["run", "llm", "hello", "--private", "--no-seal"]) == ExitCode.FAILED
    assert "None of the workers paired with this user is connected." in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["fly"],
        ["quote"],
        ["quote", "SOMETHING"],
        ["run"],
        ["run", "task", "translate", "x"],
        ["run", "llm", "x", "--timeout", "soon"],
        ["run", "llm", "x", "--timeout", "-1"],
        ["run", "llm", "x", "--timeout", "nan"],
        ["run", "llm", ""],
        ["run", "llm", "x", "--max-tokens", "0"],
        ["trust"],
        ["status", "../health"],
        ["quote", "TASK", "--url", "nonsense"],
        ["quote", "TASK", "--chain", "dogecoin"],
        ["quote", "TASK", "--chain", "monad"],
        ["verify", "/no/such/file"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2(words: list[str], capsys: Capture) -> None:
    assert main(words) == ExitCode.USAGE
    assert capsys.readouterr().err != ""


def test_help_tells_the_environment_and_the_exit_codes(capsys: Capture) -> None:
    assert main(["--help"]) == ExitCode.OK
    text = capsys.readouterr().out
    assert "COMPUTE_ROUTER_URL" in text
    assert "COMPUTE_ROUTER_USER_ID" in text
    for code in ExitCode:
        assert f"\n  {code.value} " in text


def test_status_shows_a_waiting_job(coordinator: FakeCoordinator, capsys: Capture) -> None:
    coordinator.about_job = [PENDING]
    assert main(["status", JOB_ID]) == ExitCode.OK
    assert "status     pending" in capsys.readouterr().out


def test_status_shows_a_finished_job_and_checks_it(coordinator: FakeCoordinator, capsys: Capture) -> None:
    coordinator.about_job = [completed(ODD_OUTPUT)]
    assert main(["status", JOB_ID]) == ExitCode.OK
    text = capsys.readouterr().out
    assert "receipt    verified" in text
    assert f"worker     {WORKER_PUBKEY}\n" in text


def test_status_of_a_failed_job_says_why(coordinator: FakeCoordinator, capsys: Capture) -> None:
    coordinator.about_job = [failed("worker_error")]
    assert main(["status", JOB_ID]) == ExitCode.FAILED
    assert "reason     The job failed: worker_error." in capsys.readouterr().out


def test_status_of_an_unknown_job_is_exit_code_1(capsys: Capture) -> None:
    assert main(["status", JOB_ID]) == ExitCode.FAILED
    assert capsys.readouterr().err == "compute-router: There is no such thing.\n"


def test_a_saved_status_verifies_without_any_connection(
    coordinator: FakeCoordinator, capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> None:
    coordinator.about_job = [completed(ODD_OUTPUT)]
    assert main(["status", JOB_ID, "--json"]) == ExitCode.OK
    saved = capsysbinary.readouterr().out
    assert saved == completed(ODD_OUTPUT)[1]
    (tmp_path / "job.json").write_bytes(saved + b"\n")
    coordinator.asked.clear()
    assert main(["verify", str(tmp_path / "job.json")]) == ExitCode.OK
    assert f"VERIFIED: made by worker {WORKER_PUBKEY}".encode() in capsysbinary.readouterr().out
    assert coordinator.asked == []


def test_verify_fetches_a_job_by_its_id(coordinator: FakeCoordinator, capsys: Capture) -> None:
    coordinator.about_job = [completed(ODD_OUTPUT)]
    assert main(["verify", JOB_ID]) == ExitCode.OK
    text = capsys.readouterr().out
    assert text.count("  ok  ") == 5


def test_verify_says_which_check_failed(tmp_path: Path, capsys: Capture) -> None:
    answer = completed(ODD_OUTPUT)[1].replace(b"1.0e5", b"100000.0")
    (tmp_path / "job.json").write_bytes(answer)
    assert main(["verify", str(tmp_path / "job.json")]) == ExitCode.FAILED
    text = capsys.readouterr().out
    assert "FAILED       hash       The output does not have the hash that the receipt states." in text
    assert "not checked  signature" in text
    assert text.endswith("NOT VERIFIED\n")


def test_verify_does_not_believe_the_coordinators_verdict(tmp_path: Path, capsys: Capture) -> None:
    lie = job_answer("completed", b'{"text":"evil"}', signed_receipt(LLM_OUTPUT, claimed=True))
    (tmp_path / "job.json").write_bytes(lie[1])
    assert main(["verify", str(tmp_path / "job.json"), "--json"]) == ExitCode.FAILED
    document = msgspec.json.decode(capsys.readouterr().out)
    assert (document["verified"], document["error"]) == (False, "output_hash_mismatch")
    assert document["checks"]["job"] is True
    assert document["checks"]["hash"] is False


def test_verify_of_a_job_without_receipt_fails(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "job.json").write_bytes(job_answer("completed", LLM_OUTPUT)[1])
    assert main(["verify", str(tmp_path / "job.json")]) == ExitCode.FAILED
    assert "without a receipt" in capsys.readouterr().out


def test_verify_of_an_unfinished_job_fails(coordinator: FakeCoordinator, capsys: Capture) -> None:
    coordinator.about_job = [PENDING]
    assert main(["verify", JOB_ID]) == ExitCode.FAILED
    assert "The job is pending" in capsys.readouterr().out


def test_verify_of_something_else_fails(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "job.json").write_bytes(b"<html>")
    assert main(["verify", str(tmp_path / "job.json")]) == ExitCode.FAILED
    assert "not the answer about a job" in capsys.readouterr().err


def test_trust_create_prints_the_code_and_what_to_do_with_it(
    coordinator: FakeCoordinator, capsys: Capture
) -> None:
    coordinator.overrides["/v1/trust/create"] = (201, b'{"pairing_code":"ABC","expires_at":"later"}')
    coordinator.overrides["/v1/trust/list"] = (200, b'{"providers":[]}')
    assert main(["trust", "create"]) == ExitCode.OK
    captured = capsys.readouterr()
    assert captured.out == "ABC\n"
    assert "--pair ABC" in captured.err
    assert coordinator.asked[-1].json == {"user_id": "alice"}


def test_trust_claim_pairs_a_worker(coordinator: FakeCoordinator, capsys: Capture) -> None:
    coordinator.overrides["/v1/trust/claim"] = (200, b'{"user_id":"alice","paired_at":"now"}')
    assert main(["trust", "claim", "ABC", WORKER_PUBKEY]) == ExitCode.OK
    assert coordinator.asked[0].json == {"pairing_code": "ABC", "provider_pubkey": WORKER_PUBKEY}


def test_an_expired_pairing_code_is_exit_code_1(coordinator: FakeCoordinator, capsys: Capture) -> None:
    coordinator.overrides["/v1/trust/claim"] = refused(400, "expired", message="The code is too old.")
    assert main(["trust", "claim", "ABC", WORKER_PUBKEY]) == ExitCode.FAILED
    assert capsys.readouterr().err == "compute-router: The code is too old.\n"


def test_trust_list_prints_the_workers(coordinator: FakeCoordinator, capsys: Capture) -> None:
    coordinator.overrides["/v1/trust/list"] = (
        200,
        b'{"providers":[{"provider_pubkey":"key","paired_at":"then"}]}',
    )
    assert main(["trust", "list"]) == ExitCode.OK
    captured = capsys.readouterr()
    assert captured.out == "key  fingerprint unknown  paired then  not signed  NOT PINNED\n"
    assert "trust pin PUBKEY" in captured.err


def test_trust_without_a_user_is_a_usage_error(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.delenv("COMPUTE_ROUTER_USER_ID")
    assert main(["trust", "create"]) == ExitCode.USAGE
    assert "COMPUTE_ROUTER_USER_ID" in capsys.readouterr().err


def test_what_a_worker_wrote_cannot_steer_the_terminal(coordinator: FakeCoordinator, capsys: Capture) -> None:
    coordinator.about_job = [completed(b'{"text":"\\u001b[2Jgone\\u009b\\r","model":"m"}')]
    assert main(["run", "llm", "hello"]) == ExitCode.OK
    assert capsys.readouterr().out == "\ufffd[2Jgone\ufffd\ufffd\n"


@pytest.mark.parametrize(
    ("command", "module"), [("worker", "compute_router.worker"), ("coordinator", "run_coordinator")]
)
def test_worker_and_coordinator_replace_the_process(
    command: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ReplacedError(Exception):
        pass

    replaced: list[tuple[str, list[str]]] = []

    def execv(path: str, arguments: list[str]) -> None:
        replaced.append((path, arguments))
        raise ReplacedError

    monkeypatch.setattr(os, "execv", execv)
    with pytest.raises(ReplacedError):
        main([command, "--help", "--json", "x"])
    assert replaced == [(sys.executable, [sys.executable, "-m", module, "--help", "--json", "x"])]


def test_an_interrupted_command_is_exit_code_130(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def interrupted() -> str:
        raise KeyboardInterrupt

    stdin = io.StringIO()
    monkeypatch.setattr(stdin, "read", interrupted)
    monkeypatch.setattr(sys, "stdin", stdin)
    assert main(["run", "llm", "-"]) == ExitCode.INTERRUPTED
