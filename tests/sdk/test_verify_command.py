"""The commands ``receipt`` and ``verify`` on receipts that were saved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from nacl.signing import SigningKey

from compute_router.protocol.countersigning import Countersigner
from compute_router.protocol.http_api import ReceiptAnswer
from compute_router.protocol.receipts import WorkDone, sha256_hex, sign_receipt
from compute_router.protocol.units import UnixMs
from compute_router.sdk.__main__ import main
from compute_router.sdk.exit_codes import ExitCode
from tests.fakes.http_coordinator import (
    JOB_ID,
    PENDING,
    WORKER_KEY,
    WORKER_PUBKEY,
    FakeCoordinator,
    completed,
    refused,
    signed_receipt,
)

COORDINATOR = Countersigner(SigningKey(b"c" * 32), "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1")
REQUEST = b'{"task_type" : "summarize", "input":"caf\\u00e9"}'
OUTPUT = b'{"text":"caf\\u00e9","model":"m","score":1.0e5}'
NOON = UnixMs(1_770_638_405_000)

Capture = pytest.CaptureFixture[str]


def document() -> bytes:
    """What a coordinator answers about a completed job."""
    signed = sign_receipt(WORKER_KEY, JOB_ID, OUTPUT, NOON, WorkDone(sha256_hex(REQUEST), None, None, 1))
    stated = COORDINATOR.sign(
        JOB_ID, signed, verified=True, completed_at=NOON, output_hash=sha256_hex(OUTPUT)
    )
    return msgspec.json.encode(
        ReceiptAnswer(
            job_id=JOB_ID,
            network=COORDINATOR.network,
            receipt=signed.receipt_json.decode(),
            signature=signed.signature,
            provider_pubkey=WORKER_PUBKEY,
            verified=True,
            statement=stated.statement,
            coordinator_signature=stated.signature,
            coordinator_pubkey=COORDINATOR.pubkey,
        )
    )


@pytest.fixture
def coordinator() -> FakeCoordinator:
    return FakeCoordinator()


@pytest.fixture(autouse=True)
def _environment(
    coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    Path("receipt.json").write_bytes(document())
    Path("output.json").write_bytes(OUTPUT + b"\n")
    Path("request.json").write_bytes(REQUEST + b"\n")
    with coordinator.serving() as url:
        monkeypatch.setenv("COMPUTE_ROUTER_URL", url)
        yield


EVERYTHING = ["--output", "output.json", "--request", "request.json", "--coordinator-key", COORDINATOR.pubkey]


def test_a_saved_receipt_is_checked_without_any_connection(
    coordinator: FakeCoordinator, capsys: Capture
) -> None:
    assert main(["verify", "receipt.json", *EVERYTHING]) == ExitCode.OK
    text = capsys.readouterr().out
    assert text.count("  ok  ") == 10
    assert text.endswith(f"VERIFIED: made by worker {WORKER_PUBKEY}\n")
    assert coordinator.asked == []


def test_without_an_output_it_says_that_none_was_looked_at(capsys: Capture) -> None:
    assert main(["verify", "receipt.json"]) == ExitCode.OK
    text = capsys.readouterr().out
    assert "not checked  output     Whether an output is the one" in text
    assert f"signed by the key {COORDINATOR.pubkey}; to check whose it is" in text
    assert f"VERIFIED: the receipt, but no output: by worker {WORKER_PUBKEY}\n" in text


@pytest.mark.parametrize(
    ("option", "content", "check", "code"),
    [
        ("--output", b'{"text":"another"}', "output", "output_hash_mismatch"),
        ("--output", msgspec.json.encode(msgspec.json.decode(OUTPUT)), "output", "output_hash_mismatch"),
        ("--request", b'{"prompt":"another"}', "request", "request_hash_mismatch"),
    ],
)
def test_anything_else_than_what_was_signed_fails(
    capsys: Capture, option: str, content: bytes, check: str, code: str
) -> None:
    Path("other.json").write_bytes(content)
    assert main(["verify", "receipt.json", option, "other.json", "--json"]) == ExitCode.FAILED
    answer = msgspec.json.decode(capsys.readouterr().out)
    assert (answer["verified"], answer["error"], answer["checks"][check]) == (False, code, False)


def test_the_key_of_another_coordinator_fails(capsys: Capture) -> None:
    assert main(["verify", "receipt.json", "--coordinator-key", "ab" * 32]) == ExitCode.FAILED
    text = capsys.readouterr().out
    assert "FAILED       coordinator  The statement is by another coordinator." in text
    assert "not checked  countersign" in text
    assert text.endswith("NOT VERIFIED\n")


def test_programs_get_every_check_with_its_sentence(capsys: Capture) -> None:
    assert main(["verify", "receipt.json", *EVERYTHING, "--json"]) == ExitCode.OK
    answer = msgspec.json.decode(capsys.readouterr().out)
    assert (answer["job_id"], answer["verified"], answer["error"]) == (JOB_ID, True, None)
    assert set(answer["checks"].values()) == {True}
    assert answer["checks"].keys() == answer["sentences"].keys()
    assert (answer["receipt"]["request_hash"], answer["receipt"]["attempt"]) == (sha256_hex(REQUEST), 1)


def test_a_receipt_document_survives_being_reformatted() -> None:
    Path("pretty.json").write_bytes(msgspec.json.format(document(), indent=4))
    assert main(["verify", "pretty.json", *EVERYTHING]) == ExitCode.OK


def test_an_answer_that_was_reformatted_gets_a_sentence_that_helps(capsys: Capture) -> None:
    Path("job.json").write_bytes(msgspec.json.format(completed(OUTPUT)[1], indent=4))
    assert main(["verify", "job.json"]) == ExitCode.FAILED
    text = capsys.readouterr().out
    assert "This file was reformatted after it was saved" in text
    assert "compute-router receipt JOB_ID" in text
    assert main(["verify", "job.json", "--json"]) == ExitCode.FAILED
    assert "reformatted" in msgspec.json.decode(capsys.readouterr().out)["hint"]


def test_a_bare_receipt_is_checked_in_either_form(capsys: Capture) -> None:
    fields = msgspec.json.decode(document())
    bare = {name: fields[name] for name in ("receipt", "signature")}
    for content in (msgspec.json.encode(bare), signed_receipt(OUTPUT)):
        Path("bare.json").write_bytes(content)
        assert main(["verify", "bare.json", "--output", "output.json"]) == ExitCode.OK
        assert f"job {JOB_ID}\n" in capsys.readouterr().out


def test_a_saved_answer_can_stand_for_the_output() -> None:
    Path("job.json").write_bytes(completed(OUTPUT)[1])
    assert main(["verify", "receipt.json", "--output", "job.json"]) == ExitCode.OK


def test_a_request_that_an_old_receipt_does_not_name_is_not_passed_over(capsys: Capture) -> None:
    Path("job.json").write_bytes(completed(OUTPUT)[1])
    assert main(["verify", "job.json", "--request", "request.json"]) == ExitCode.FAILED
    assert "does not say which request it is about" in capsys.readouterr().out


def test_a_statement_that_is_asked_for_and_not_there_fails(capsys: Capture) -> None:
    Path("job.json").write_bytes(completed(OUTPUT)[1])
    assert main(["verify", "job.json", "--coordinator-key", COORDINATOR.pubkey]) == ExitCode.FAILED
    assert 'carries no coordinator\'s statement; "compute-router receipt JOB_ID" gets one' in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "words",
    [
        ["receipt.json", "--output", "missing.json"],
        ["receipt.json", "--request", "missing.json"],
        ["receipt.json", "--coordinator-key", "abc"],
        ["receipt.json", "--coordinator-key", "AB" * 32],
    ],
)
def test_what_cannot_be_asked_for_is_a_wrong_command_line(words: list[str], capsys: Capture) -> None:
    assert main(["verify", *words]) == ExitCode.USAGE
    assert capsys.readouterr().err != ""


# Fetching


def test_a_receipt_is_fetched_byte_for_byte(
    coordinator: FakeCoordinator, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    coordinator.overrides[f"/v1/receipts/{JOB_ID}"] = (200, document())
    assert main(["receipt", JOB_ID]) == ExitCode.OK
    assert capsysbinary.readouterr().out == document()
    assert main(["receipt", JOB_ID, "--save", "saved.json"]) == ExitCode.OK
    assert b"compute-router verify saved.json" in capsysbinary.readouterr().err
    assert Path("saved.json").read_bytes() == document()


def test_a_job_is_verified_by_its_id_with_the_coordinators_statement(
    coordinator: FakeCoordinator, capsys: Capture
) -> None:
    coordinator.overrides[f"/v1/receipts/{JOB_ID}"] = (200, document())
    assert main(["verify", JOB_ID, *EVERYTHING]) == ExitCode.OK
    assert capsys.readouterr().out.count("  ok  ") == 10


def test_a_receipt_about_another_job_is_not_taken(coordinator: FakeCoordinator, capsys: Capture) -> None:
    coordinator.overrides["/v1/receipts/another"] = (200, document())
    assert main(["receipt", "another"]) == ExitCode.FAILED
    assert f"answered for {JOB_ID}" in capsys.readouterr().err


def test_there_is_no_receipt_of_an_unfinished_or_unknown_job(
    coordinator: FakeCoordinator, capsys: Capture
) -> None:
    coordinator.about_job = [PENDING]
    coordinator.overrides[f"/v1/receipts/{JOB_ID}"] = refused(
        409, "job_unfinished", message="The job is pending."
    )
    assert main(["receipt", JOB_ID, "--json"]) == ExitCode.FAILED
    assert msgspec.json.decode(capsys.readouterr().out)["error"] == "job_unfinished"
    assert main(["receipt", "unknown"]) == ExitCode.FAILED


def test_a_receipt_that_cannot_be_saved_is_said(coordinator: FakeCoordinator, capsys: Capture) -> None:
    coordinator.overrides[f"/v1/receipts/{JOB_ID}"] = (200, document())
    assert main(["receipt", JOB_ID, "--save", "no/such/directory.json"]) == ExitCode.USAGE
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["TYPO.json", "./receipt", "no such", "a/b", "x" * 300, "", "\x1b[31m"])
def test_what_is_neither_a_file_nor_like_a_job_id_is_a_missing_file_and_nobody_is_asked(
    coordinator: FakeCoordinator, name: str, capsys: Capture
) -> None:
    assert main(["verify", name]) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert "There is no such file" in captured.err
    assert "\x1b" not in captured.err
    assert coordinator.asked == []


def test_a_directory_is_a_file_that_cannot_be_read(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    assert main(["verify", str(tmp_path)]) == ExitCode.USAGE
    assert coordinator.asked == []
